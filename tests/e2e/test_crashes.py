"""kill -9 in the middle of a study: it ends by itself, and nothing acknowledged is lost, doubled or run again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.service_process import ServiceProcess, descendants, kill, living, runner_pids, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRIALS = 12
STEPS = 27
# By the title that they take once their imports are done, and by the script that they are until then.
RAY_AGENTS = ("ray::DashboardAgent", "dashboard/agent.py", "ray::RuntimeEnvAgent", "runtime_env/agent/main.py")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace.jsonl"


def submit(service: ServiceProcess, trace: Path, optimizer: str = "random", seconds: float = 0.03) -> str:
    return service.submit(
        name="crash",
        workload="steady:Steady",
        optimizer=optimizer,
        budget={"trials": TRIALS},
        parallel=2,
        data={"trace": str(trace), "seconds": seconds},
        limits={"checkpoint_seconds": 0.1},
    )


def lines(trace: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in trace.read_text().splitlines()] if trace.exists() else []


def in_the_middle(service: ServiceProcess, study: str) -> None:
    """Wait until some trials have finished and others are half-way."""

    def middle() -> bool:
        trials = service.trials(study)
        finished = sum(trial["state"] == "completed" for trial in trials)
        half_way = any(trial["state"] == "running" and 8 <= trial["resource"] <= 20 for trial in trials)
        return finished >= 2 and half_way

    wait_until(middle, 60, "the middle of the study")


def acknowledged(service: ServiceProcess, study: str) -> dict[str, dict[float, dict[str, float]]]:
    """Every report that the service shows now."""
    return {
        trial["id"]: {report["resource"]: report["metrics"] for report in service.reports(trial["id"])}
        for trial in service.trials(study)
    }


def assert_whole(service: ServiceProcess, study: str, before: dict[str, dict[float, dict[str, float]]]) -> None:
    """All trials have every report once, and what was acknowledged before is still what it was."""
    trials = service.trials(study)
    assert sorted(trial["number"] for trial in trials) == list(range(TRIALS))
    for trial in trials:
        resources = [report["resource"] for report in service.reports(trial["id"])]
        assert resources == [float(step) for step in range(1, STEPS + 1)], trial["id"]
    after = acknowledged(service, study)
    for trial_id, reports in before.items():
        for resource, metrics in reports.items():
            assert after[trial_id][resource] == metrics


def assert_finished_not_rerun(trace: Path, finished: set[float]) -> None:
    starts = Counter(line["x"] for line in lines(trace) if "leg" in line)
    assert {x: starts[x] for x in finished} == dict.fromkeys(finished, 1)


def finished_configs(service: ServiceProcess, study: str) -> set[float]:
    return {trial["config"]["x"] for trial in service.trials(study) if trial["state"] == "completed"}


def runner_pid(service: ServiceProcess) -> int:
    return runner_pids(service.pid)[0]


def ray_pids(service: ServiceProcess, name: str) -> list[int]:
    """Those of Ray's processes that have the name."""
    return [pid for pid, words in living(service.pid).items() if words[0] == name]


def resumed_from(trace: Path) -> list[float]:
    """Resources at which legs were taken up again from a saved state."""
    return [line["from"] for line in lines(trace) if "leg" in line and line["from"] > line["leg"][0]]


def test_service_killed_and_restarted(service: ServiceProcess, trace: Path) -> None:
    study = submit(service, trace)
    in_the_middle(service, study)
    before, finished = acknowledged(service, study), finished_configs(service, study)

    service.kill()
    service.start()
    service.wait_for_state(study, "completed")

    assert_whole(service, study, before)
    assert_finished_not_rerun(trace, finished)
    assert resumed_from(trace), "legs should resume from their last state"


def test_runner_killed(service: ServiceProcess, trace: Path) -> None:
    study = submit(service, trace)
    in_the_middle(service, study)
    before, finished = acknowledged(service, study), finished_configs(service, study)

    kill(runner_pid(service))
    service.wait_for_state(study, "completed")

    assert_whole(service, study, before)
    assert_finished_not_rerun(trace, finished)
    assert resumed_from(trace)


def test_worker_killed(service: ServiceProcess, trace: Path) -> None:
    study = submit(service, trace)
    in_the_middle(service, study)
    before, finished = acknowledged(service, study), finished_configs(service, study)
    running = next(t for t in service.trials(study) if t["state"] == "running" and t["resource"] >= 5)
    worker = int(service.trial(running["id"])["jobs"][-1]["worker"].rpartition(":")[2])

    kill(worker)
    service.wait_for_state(study, "completed")

    assert_whole(service, study, before)
    assert_finished_not_rerun(trace, finished)
    assert service.trial(running["id"])["jobs"][-1]["attempts"] == 2
    assert resumed_from(trace)


def test_trial_process_killed(service: ServiceProcess, trace: Path) -> None:
    study = submit(service, trace)
    in_the_middle(service, study)
    before = acknowledged(service, study)
    victim = lines(trace)[-1]["x"]
    pid = next(line["pid"] for line in reversed(lines(trace)) if "leg" in line and line["x"] == victim)

    kill(pid)
    service.wait_for_state(study, "completed")

    assert_whole(service, study, before)


@pytest.mark.parametrize("part", ["raylet", "gcs_server"])
def test_ray_killed(service: ServiceProcess, trace: Path, part: str) -> None:
    study = submit(service, trace)
    in_the_middle(service, study)
    before, finished = acknowledged(service, study), finished_configs(service, study)
    (victim,) = ray_pids(service, part)

    kill(victim)
    wait_until(lambda: set(ray_pids(service, part)) - {victim}, 60, "another Ray")
    wait_until(lambda: service.client.get("/readyz").status_code == 200, 60, "the service to be ready again")
    service.wait_for_state(study, "completed")

    assert_whole(service, study, before)
    assert_finished_not_rerun(trace, finished)
    service.stop()
    assert service.exit_code == 0, "it ends in good order, although it has started Ray twice"


@pytest.mark.parametrize("optimizer", ["asha", "bayes"])
def test_everything_killed_at_once(service: ServiceProcess, trace: Path, optimizer: str) -> None:
    study = submit(service, trace, optimizer)
    wait_until(lambda: len(lines(trace)) > 30, 60, "some steps")
    before = acknowledged(service, study)
    processes = descendants(service.pid)

    service.kill_everything()
    assert not [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    service.start()
    service.wait_for_state(study, "completed")

    after = acknowledged(service, study)
    assert len(after) == TRIALS
    for trial_id, reports in before.items():
        assert {resource: after[trial_id][resource] for resource in reports} == reports
    jobs = [job for trial in service.trials(study) for job in service.trial(trial["id"])["jobs"]]
    assert {job["state"] for job in jobs} == {"completed"}


def test_no_trial_outlives_the_service(service: ServiceProcess, trace: Path) -> None:
    submit(service, trace)
    wait_until(lambda: lines(trace), 60, "the first step")
    processes = descendants(service.pid)

    service.kill()

    _, alive = psutil.wait_procs(processes, timeout=20)
    left = {process.pid: words for process in alive if (words := command_line(process))}
    # Ray's two agents notice at once but first try, for a minute, to tell a head node that is gone as well.
    agents = {pid for pid, words in left.items() if any(agent in words for agent in RAY_AGENTS)}
    for pid in agents:
        kill(pid)
    assert [words for pid, words in left.items() if pid not in agents] == []


def command_line(process: psutil.Process) -> str:
    """What a process is called now, or nothing where it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
