"""Submitting, steering and deleting studies over REST."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import String, func, select

from service.store.tables import Base, EventRow, IdempotencyRow, LeaseRow
from service.workload_catalog import WorkloadCatalog
from tests.service.conftest import WORKLOAD, Service, ended, incumbent, report, start, study_json
from tunewright.errors import WorkloadError
from tunewright.space import Categorical, Int, SearchSpace
from tunewright.study import StudyState, TrialState
from tunewright.views import Workloads
from workers.checkpoints import CheckpointStore

OWN_WORKLOAD = """
from tunewright import Fidelity, Float, Objective, SearchSpace, Workload

class Own(Workload):
    name = "own"
    space = SearchSpace(Float("width", 0, 2))
    objectives = (Objective(metric="error"),)
    fidelity = Fidelity(name="rounds", max=5)

    def run(self, config, leg, *, data, checkpoint, report):
        pass
"""


def fields_of(answer: Any) -> list[str]:
    return [error["field"] for error in answer.json()["errors"]]


def test_a_study_is_completed_from_its_workload(service: Service) -> None:
    study = service.create()

    assert study["state"] == "queued"
    assert study["spec"]["space"] == WORKLOAD.space.model_dump(mode="json")
    assert [objective["metric"] for objective in study["spec"]["objectives"]] == ["loss", "size"]
    assert study["spec"]["fidelity"]["max"] == 9
    assert service.client.get(f"/v1/studies/{study['id']}").json() == study


def test_what_a_study_says_goes_before_its_workload(service: Service) -> None:
    space = [{"type": "int", "name": "n", "low": 1, "high": 3}]

    study = service.create(space=space, fidelity={"name": "epochs", "max": 3})

    assert SearchSpace(study["spec"]["space"]) == SearchSpace(
        Int("n", 1, 3), Categorical("x", [0.5]), Categorical("flag", [True])
    )
    assert study["spec"]["fidelity"]["name"] == "epochs"


def test_submitting_wakes_the_conductor(service: Service) -> None:
    service.create()

    assert service.services.conductor.nudges == 1


def test_kinds_of_values_survive_submission(service: Service) -> None:
    choices = [True, 1.0, "1", 2, 2**53]
    space = [{"type": "categorical", "name": "flag", "choices": choices}]

    study = service.create(space=space, data={"rows": [1, 1.0, True, None, "ü\n☃"]})

    shown = service.client.get(f"/v1/studies/{study['id']}").json()["spec"]
    assert repr(shown["space"][0]["choices"]) == repr(choices)
    assert repr(shown["data"]["rows"]) == repr([1, 1.0, True, None, "ü\n☃"])


BAD_STUDIES: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown workload": ({"workload": "nothing"}, "workload", "known"),
    "no budget": ({"budget": None}, "budget", "required"),
    "empty budget": ({"budget": {}}, "budget", "give trials or seconds"),
    "no name": ({"name": ""}, "name", "at least 1"),
    "long name": ({"name": "x" * 201}, "name", "at most 200"),
    "unknown field": ({"colour": "red"}, "colour", "not permitted"),
    "low above high": ({"space": [{"type": "float", "name": "x", "low": 2, "high": 1}]}, "space.0", "must be below"),
    "log of zero": (
        {"space": [{"type": "float", "name": "x", "low": 0, "high": 1, "log": True}]},
        "space.0",
        "needs low > 0",
    ),
    "no choices": ({"space": [{"type": "categorical", "name": "x", "choices": []}]}, "space.0", "at least one"),
    "no parameters": ({"space": []}, "space", "at least one"),
    "unknown kind of parameter": ({"space": [{"type": "complex", "name": "x"}]}, "space.0", "does not match"),
    "unknown parent": (
        {"space": [{"type": "int", "name": "x", "low": 1, "high": 2, "when": {"y": [1]}}]},
        "space",
        "must be declared before it",
    ),
    "same name twice": (
        {
            "space": [
                {"type": "int", "name": "x", "low": 1, "high": 2},
                {"type": "int", "name": "x", "low": 1, "high": 2},
            ]
        },
        "space",
        "stands twice",
    ),
    "unknown optimizer": ({"optimizer": "magic"}, "optimizer", "known are"),
    "unknown setting": ({"optimizer": {"name": "asha", "settings": {"speed": 1}}}, "optimizer", "eta"),
    "bad setting": ({"optimizer": {"name": "asha", "settings": {"eta": -1}}}, "optimizer", "optimizer.settings.eta"),
    "unknown data option": ({"data": {"colour": 1}}, "study", "known: rows"),
    "only constraints": ({"objectives": [{"metric": "a", "bound": 1}]}, "objectives", "all are constraints"),
    "metric twice": ({"objectives": [{"metric": "a"}, {"metric": "a"}]}, "objectives", "stands twice"),
    "too many parallel": ({"parallel": 1001}, "parallel", "1000"),
    "huge seed": ({"seed": 2**40}, "seed", "less than"),
    "fidelity upside down": ({"fidelity": {"name": "e", "min": 5, "max": 2}}, "fidelity", "at most"),
}


@pytest.mark.parametrize(("fields", "field", "remedy"), BAD_STUDIES.values(), ids=BAD_STUDIES.keys())
def test_a_bad_study_is_refused_with_field_and_remedy(
    shared_service: Service, fields: dict[str, Any], field: str, remedy: str
) -> None:
    answer = shared_service.client.post("/v1/studies", json=study_json(**fields))

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert any(found.startswith(field) for found in fields_of(answer)), answer.text
    assert remedy in answer.text
    assert shared_service.client.get("/v1/studies").json()["items"] == []


def test_the_real_catalogue_completes_a_study_and_is_asked_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service import workload_catalog

    asked: list[Any] = []
    describe = workload_catalog.describe
    monkeypatch.setattr(workload_catalog, "describe", lambda *args: asked.append(args) or describe(*args))
    catalog = WorkloadCatalog(service.settings.import_paths)
    service.app.state.services = replace(service.services, workloads=catalog)

    listed = service.client.get("/v1/workloads").json()
    study = service.create(workload="xgboost")
    service.create(workload="xgboost")

    declared = next(item for item in listed["items"] if item["reference"] == "xgboost")
    assert study["spec"]["space"] == declared["space"]
    assert listed["problems"] == {}
    assert len(asked) == 1


def test_a_workload_of_ones_own_is_read_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "own_workload.py").write_text(OWN_WORKLOAD)
    catalog = WorkloadCatalog([tmp_path])

    found = catalog.get("own_workload:Own")

    assert (found.name, found.reference, found.fidelity.max) == ("own", "own_workload:Own", 5)


@pytest.mark.parametrize("reference", ["own_workload:Nothing", "no_such_module:Own", "os:path"])
def test_a_workload_that_cannot_be_imported_says_why(tmp_path: Path, reference: str) -> None:
    (tmp_path / "own_workload.py").write_text(OWN_WORKLOAD)

    with pytest.raises(WorkloadError, match=reference):
        WorkloadCatalog([tmp_path]).get(reference)


def test_a_registered_workload_that_ends_its_process_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from service import workload_catalog

    def describe(references: Any, paths: Any) -> Workloads:
        raise WorkloadError("the process was killed")

    def describe_one(name: str, paths: Any) -> Any:
        if name == "broken":
            raise WorkloadError("it exits")
        return WORKLOAD

    monkeypatch.setattr(workload_catalog, "describe", describe)
    monkeypatch.setattr(workload_catalog, "describe_one", describe_one)
    monkeypatch.setattr(workload_catalog, "registered", lambda: ["bowl", "broken"])
    catalog = WorkloadCatalog([])

    found = catalog.all()

    assert ([item.name for item in found.items], found.problems) == (["bowl"], {"broken": "it exits"})
    with pytest.raises(WorkloadError, match="it exits"):
        catalog.get("broken")


def test_a_repeated_submission_gives_the_same_study(service: Service) -> None:
    headers = {"Idempotency-Key": "k1"}

    first = service.client.post("/v1/studies", json=study_json(), headers=headers)
    again = service.client.post("/v1/studies", json=study_json(seed=0), headers=headers)

    assert first.status_code == again.status_code == 201
    assert first.json()["id"] == again.json()["id"]
    assert len(service.client.get("/v1/studies").json()["items"]) == 1


def test_a_key_used_for_another_study_is_a_conflict(service: Service) -> None:
    headers = {"Idempotency-Key": "k1"}
    service.client.post("/v1/studies", json=study_json(), headers=headers)

    other = service.client.post("/v1/studies", json=study_json(name="another"), headers=headers)

    assert other.status_code == 409
    assert "take a new key" in other.json()["detail"]


def test_a_key_is_forgotten_after_a_day(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.store import request_keys

    headers = {"Idempotency-Key": "k1"}
    first = service.client.post("/v1/studies", json=study_json(), headers=headers).json()
    monkeypatch.setattr(request_keys, "IDEMPOTENCY_SECONDS", -1)

    second = service.client.post("/v1/studies", json=study_json(), headers=headers).json()

    assert first["id"] != second["id"]


def test_submissions_with_one_key_at_the_same_time_give_one_study(service: Service) -> None:
    barrier = threading.Barrier(8)

    def submit(_: int) -> str:
        barrier.wait()
        answer = service.client.post("/v1/studies", json=study_json(), headers={"Idempotency-Key": "k"})
        identity: str = answer.json()["id"]
        return identity

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(submit, range(8)))

    assert len(ids) == 1
    assert len(service.client.get("/v1/studies").json()["items"]) == 1


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_key_of_a_wrong_length_is_refused(shared_service: Service, key: str) -> None:
    answer = shared_service.client.post("/v1/studies", json=study_json(), headers={"Idempotency-Key": key})

    assert answer.status_code == 422
    assert "idempotency-key" in fields_of(answer)[0].lower()


@pytest.mark.parametrize(("verb", "wanted"), [("pause", "pause"), ("resume", "run"), ("cancel", "cancel")])
def test_steering_notes_what_is_wanted_and_wakes_the_conductor(service: Service, verb: str, wanted: str) -> None:
    study = service.create()

    answers = [service.client.post(f"/v1/studies/{study['id']}/{verb}") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[1].json()["wanted"] == wanted
    assert service.services.conductor.nudges == 3


def test_a_paused_study_can_be_resumed(service: Service) -> None:
    study = service.create()
    service.client.post(f"/v1/studies/{study['id']}/pause")
    service.runner(study["id"]).commit(state=StudyState.PAUSED)

    resumed = service.client.post(f"/v1/studies/{study['id']}/resume").json()

    assert (resumed["state"], resumed["wanted"]) == ("paused", "run")


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_study_that_is_being_cancelled_stays_so(service: Service, verb: str) -> None:
    study = service.create()
    service.client.post(f"/v1/studies/{study['id']}/cancel")

    answer = service.client.post(f"/v1/studies/{study['id']}/{verb}")

    assert answer.status_code == 409
    assert "submit it again" in answer.json()["detail"]


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
def test_a_study_that_is_over_cannot_be_steered(service: Service, verb: str) -> None:
    study = service.create()
    service.runner(study["id"]).finish()

    answer = service.client.post(f"/v1/studies/{study['id']}/{verb}")

    assert answer.status_code == 409
    assert "completed" in answer.json()["detail"]


@pytest.mark.parametrize("state", [StudyState.QUEUED, StudyState.RUNNING, StudyState.PAUSED])
def test_a_study_that_is_not_over_cannot_be_deleted(service: Service, state: StudyState) -> None:
    study = service.create()
    if state is not StudyState.QUEUED:
        service.runner(study["id"]).commit(state=state)

    answer = service.client.delete(f"/v1/studies/{study['id']}")

    assert answer.status_code == 409
    assert "cancel it" in answer.json()["detail"]
    assert service.client.get(f"/v1/studies/{study['id']}").status_code == 200


def test_deleting_removes_everything_of_a_study_but_the_news_of_it(service: Service, tmp_path: Path) -> None:
    study = service.client.post("/v1/studies", json=study_json(), headers={"Idempotency-Key": "k"}).json()
    other = service.create(name="other")
    runner = service.runner(study["id"])
    runner.commit(start(0, 0), report(0, 0, 3), improved=True, best=[incumbent(0, 0.5)])
    runner.commit(ended(0, 0, TrialState.WAITING))
    runner.finish()
    checkpoints = CheckpointStore(service.settings.leg().checkpoint_url)
    state = tmp_path / "state"
    state.mkdir()
    checkpoints.put(study["id"], 0, 3.0, state)

    answer = service.client.delete(f"/v1/studies/{study['id']}")

    assert answer.status_code == 204
    assert not (service.settings.data_dir / "checkpoints" / study["id"]).exists()
    left = {}
    with service.repository.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            column = table.columns.get("study_id", table.columns.get("id"))
            if column is not None and isinstance(column.type, String):
                count = select(func.count()).select_from(table).where(column == study["id"])
                left[table.name] = connection.execute(count).scalar_one()
        body = connection.execute(select(EventRow.body).where(EventRow.study_id == study["id"])).scalar_one()
        keys = connection.execute(select(func.count()).select_from(IdempotencyRow)).scalar_one()
        names = connection.execute(select(LeaseRow.name)).scalars().all()
    assert {table: count for table, count in left.items() if count} == {"events": 1}
    assert body["state"] == "deleted"
    assert (keys, names) == (0, [])
    assert [item["id"] for item in service.client.get("/v1/studies").json()["items"]] == [other["id"]]
    assert service.client.delete(f"/v1/studies/{study['id']}").status_code == 404


def test_a_study_whose_checkpoints_cannot_be_removed_is_still_there_to_try_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the object store at secret.example is away")

    study = service.create()
    service.runner(study["id"]).finish()
    with monkeypatch.context() as broken:
        broken.setattr(CheckpointStore, "remove", fail)
        answer = service.client.delete(f"/v1/studies/{study['id']}")

    assert answer.status_code == 500
    assert "secret.example" not in answer.text
    assert service.client.delete(f"/v1/studies/{study['id']}").status_code == 204


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
@pytest.mark.parametrize("study", ["0123456789abcdef", "x", "%00", "a'b", "..%2F..", "a" * 5000])
def test_an_unknown_study_is_not_found(shared_service: Service, study: str, verb: str) -> None:
    answers: list[Callable[[], Any]] = [
        lambda: shared_service.client.get(f"/v1/studies/{study}"),
        lambda: shared_service.client.delete(f"/v1/studies/{study}"),
        lambda: shared_service.client.post(f"/v1/studies/{study}/{verb}"),
        *[
            lambda part=part: shared_service.client.get(f"/v1/studies/{study}/{part}")
            for part in ("trials", "curves", "improvements")
        ],
    ]

    for ask in answers:
        answer = ask()
        assert answer.status_code == 404, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.text) < 1_000
