"""Trials that misbehave, and people who change their minds: a failed trial or a clear error, never a hung study."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.service_process import ServiceProcess, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path_factory.mktemp("faults") / "data", cpus=4)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def submit(service: ServiceProcess, workload: str, trials: int = 2, **fields: Any) -> str:
    return service.submit(
        name=workload,
        workload=workload,
        optimizer="random",
        budget={"trials": trials},
        parallel=2,
        **fields,
    )


def submit_steady(service: ServiceProcess, trace: Path, trials: int = 4, seconds: float = 0.05) -> str:
    return submit(
        service,
        "steady:Steady",
        trials,
        data={"trace": str(trace), "seconds": seconds},
        limits={"checkpoint_seconds": 0.1},
    )


# What is said of each workload's trials, and what its study says beside. On a busy machine, too, a trial begins within
# these limits.
RUDE: dict[str, tuple[str, dict[str, Any]]] = {
    "rude:Hangs": ("limits.silent_seconds", {"limits": {"silent_seconds": 8}}),
    "rude:IgnoresStop": ("limits.leg_seconds", {"limits": {"leg_seconds": 8}}),
    "rude:EatsMemory": ("resources.memory_mb allows 300", {"resources": {"memory_mb": 300}}),
    "rude:Raises": ("ValueError: the data are broken", {"trials": 2}),
    "rude:Exits": ("exited with status 3", {}),
    "rude:ReportsNaN": ('"loss" is nan at resource 1', {}),
    "rude:ReturnsEarly": ("without a report at resource 3", {}),
}


@pytest.fixture(scope="module")
def stubborn(service: ServiceProcess, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A study that was cancelled and whose trials go on, and where they leave their processes' ids."""
    pid_file = tmp_path_factory.mktemp("stubborn") / "pids"
    study = submit(service, "rude:IgnoresStop", data={"pid_file": str(pid_file)})
    wait_until(lambda: any(t["resource"] > 0 for t in service.trials(study)), 60, "some progress")
    service.client.post(f"/v1/studies/{study}/cancel")
    return study, pid_file


@pytest.fixture(scope="module")
def rude(service: ServiceProcess, stubborn: object) -> dict[str, str]:
    """A study of each rude workload, all submitted at once; what waits for a limit waits beside the others."""
    return {workload: submit(service, workload, **{"trials": 1, **fields}) for workload, (_, fields) in RUDE.items()}


@pytest.fixture(scope="module")
def steady(service: ServiceProcess, rude: object, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study that goes well among them."""
    return submit_steady(service, tmp_path_factory.mktemp("steady") / "trace", trials=2, seconds=0)


@pytest.mark.parametrize("workload", RUDE)
def test_a_rude_trial_fails_and_says_why(service: ServiceProcess, rude: dict[str, str], workload: str) -> None:
    ended = service.wait_for_state(rude[workload], "failed", 120)

    assert "every trial failed" in ended["reason"]
    trials = service.trials(rude[workload])
    assert trials
    for trial in trials:
        assert trial["state"] == "failed"
        assert RUDE[workload][0] in trial["problem"]
        assert "about to misbehave" in service.trial(trial["id"])["log"]


def test_a_traceback_is_in_reach(service: ServiceProcess, rude: dict[str, str]) -> None:
    service.wait_for_state(rude["rude:Raises"], "failed", 120)

    for trial in service.trials(rude["rude:Raises"]):
        assert "in misbehave" in service.trial(trial["id"])["jobs"][-1]["traceback"]


def test_a_pause_keeps_the_work_and_resuming_ends_the_study(service: ServiceProcess, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    study = submit_steady(service, trace)
    wait_until(lambda: any(t["resource"] > 5 for t in service.trials(study)), 60, "some progress")

    assert service.client.post(f"/v1/studies/{study}/pause").status_code == 202
    service.wait_for_state(study, "paused", 60)
    steps = len(trace.read_text().splitlines())
    reports = {t["id"]: service.reports(t["id"]) for t in service.trials(study)}
    assert service.client.post(f"/v1/studies/{study}/resume").status_code == 202
    service.wait_for_state(study, "completed", 60)

    assert len(trace.read_text().splitlines()) > steps
    for trial, before in reports.items():
        assert service.reports(trial)[: len(before)] == before
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    steps_run = [(line["x"], line["step"]) for line in lines if "step" in line]
    assert len(steps_run) == len(set(steps_run)), "no step should run twice when the trial can save its state"


def test_cancelling_stops_trials_and_their_processes(service: ServiceProcess, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    study = submit_steady(service, trace, seconds=0.2)
    wait_until(lambda: any(t["resource"] > 0 for t in service.trials(study)), 60, "some progress")
    pids = {json.loads(line)["pid"] for line in trace.read_text().splitlines() if "leg" in line}

    service.client.post(f"/v1/studies/{study}/cancel")
    service.wait_for_state(study, "cancelled", 60)

    assert {trial["state"] for trial in service.trials(study)} <= {"cancelled", "completed"}
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 30, "the trials' processes to end")
    assert service.client.post(f"/v1/studies/{study}/resume").status_code == 409


def test_a_trial_that_goes_on_after_a_cancellation_is_killed(
    service: ServiceProcess, stubborn: tuple[str, Path]
) -> None:
    study, pid_file = stubborn

    service.wait_for_state(study, "cancelled", 60)

    pids = [int(line) for line in pid_file.read_text().split()]
    # A worker that had to be killed takes the trial's process along, a moment later.
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 30, "the trial's process to end")


def test_deleting_removes_trials_and_checkpoints(service: ServiceProcess, tmp_path: Path) -> None:
    study = submit_steady(service, tmp_path / "trace", trials=2, seconds=0)
    assert service.client.delete(f"/v1/studies/{study}").status_code == 409
    service.wait_for_state(study, "completed", 60)
    states = service.data_dir / "checkpoints" / study
    # Its runner keeps the states of the best trial alone, and does so after the study is over.
    wait_until(lambda: len(list(states.iterdir())) == 1, 30, "the states of the other trials to go")

    assert service.client.delete(f"/v1/studies/{study}").status_code == 204

    assert service.client.get(f"/v1/studies/{study}").status_code == 404
    assert not states.exists()


def test_events_tell_the_whole_story(service: ServiceProcess, rude: dict[str, str], steady: str) -> None:
    service.wait_for_state(rude["rude:Raises"], "failed", 120)
    service.wait_for_state(steady, "completed", 120)

    seen: list[tuple[str, Any]] = []
    with httpx.stream(
        "GET", f"{service.url}/v1/events?study={steady}", headers={"Last-Event-ID": "0"}, timeout=30
    ) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                event = json.loads(line[6:])
                seen.append((event["kind"], event["body"]))
                if event["body"].get("state") == "completed":
                    break

    reports = [tuple(report[:2]) for kind, body in seen if kind == "progress" for report in body["reports"]]
    assert sorted(reports) == [(trial, step) for trial in (0, 1) for step in range(1, 28)]
    assert [body["state"] for kind, body in seen if kind == "study"] == ["queued", "running", "completed"]


def test_resources_that_the_machine_does_not_have_are_refused(service: ServiceProcess) -> None:
    answer = service.client.post(
        "/v1/studies",
        json={"name": "n", "workload": "xgboost", "budget": {"trials": 1}, "resources": {"gpus": 9}},
    )

    assert answer.status_code == 422
    assert "resources.gpus: a trial needs 9" in answer.json()["detail"]


def test_many_studies_at_once_all_end(service: ServiceProcess, tmp_path: Path) -> None:
    studies = [submit_steady(service, tmp_path / f"trace-{i}", trials=2, seconds=0) for i in range(6)]

    for study in studies:
        service.wait_for_state(study, "completed", 120)
