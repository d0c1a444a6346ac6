"""Studies that go on after they ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.service.conftest import Service, ended, incumbent, report, start
from tunewright.study import StudyState, TrialState


def over(service: Service, state: StudyState = StudyState.COMPLETED, *, improved: bool = True, **fields: Any) -> str:
    """A study that ended with a trial that is whole, one that waited, and one that was stopped."""
    study: str = service.create(**{"budget": {"trials": 3}, **fields})["id"]
    runner = service.runner(study)
    runner.commit(
        *(start(n, n) for n in range(3)),
        *(report(n, n, 3.0) for n in range(3)),
        ended(0, 0, TrialState.WAITING),
        ended(1, 1, TrialState.WAITING),
        ended(2, 2, TrialState.STOPPED),
        start(3, 0, begin=3.0, end=9.0),
        report(3, 0, 9.0),
        ended(3, 0, TrialState.COMPLETED),
    )
    runner.counts = {TrialState.COMPLETED: 1, TrialState.STOPPED: 2}
    runner.commit(state=state, cluster_seconds=4.0, best=[incumbent(0, 0.5)], improved=improved)
    runner.journal.release()
    return study


@pytest.fixture(scope="module")
def shared_study(shared_service: Service) -> str:
    return over(shared_service)


def extend(service: Service, study: str, **budget: Any) -> Any:
    return service.client.post(f"/v1/studies/{study}/extend", json={"budget": budget})


@pytest.mark.parametrize("state", [StudyState.COMPLETED, StudyState.FAILED])
def test_an_extended_study_is_queued_with_all_that_it_knows(service: Service, state: StudyState) -> None:
    study = over(service, state)
    nudges = service.services.conductor.nudges

    answer = extend(service, study, trials=10)

    assert answer.status_code == 202, answer.text
    shown = answer.json()
    assert (shown["state"], shown["wanted"], shown["reason"], shown["ended_at"]) == ("queued", "run", None, None)
    assert shown["spec"]["budget"]["trials"] == 10
    assert shown["best"][0]["trial"] == 0
    assert service.services.conductor.nudges == nudges + 1
    record = service.runner(study).journal.load()
    assert (record.state, record.spec.budget.trials, record.improved_at) == (StudyState.QUEUED, 10, 3)
    assert len(record.facts) == 12
    assert [row.id for row in service.repository.unfinished()] == [study]


def test_trials_that_waited_for_a_promotion_wait_again(service: Service) -> None:
    study = over(service)
    path = f"/v1/studies/{study}/trials"
    before = {trial["number"]: trial["state"] for trial in service.client.get(path).json()["items"]}

    extend(service, study, trials=10)

    after = {trial["number"]: trial["state"] for trial in service.client.get(path).json()["items"]}
    assert before == {0: "completed", 1: "stopped", 2: "stopped"}
    assert after == {0: "completed", 1: "waiting", 2: "stopped"}


def test_asking_for_the_same_again_changes_nothing(service: Service) -> None:
    study = over(service)

    first, second = extend(service, study, trials=10), extend(service, study, trials=10)

    assert (second.status_code, second.json()) == (202, first.json())


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"trials": 3}, "budget.trials: 3 is used up, the study has had 3; give more"),
        ({"trials": 10, "seconds": 0.5}, "budget.seconds: 0.5 is used up"),
        ({"cluster_seconds": 4}, "budget.cluster_seconds: 4 is used up"),
        ({}, "give trials or seconds"),
        ({"trials": 0}, "greater than or equal to 1"),
    ],
)
def test_a_budget_that_is_used_up_is_refused(
    shared_service: Service, shared_study: str, budget: dict[str, Any], message: str
) -> None:
    answer = extend(shared_service, shared_study, **budget)

    assert answer.status_code == 422
    assert message in answer.json()["detail"]
    assert shared_service.client.get(f"/v1/studies/{shared_study}").json()["state"] == "completed"


def test_patience_that_is_at_its_end_is_refused(service: Service) -> None:
    study = over(service, improved=False)

    answer = extend(service, study, trials=10, patience=3)

    assert answer.status_code == 422
    assert "budget.patience: 3 is used up, trials that brought nothing better: 3; give more" in answer.json()["detail"]
    assert extend(service, study, trials=10, patience=4).status_code == 202


def test_a_target_that_is_reached_already_is_refused(service: Service) -> None:
    study: str = service.create(budget={"trials": 3, "target": 0.5})["id"]
    runner = service.runner(study)
    runner.commit(start(0, 0, end=9.0), report(0, 0, 9.0, loss=0.4), ended(0, 0, TrialState.COMPLETED))
    runner.counts = {TrialState.COMPLETED: 1}
    runner.finish(best=[replace(incumbent(0, 0.4), resource=9.0)])

    answer = extend(service, study, trials=10, target=0.5)

    assert answer.status_code == 422
    assert "budget.target: 0.5 is reached already; give a better one, or none" in answer.json()["detail"]
    assert extend(service, study, trials=10, target=0.3).status_code == 202


@pytest.mark.parametrize("state", [StudyState.QUEUED, StudyState.RUNNING, StudyState.PAUSED, StudyState.CANCELLED])
def test_a_study_that_has_not_ended_by_itself_cannot_be_extended(service: Service, state: StudyState) -> None:
    study = service.create()["id"]
    if state is not StudyState.QUEUED:
        service.runner(study).commit(state=state)

    answer = extend(service, study, trials=100)

    assert answer.status_code == 409
    assert state in answer.json()["detail"]


def test_an_unknown_study_cannot_be_extended(service: Service) -> None:
    assert extend(service, "0123456789abcdef", trials=3).status_code == 404


def test_an_extended_study_takes_configurations_again(service: Service) -> None:
    study = over(service)
    queue = f"/v1/studies/{study}/queue"

    refused = service.client.post(queue, json={"config": {}})
    extend(service, study, trials=10)

    assert refused.status_code == 409
    assert "extend it" in refused.json()["detail"]
    assert service.client.post(queue, json={"config": {}}).status_code == 201
