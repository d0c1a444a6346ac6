"""Studies that start from the trials of earlier ones."""

from __future__ import annotations

from typing import Any

import pytest

from optimizers.protocol import Earlier, JobEnd
from service.store import warm_start
from tests.service.conftest import OWN_SPACE, WORKLOAD, Service, ended, report, start, study_json
from tunewright.study import StudyState, TrialState
from workers.journal import JobStarted


def config(x: float = 0.1, **values: Any) -> dict[str, Any]:
    return {"x": x, "n": 2, "flag": True, **values}


def measured(service: Service, **fields: Any) -> str:
    """A study with trials in all kinds of states; they have x of 0.1, 0.2, ..."""
    study: str = service.create(**fields)["id"]
    runner = service.runner(study)
    runner.commit(
        *(start(n, n, config=config(round(0.1 * (n + 1), 1))) for n in range(6)),
        *(report(n, n, 3.0, loss=0.1 * n) for n in range(5)),
        report(0, 0, 9.0, loss=0.05),
        ended(0, 0, TrialState.COMPLETED),
        ended(1, 1, TrialState.WAITING),
        ended(2, 2, TrialState.FAILED, JobEnd.FAILED),
        ended(3, 3, TrialState.CANCELLED, JobEnd.CANCELLED),
        ended(4, 4, TrialState.STOPPED, JobEnd.CANCELLED),
        ended(5, 5, TrialState.STOPPED, JobEnd.CANCELLED),
    )
    runner.finish()
    return study


@pytest.fixture(scope="module")
def shared_source(shared_service: Service) -> str:
    return measured(shared_service)


def listed(service: Service) -> list[str]:
    return [study["id"] for study in service.client.get("/v1/studies").json()["items"]]


def earlier_of(service: Service, study: str) -> list[Earlier]:
    return list(service.runner(study).journal.load().earlier)


def objectives(loss: float) -> dict[str, float]:
    return {"loss": pytest.approx(loss), "size": 1.0}


def test_finished_trials_of_an_earlier_study_are_handed_to_the_optimizer(service: Service) -> None:
    source = measured(service)

    study = service.create(warm_start=[source])

    assert study["spec"]["warm_start"] == [source]
    assert earlier_of(service, study["id"]) == [
        Earlier(config(0.1), {3.0: objectives(0.0), 9.0: objectives(0.05)}),
        # Waited for a promotion in vain.
        Earlier(config(0.2), {3.0: objectives(0.1)}),
        Earlier(config(0.3), {}, failed=True),
        Earlier(config(0.5), {3.0: objectives(0.4)}),
    ]


def test_several_studies_are_used_in_the_order_named(service: Service) -> None:
    first, second = measured(service), measured(service)

    study = service.create(warm_start=[second, first])

    assert len(earlier_of(service, study["id"])) == 8


def test_what_was_used_does_not_change_with_the_earlier_study(service: Service) -> None:
    source = measured(service)
    study = service.create(warm_start=[source])["id"]
    before = earlier_of(service, study)

    assert service.client.delete(f"/v1/studies/{source}").status_code == 204

    assert earlier_of(service, study) == before
    assert len(before) == 4


def test_a_running_study_gives_what_it_has_finished(service: Service) -> None:
    source = service.create()["id"]
    runner = service.runner(source)
    runner.commit(start(0, 0), start(1, 1), report(0, 0, 9.0), report(1, 1, 3.0), ended(0, 0, TrialState.COMPLETED))

    study = service.create(warm_start=[source])["id"]
    runner.commit(ended(1, 1, TrialState.STOPPED))

    assert [trial.reports for trial in earlier_of(service, study)] == [{9.0: objectives(0.5)}]


def test_only_what_lies_in_the_new_space_and_fidelity_counts(service: Service) -> None:
    source = measured(service)
    space = WORKLOAD.space.model_dump(mode="json")
    space[0]["high"] = 0.25

    study = service.create(warm_start=[source], space=space, fidelity={"name": "steps", "max": 5})["id"]

    assert [(trial.config["x"], list(trial.reports)) for trial in earlier_of(service, study)] == [
        (0.1, [3.0]),
        (0.2, [3.0]),
    ]


def test_of_a_parameter_that_is_not_searched_only_the_default_counts(service: Service) -> None:
    source = service.create()["id"]
    runner = service.runner(source)
    for number, n in enumerate((WORKLOAD.space.default()["n"], 7)):
        runner.commit(start(number, number, config=config(0.1) | {"n": n}), report(number, number, 9.0))
        runner.commit(ended(number, number, TrialState.COMPLETED))

    study = service.create(warm_start=[source], space=WORKLOAD.space.model_dump(mode="json")[:1])["id"]

    assert [trial.config["n"] for trial in earlier_of(service, study)] == [WORKLOAD.space.default()["n"]]


def test_a_copy_of_another_trial_says_nothing_of_its_configuration_alone(service: Service) -> None:
    source = service.create()["id"]
    runner = service.runner(source)
    copy = start(1, 1, begin=3.0, end=6.0, parent=0, config=config(0.2))
    assert isinstance(copy, JobStarted)
    runner.commit(start(0, 0), report(0, 0, 3.0), ended(0, 0, TrialState.STOPPED), copy)
    runner.commit(report(1, 1, 6.0), ended(1, 1, TrialState.COMPLETED))

    study = service.create(warm_start=[source])["id"]

    assert [trial.config["x"] for trial in earlier_of(service, study)] == [0.1]


PARAMETERS = WORKLOAD.space.model_dump(mode="json")
MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "a parameter more": (
        {**OWN_SPACE, "space": [*PARAMETERS, {"type": "float", "name": "y", "low": 0, "high": 1}]},
        'it has no parameter "y"',
    ),
    "a parameter less": (
        {**OWN_SPACE, "space": PARAMETERS[:2]},
        'its parameter "flag" is none of this study',
    ),
    "another kind": (
        {"space": [PARAMETERS[0], {"type": "float", "name": "n", "low": 1, "high": 9}, PARAMETERS[2]]},
        'its parameter "n" is int, here it is float',
    ),
    "no value in the range": (
        {"space": [{**PARAMETERS[0], "low": 0.9, "high": 1.0}, *PARAMETERS[1:]]},
        "has no finished trial whose configuration is one of this study",
    ),
    "another objective": ({"objectives": [{"metric": "error"}]}, '"error" is none of its objectives'),
    "another direction": (
        {"objectives": [{"metric": "loss", "direction": "maximize"}]},
        'its objective "loss" is to minimize, here it is to maximize',
    ),
    "another resource": (
        {"fidelity": {"name": "epochs", "max": 9}},
        'its fidelity.name is "steps", here it is "epochs"',
    ),
    "another unit": (
        {"fidelity": {"name": "steps", "unit": "k", "max": 9}},
        'its fidelity.unit is "", here it is "k"',
    ),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_study_that_does_not_fit_is_refused_with_what_does_not(
    shared_service: Service, shared_source: str, misfit: str
) -> None:
    fields, message = MISFITS[misfit]

    answer = shared_service.client.post("/v1/studies", json=study_json(warm_start=[shared_source], **fields))

    assert answer.status_code == 422
    assert f"warm_start: study {shared_source}" in answer.json()["detail"]
    assert message in answer.json()["detail"]
    assert listed(shared_service) == [shared_source]


@pytest.mark.parametrize("source", ["0123456789abcdef", "last", "x" * 100, "a'b"])
def test_an_unknown_study_is_refused(shared_service: Service, shared_source: str, source: str) -> None:
    answer = shared_service.client.post("/v1/studies", json=study_json(warm_start=[source]))

    assert answer.status_code == 422
    assert "warm_start" in answer.text
    assert listed(shared_service) == [shared_source]


def test_a_study_without_a_finished_trial_is_refused(service: Service) -> None:
    source = service.create()["id"]

    answer = service.client.post("/v1/studies", json=study_json(warm_start=[source]))

    assert answer.status_code == 422
    assert "no finished trial" in answer.json()["detail"]


@pytest.mark.parametrize("studies", [["a", "a"], [""], "a", ["x" * 101], [str(n) for n in range(21)], [1]])
def test_a_wrong_list_of_studies_is_refused(shared_service: Service, studies: Any) -> None:
    answer = shared_service.client.post("/v1/studies", json=study_json(warm_start=studies))

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith("warm_start")


def test_more_trials_than_a_start_can_use_are_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_start, "MAX_EARLIER", 3)
    source = measured(service)

    answer = service.client.post("/v1/studies", json=study_json(warm_start=[source]))

    assert answer.status_code == 422
    assert "more than 3 trials" in answer.json()["detail"]


def test_many_trials_are_copied_in_parts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_start, "CHUNK", 2)
    source = measured(service)

    study = service.create(warm_start=[source])["id"]

    assert [trial.config["x"] for trial in earlier_of(service, study)] == [0.1, 0.2, 0.3, 0.5]


def test_a_repeated_submission_does_not_ask_for_the_earlier_study_again(service: Service) -> None:
    source = measured(service)
    body, headers = study_json(warm_start=[source]), {"Idempotency-Key": "k"}
    first = service.client.post("/v1/studies", json=body, headers=headers)
    service.client.delete(f"/v1/studies/{source}")

    again = service.client.post("/v1/studies", json=body, headers=headers)

    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])


def test_a_warm_started_study_that_is_deleted_leaves_nothing(service: Service) -> None:
    source = measured(service)
    study = service.create(warm_start=[source])["id"]
    service.runner(study).finish(StudyState.CANCELLED)

    assert service.client.delete(f"/v1/studies/{study}").status_code == 204

    with service.repository.engine.connect() as connection:
        assert warm_start.load(connection, study) == []
