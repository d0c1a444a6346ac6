"""Everything at a glance: what is under way, on which cluster, and what went wrong of late."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from service import auth
from service.conducting import ClusterSeen, Crashed
from tests.service.access import bearer, make_token, pass_time
from tests.service.conftest import Service, ended, report, sqlite_only, start
from tests.tunewright.session_writer import SessionWriter, attach
from tunewright.access import Scope
from tunewright.session import SessionState
from tunewright.study import StudyState, TrialState


def look(service: Service, **headers: str) -> dict[str, Any]:
    answer = service.client.get("/v1/overview", headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def failing(service: Service, name: str, *, state: StudyState = StudyState.RUNNING, ago: float = 0.0) -> str:
    """A study of which one trial of two has failed."""
    study: str = service.create(name=name)["id"]
    runner = service.runner(study)
    runner.at = time.time() - ago
    runner.counts = {TrialState.FAILED: 1, TrialState.RUNNING: 1}
    failed = ended(0, 0, TrialState.FAILED, problem="ValueError: no rows")
    reason = "all trials failed" if state is StudyState.FAILED else None
    runner.commit(start(0, 0), failed, start(1, 1), report(1, 1, 1.0), state=state, reason=reason)
    return study


@sqlite_only
def test_an_empty_service_has_nothing_under_way(service: Service) -> None:
    found = look(service)

    assert found["studies"] == found["sessions"] == {}
    assert found["running"] == found["waiting"] == found["tuning"] == found["failures"] == []
    assert (found["places"], found["cluster"]) == (8, None)


def test_studies_under_way_and_failures_are_told(service: Service) -> None:
    waiting = service.create(name="waits")["id"]
    going = failing(service, "goes on")
    over = failing(service, "failed", state=StudyState.FAILED)
    failing(service, "long ago", state=StudyState.FAILED, ago=8 * 86400)

    found = look(service)

    assert [study["id"] for study in found["running"]] == [going]
    assert [study["id"] for study in found["waiting"]] == [waiting]
    assert found["studies"] == {"failed": 2, "queued": 1, "running": 1}
    assert found["running_trials"] == 1
    told = {failure["id"]: failure for failure in found["failures"]}
    assert set(told) == {going, over}
    assert (told[over]["kind"], told[over]["problem"]) == ("study", "all trials failed")
    assert (told[going]["kind"], told[going]["problem"]) == ("trials", "ValueError: no rows")
    assert told[going]["trial"] == f"{going}-0"
    assert (told[going]["failed"], told[going]["trials"]) == (1, 2)


def test_sessions_under_way_and_those_that_a_fault_has_ended_are_told(service: Service) -> None:
    engine, url = service.repository.engine, service.settings.store_url
    going, failed = (SessionWriter(engine, url, attach(engine, name)) for name in ("prod", "stage"))
    for writer in (going, failed):
        writer.begin()
        writer.interval()
    going.interval({"jit": False}, 130.0, unsafe=True)
    failed.commit(state=SessionState.FAILED, reason="the server refused every setting")
    for writer in (going, failed):
        writer.let_go()

    found = look(service)

    [tuning] = found["tuning"]
    assert (tuning["id"], tuning["unsafe"], tuning["gain"]) == (going.id, 1, 0.12)
    [failure] = found["failures"]
    assert (failure["kind"], failure["id"], failure["name"]) == ("session", failed.id, "stage")
    assert failure["problem"] == "the server refused every setting"


@sqlite_only
def test_the_cluster_and_what_is_wrong_with_the_service_are_told(service: Service) -> None:
    study = service.create()["id"]
    conductor: Any = service.services.conductor
    nodes = {"node:10.0.0.1": 1.0, "node:10.0.0.2": 1.0, "node:__internal_head__": 1.0}
    seen = replace(ClusterSeen.of({"CPU": 8.0, "GPU": 1.0, **nodes}, {"CPU": 3.0}), seconds_ago=2.0)
    crashes = {study: Crashed(3, "out of memory", 1.0)}
    conductor.standing = replace(conductor.standing, cluster=seen, crashes=crashes)

    found = look(service)

    told = {"nodes": 2, "cpus": 8.0, "gpus": 1.0, "free_cpus": 3.0, "free_gpus": 0.0, "seconds_ago": 2.0}
    assert found["cluster"] == told
    assert [(finding["code"], finding["study"]) for finding in found["findings"]] == [("runner-crashed", study)]


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@sqlite_only
def test_a_disk_is_called_low_where_ray_refuses_it(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def low() -> set[str]:
        return {finding["code"] for finding in look(service)["findings"]} & {"disk-low"}

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**12, 10**12 - 4 * 10**10, 4 * 10**10))
    assert not low()
    for by_ray in ("much", None):
        monkeypatch.delenv("RAY_local_fs_capacity_threshold", raising=False)
        if by_ray:
            monkeypatch.setenv("RAY_local_fs_capacity_threshold", by_ray)
        assert low() == {"disk-low"}


def test_who_sees_one_project_hears_of_no_other(service: Service) -> None:
    failing(service, "mine")
    conductor: Any = service.services.conductor
    crashes = {"0" * 16: Crashed(3, "out of memory", 1.0)}
    conductor.standing = replace(conductor.standing, crashes=crashes)
    token = make_token(service, Scope.READ, "a")
    pass_time(service, auth.OPEN_SECONDS)

    found = look(service, **bearer(token))

    assert found["studies"] == {}
    assert found["running"] == found["failures"] == found["findings"] == []
    assert found["running_trials"] == 0
