"""Names, tags, notes and priorities; failed trials that are tried again; clones."""

from __future__ import annotations

from typing import Any

import pytest

from service.store import sharing
from service.store.engine import writing
from tests.service.conftest import Runner, Service, complete_spec, ended, report, start
from tunewright.study import StudyState, TrialState
from workers.journal import Enqueued, JobStarted

TROUBLE = {"team=search", "baseline", "größer", "a:b/c"}


def listed(service: Service, *tags: str) -> list[str]:
    answer = service.client.get("/v1/studies", params={"tag": list(tags)})
    assert answer.status_code == 200, answer.text
    return [study["id"] for study in answer.json()["items"]]


def change(service: Service, study: str, **changes: Any) -> Any:
    return service.client.patch(f"/v1/studies/{study}", json=changes)


def failed(service: Service, **fields: Any) -> tuple[str, Runner]:
    """A running study whose trial 0 failed and whose trial 1 is whole."""
    study: str = service.create(**{"budget": {"trials": 4}, **fields})["id"]
    runner = service.runner(study)
    runner.counts = {TrialState.FAILED: 1, TrialState.COMPLETED: 1}
    runner.commit(
        *(start(n, n, config={"x": 0.1 * n, "n": 2, "flag": True}) for n in range(2)),
        report(1, 1, 9.0),
        ended(0, 0, TrialState.FAILED, problem="it broke"),
        ended(1, 1, TrialState.COMPLETED),
    )
    return study, runner


@pytest.fixture(scope="module")
def shared_study(shared_service: Service) -> str:
    study: str = shared_service.create(tags=["kept"])["id"]
    return study


def retry(service: Service, study: str, trial: int, **headers: str) -> Any:
    return service.client.post(f"/v1/studies/{study}/trials/{trial}/retry", headers=headers)


def test_what_is_given_at_submission_is_shown_in_lists_and_found_by_tags(service: Service) -> None:
    study = service.create(tags=sorted(TROUBLE), notes="**first** try", priority="high")
    other = service.create(tags=["baseline"])

    (second, first) = service.client.get("/v1/studies").json()["items"]
    assert (first["tags"], first["priority"], first["revision"]) == (sorted(TROUBLE), "high", 0)
    assert (second["tags"], second["priority"]) == (["baseline"], "normal")
    assert [objective["metric"] for objective in first["objectives"]] == ["loss", "size"]
    assert study["spec"]["notes"] == "**first** try"
    assert listed(service, "baseline") == [other["id"], study["id"]]
    assert listed(service, "baseline", "team=search") == [study["id"]]
    assert listed(service, "team") == []


def test_they_are_changed_while_the_study_runs_and_after_it_has_ended(service: Service) -> None:
    study = service.create(tags=["old"], notes="kept")["id"]
    runner = service.runner(study)
    runner.commit()
    before = service.repository.last_event()

    answer = change(service, study, name="better", tags=["new"], priority="low")
    runner.finish()
    again = change(service, study, notes="")

    assert answer.status_code == again.status_code == 200, answer.text
    shown = again.json()
    assert (shown["name"], shown["tags"], shown["priority"], shown["revision"]) == ("better", ["new"], "low", 2)
    assert (shown["spec"]["name"], shown["spec"]["notes"], shown["state"]) == ("better", "", "completed")
    assert (listed(service, "old"), listed(service, "new")) == ([], [study])
    events = [event.body for event in service.repository.events(before, limit=10) if event.kind == "study"]
    assert [sorted(body["changed"]) for body in events if "changed" in body] == [
        ["name", "priority", "tags"],
        ["notes"],
    ]


def test_a_change_that_changes_nothing_is_none(service: Service) -> None:
    study = service.create(tags=["a"])["id"]
    before = service.repository.last_event()

    answer = change(service, study, tags=["a"])

    assert answer.json()["revision"] == 0
    assert service.repository.last_event() == before


def test_a_change_of_something_that_has_changed_is_refused(service: Service) -> None:
    study = service.create()["id"]
    change(service, study, tags=["mine"], revision=0)

    late = change(service, study, tags=["theirs"], revision=0)

    assert late.status_code == 409
    assert "at revision 1, not 0" in late.json()["detail"]
    assert listed(service, "mine") == [study]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tags": ["two words"]}, 'tags: "two words" is not one word'),
        ({"tags": ["a", "a"]}, 'tags: "a" stands twice'),
        ({"tags": [""]}, "at least 1 character"),
        ({"tags": ["x" * 101]}, "at most 100 characters"),
        ({"tags": [str(n) for n in range(51)]}, "at most 50 items"),
        ({"priority": "urgent"}, "'low', 'normal' or 'high'"),
        ({"name": "\n"}, "control characters"),
        ({"notes": "x" * 20_001}, "at most 20000 characters"),
        ({"colour": "red"}, "not permitted"),
        ({"revision": -1}, "greater than or equal to 0"),
    ],
)
def test_what_does_not_fit_is_refused(
    shared_service: Service, shared_study: str, changes: dict[str, Any], message: str
) -> None:
    answer = change(shared_service, shared_study, **changes)

    assert answer.status_code == 422
    assert message in answer.json()["detail"]
    assert listed(shared_service, "kept") == [shared_study]


def test_an_unknown_study_or_trial_cannot_be_changed(service: Service) -> None:
    study = service.create()["id"]

    assert change(service, "0123456789abcdef", tags=[]).status_code == 404
    assert service.client.patch(f"/v1/trials/{study}-0", json={"notes": "x"}).status_code == 404


def test_a_deleted_study_is_found_no_more(service: Service) -> None:
    study = service.create(tags=["gone"])["id"]
    service.runner(study).finish()

    assert service.client.delete(f"/v1/studies/{study}").status_code == 204
    assert listed(service, "gone") == []


def test_a_trial_is_noted(service: Service) -> None:
    study, _ = failed(service)
    trial = f"/v1/trials/{study}-1"

    noted = service.client.patch(trial, json={"notes": "look at this one"})
    replaced = service.client.patch(trial, json={"notes": "better"})

    assert noted.json()["notes"] == "look at this one"
    assert replaced.json()["notes"] == service.client.get(trial).json()["notes"] == "better"
    assert service.client.patch(trial, json={"notes": ""}).json()["notes"] == ""
    assert service.client.get(f"/v1/trials/{study}-0").json()["notes"] == ""


def test_a_failed_trial_is_tried_again_and_names_the_first(service: Service) -> None:
    study, runner = failed(service)

    entry = retry(service, study, 0).json()
    runner.commit(Enqueued(0, entry["config"]))
    runner.commit(JobStarted(start(2, 2, config=entry["config"]).job, enqueued=0))

    assert (entry["number"], entry["retry_of"], entry["trial"]) == (0, f"{study}-0", None)
    trials = {trial["number"]: trial for trial in service.client.get(f"/v1/studies/{study}/trials").json()["items"]}
    assert {number: trial["retry_of"] for number, trial in trials.items()} == {0: None, 1: None, 2: 0}
    assert trials[2]["config"] == trials[0]["config"]


def test_asking_again_while_it_waits_changes_nothing(service: Service) -> None:
    study, runner = failed(service)
    keyed = {"Idempotency-Key": "one"}

    first, second, third = (retry(service, study, 0), retry(service, study, 0), retry(service, study, 0, **keyed))
    runner.commit(JobStarted(start(2, 2, config=first.json()["config"]).job, enqueued=0))
    repeated, anew = retry(service, study, 0, **keyed), retry(service, study, 0)

    assert [answer.json()["number"] for answer in (first, second, third, repeated, anew)] == [0, 0, 0, 0, 1]


def test_only_a_failed_trial_of_a_study_with_trials_left_is_tried_again(service: Service) -> None:
    study, runner = failed(service)
    whole, unknown = retry(service, study, 1), retry(service, study, 7)
    runner.counts[TrialState.COMPLETED] = 3
    runner.commit()
    full = retry(service, study, 0)
    runner.finish()
    over = retry(service, study, 0)

    assert [answer.status_code for answer in (whole, unknown, full, over)] == [409, 404, 409, 409]
    assert "only one that has failed" in whole.json()["detail"]
    assert "no trial left" in full.json()["detail"]
    assert "extend it" in over.json()["detail"]


def test_a_failed_trial_of_an_extended_study_is_tried_again(service: Service) -> None:
    study, runner = failed(service)
    runner.finish()
    service.client.post(f"/v1/studies/{study}/extend", json={"budget": {"trials": 9}})

    assert retry(service, study, 0).status_code == 201


def test_a_clone_is_like_its_study_but_for_what_is_changed(service: Service) -> None:
    study = service.create(tags=["a"], notes="about the first", priority="high", optimizer="random")
    path = f"/v1/studies/{study['id']}/clone"

    same = service.client.post(path)
    other = service.client.post(path, json={"name": "again", "seed": 3, "budget": {"seconds": 5}})

    assert same.status_code == other.status_code == 201, other.text
    kept = {**study["spec"], "notes": ""}
    assert same.json()["spec"] == kept
    assert other.json()["spec"] == {
        **kept,
        "name": "again",
        "seed": 3,
        "budget": {**study["spec"]["budget"], "trials": None, "seconds": 5.0},
    }
    assert other.json()["tags"] == ["a"]


def test_a_clone_is_made_once_under_a_key(service: Service) -> None:
    path = f"/v1/studies/{service.create()['id']}/clone"
    keyed = {"Idempotency-Key": "one"}

    first, second = (service.client.post(path, json={"seed": 1}, headers=keyed) for _ in range(2))
    other = service.client.post(path, json={"seed": 2}, headers=keyed)

    assert first.json()["id"] == second.json()["id"]
    assert other.status_code == 409


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "colour"),
        ({"budget": {}}, "budget"),
        ({"optimizer": "magic"}, "magic"),
        ({"workload": "unknown"}, "unknown"),
    ],
)
def test_a_clone_with_changes_that_do_not_fit_is_refused(
    shared_service: Service, shared_study: str, changes: dict[str, Any], message: str
) -> None:
    answer = shared_service.client.post(f"/v1/studies/{shared_study}/clone", json=changes)

    assert answer.status_code == 422
    assert message in answer.json()["detail"]
    assert listed(shared_service) == [shared_study]


def test_runners_claim_legs_and_hear_how_many_they_may_have(service: Service) -> None:
    low, high = (service.create(priority=priority, parallel=5)["id"] for priority in ("low", "high"))
    journal = service.runner(low).journal

    before = journal.share(1.25, 3)
    with writing(service.repository.engine) as connection:
        sharing.grant(connection, {low: 2, high: 1, "0123456789abcdef": 1})
        asked = sharing.claims(connection, [low, high])
        sharing.forget(connection, low)
        forgotten = sharing.claims(connection, [low])

    assert before is None
    assert journal.share(1.25, 3) == 2
    assert [(each.study, each.weight, each.running, each.wanted, each.most) for each in asked] == [
        (high, 16.0, 0.0, 5, 5),
        (low, 1.0, 1.2, 3, 5),
    ]
    assert asked[0].needs == {"CPU": 1.0, "GPU": 0.0}
    assert forgotten[0].wanted == 5


def test_studies_of_higher_priority_start_first(service: Service) -> None:
    created = [service.create(priority=priority)["id"] for priority in ("low", "normal", "high", "normal")]

    rows = sorted(service.repository.unfinished(), key=lambda study: -study.priority.weight)

    assert [row.id for row in rows] == [created[2], created[1], created[3], created[0]]
    assert all(row.state is StudyState.QUEUED for row in rows)
    assert complete_spec().priority.weight == 4.0
