"""Enqueueing configurations over REST, and what the store keeps of it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.store import queue
from tests.service.conftest import OWN_SPACE, Service, start
from tunewright.study import StudyState, TrialState
from workers.journal import Enqueued

DEFAULTS = {"x": 0.5, "n": 5, "flag": True}


def enqueue(service: Service, study: str, config: Any, key: str | None = None) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return service.client.post(f"/v1/studies/{study}/queue", json={"config": config}, headers=headers)


@pytest.fixture(scope="module")
def shared_study(shared_service: Service) -> str:
    study: str = shared_service.create()["id"]
    return study


def test_an_enqueued_configuration_is_stored_whole_and_handed_to_the_runner(service: Service) -> None:
    study = service.create()["id"]

    answer = enqueue(service, study, {"x": 0.25, "n": 3, "flag": "a"})

    assert answer.status_code == 201, answer.text
    entry = answer.json()
    assert (entry["study"], entry["number"], entry["trial"]) == (study, 0, None)
    assert entry["config"] == {"x": 0.25, "n": 3, "flag": "a"}
    assert service.client.get(f"/v1/studies/{study}/queue").json()["items"] == [entry]
    assert list(service.runner(study).journal.enqueued()) == [Enqueued(0, entry["config"])]


@pytest.mark.parametrize("given", [{}, {"n": 2}, {"flag": 1.5, "x": 0}])
def test_what_a_configuration_leaves_out_is_the_default(service: Service, given: dict[str, Any]) -> None:
    study = service.create()["id"]

    assert enqueue(service, study, given).json()["config"] == {**DEFAULTS, **given}


def test_defaults_follow_conditions(service: Service) -> None:
    space = [
        {"type": "categorical", "name": "kind", "choices": ["plain", "fancy"]},
        {"type": "float", "name": "gloss", "low": 0, "high": 1, "default": 0.25, "when": {"kind": "fancy"}},
    ]
    study = service.create(**OWN_SPACE, space=space)["id"]

    assert enqueue(service, study, {}).json()["config"] == {"kind": "plain"}
    assert enqueue(service, study, {"kind": "fancy"}).json()["config"] == {"kind": "fancy", "gloss": 0.25}
    refused = enqueue(service, study, {"gloss": 0.5})
    assert refused.status_code == 422
    assert 'parameter "gloss" is inactive here' in refused.json()["detail"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"x": 2}, 'parameter "x": 2 lies outside [0.0, 1.0]'),
        ({"n": 1.5}, 'parameter "n": 1.5 lies outside integers [1, 9]'),
        ({"x": "0.5"}, "parameter \"x\": '0.5' lies outside"),
        ({"x": True}, 'parameter "x": True lies outside'),
        ({"x": None}, 'parameter "x": None lies outside'),
        ({"flag": [1]}, 'parameter "flag": [1] lies outside'),
        ({"flag": {"a": 1}}, 'parameter "flag": '),
        ({"n": 2**60}, 'parameter "n": '),
        ({"colour": 1}, 'unknown parameter "colour"; known are x, n, flag'),
    ],
)
def test_a_wrong_value_is_named(
    shared_service: Service, shared_study: str, config: dict[str, Any], message: str
) -> None:
    answer = enqueue(shared_service, shared_study, config)

    assert answer.status_code == 422
    assert message in answer.json()["detail"]
    assert [error["field"] for error in answer.json()["errors"]] == ["config"]
    assert shared_service.client.get(f"/v1/studies/{shared_study}/queue").json()["items"] == []


@pytest.mark.parametrize("body", [{}, {"config": [1]}, {"config": None}, {"config": {}, "more": 1}, [], "x"])
def test_a_wrong_body_is_refused(shared_service: Service, shared_study: str, body: Any) -> None:
    answer = shared_service.client.post(f"/v1/studies/{shared_study}/queue", json=body)

    assert answer.status_code == 422


def test_a_configuration_that_is_no_json_number_is_refused(shared_service: Service, shared_study: str) -> None:
    answer = shared_service.client.post(
        f"/v1/studies/{shared_study}/queue",
        content='{"config": {"x": NaN}}',
        headers={"Content-Type": "application/json"},
    )

    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("state", [StudyState.COMPLETED, StudyState.FAILED, StudyState.CANCELLED])
def test_a_study_that_is_over_takes_no_configuration(service: Service, state: StudyState) -> None:
    study = service.create()["id"]
    service.runner(study).finish(state)

    answer = enqueue(service, study, {})

    assert answer.status_code == 409
    assert state in answer.json()["detail"]


def test_a_study_that_is_being_cancelled_takes_no_configuration(service: Service) -> None:
    study = service.create()["id"]
    service.client.post(f"/v1/studies/{study}/cancel")

    answer = enqueue(service, study, {})

    assert answer.status_code == 409
    assert "being cancelled" in answer.json()["detail"]


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_study_that_is_paused_takes_configurations(service: Service, verb: str) -> None:
    study = service.create()["id"]
    service.client.post(f"/v1/studies/{study}/{verb}")

    assert enqueue(service, study, {}).status_code == 201


def test_no_more_is_enqueued_than_the_budget_has_trials(service: Service) -> None:
    study = service.create(budget={"trials": 4})["id"]
    runner = service.runner(study)
    runner.counts = {TrialState.RUNNING: 2}
    runner.commit(start(0, 0), start(1, 1))

    codes = [enqueue(service, study, {"n": n}).status_code for n in (1, 2, 3)]

    assert codes == [201, 201, 409]


def test_a_study_without_a_number_of_trials_has_a_bounded_queue(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MAX_WAITING", 2)
    study = service.create(budget={"seconds": 60})["id"]

    assert [enqueue(service, study, {}).status_code for _ in range(3)] == [201, 201, 409]


def test_a_repeated_request_enqueues_once(service: Service) -> None:
    study = service.create()["id"]

    answers = [enqueue(service, study, {"n": 2}, key="k") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert len(service.client.get(f"/v1/studies/{study}/queue").json()["items"]) == 1


def test_a_request_is_repeated_safely_after_the_study_has_ended(service: Service) -> None:
    study = service.create()["id"]
    first = enqueue(service, study, {"n": 2}, key="k")
    service.runner(study).finish()

    again = enqueue(service, study, {"n": 2}, key="k")

    assert (again.status_code, again.json()) == (201, first.json())


def test_a_key_used_for_something_else_is_a_conflict(service: Service) -> None:
    study, other = service.create()["id"], service.create()["id"]
    enqueue(service, study, {"n": 2}, key="k")

    answers = [
        enqueue(service, study, {"n": 3}, key="k"),
        enqueue(service, other, {"n": 2}, key="k"),
        service.client.post(
            "/v1/studies",
            json={"name": "a", "workload": "bowl", "budget": {"trials": 1}},
            headers={"Idempotency-Key": "k"},
        ),
    ]

    assert [answer.status_code for answer in answers] == [409, 409, 409]


def test_configurations_enqueued_at_the_same_time_get_numbers_of_their_own(service: Service) -> None:
    study = service.create(budget={"trials": 100})["id"]
    barrier = threading.Barrier(8)

    def send(n: int) -> int:
        barrier.wait()
        number: int = enqueue(service, study, {"n": n + 1}).json()["number"]
        return number

    with ThreadPoolExecutor(8) as pool:
        numbers = sorted(pool.map(send, range(8)))

    assert numbers == list(range(8))


def test_the_queue_comes_in_pages_with_the_trials_that_it_became(service: Service) -> None:
    study = service.create(budget={"trials": 10})["id"]
    for n in range(1, 6):
        enqueue(service, study, {"n": n})
    runner = service.runner(study)
    entries = runner.journal.enqueued()
    taken = start(0, 0, config=entries[0].config)
    runner.commit(*entries, type(taken)(taken.job, enqueued=0))

    first = service.client.get(f"/v1/studies/{study}/queue?limit=3").json()
    second = service.client.get(f"/v1/studies/{study}/queue?limit=3&cursor={first['next_cursor']}").json()

    assert [item["config"]["n"] for item in first["items"] + second["items"]] == [1, 2, 3, 4, 5]
    assert [item["trial"] for item in first["items"]] == [f"{study}-0", None, None]
    assert second["next_cursor"] is None
    stranger = service.client.get(f"/v1/studies/{study}/trials?cursor={first['next_cursor']}")
    assert stranger.status_code == 422


def test_an_unknown_study_has_no_queue(service: Service) -> None:
    assert enqueue(service, "0123456789abcdef", {}).status_code == 404
    assert service.client.get("/v1/studies/0123456789abcdef/queue").status_code == 404
