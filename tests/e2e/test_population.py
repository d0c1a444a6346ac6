"""Population based training on real workers: copies start from their parents' states, whatever dies meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.service_process import ServiceProcess, kill, runner_pids, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRIALS = 12
FIXED = {"layers": 1, "width": 32, "activation": "relu", "optimizer": "adamw", "batch_size": 16}
SPACE = {
    **{name: {"type": "categorical", "choices": [value]} for name, value in FIXED.items()},
    "learning_rate": {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
    "dropout": {"type": "float", "low": 0.0, "high": 0.5},
    "weight_decay": {"type": "float", "low": 1e-6, "high": 0.1, "log": True},
}


def submit(service: ServiceProcess, **fields: Any) -> str:
    return service.submit(
        **{
            "name": "population",
            "workload": "mlp",
            "space": SPACE,
            "optimizer": {"name": "pbt", "settings": {"population": 4, "steps": 9}},
            "budget": {"trials": TRIALS},
            "parallel": 2,
            "data": {"dataset": "digits"},
            **fields,
        }
    )


def jobs(service: ServiceProcess, study: str) -> list[dict[str, Any]]:
    """All jobs of a study, in the order in which they were given out."""
    found = [job for trial in service.trials(study) for job in service.trial(trial["id"])["jobs"]]
    return sorted(found, key=lambda job: job["number"])


def copies(service: ServiceProcess, study: str) -> list[dict[str, Any]]:
    return [job for job in jobs(service, study) if job["parent"] is not None]


def runner_pid(service: ServiceProcess) -> int:
    return runner_pids(service.pid)[0]


def test_a_population_learns_and_survives_its_runners_death(service: ServiceProcess) -> None:
    study = submit(service)
    wait_until(lambda: copies(service, study), 90, "the first copy")
    before = [(job["number"], job["trial"], job["parent"], job["start"]) for job in jobs(service, study)]

    kill(runner_pid(service))
    ended = service.wait_for_state(study, "completed")

    after = jobs(service, study)
    assert [(job["number"], job["trial"], job["parent"], job["start"]) for job in after][: len(before)] == before
    assert [job["state"] for job in after] == ["completed"] * len(after)
    assert sum(ended["counts"].values()) == TRIALS
    assert_lineage(service, study)
    assert_states_of_the_best_alone(service, study, ended)


def assert_lineage(service: ServiceProcess, study: str) -> None:
    """A copy's first report follows the step at which its parent stood, and its configuration is a changed one."""
    trials = {trial["number"]: trial for trial in service.trials(study)}
    found = copies(service, study)
    assert found
    for job in found:
        resources = [report["resource"] for report in service.reports(trials[job["trial"]]["id"])]
        assert resources[0] == job["start"] + 1
        stood = [report["resource"] for report in service.reports(trials[job["parent"]]["id"])]
        assert job["start"] in stood
        assert trials[job["trial"]]["config"] != trials[job["parent"]]["config"]


def assert_states_of_the_best_alone(service: ServiceProcess, study: str, ended: dict[str, Any]) -> None:
    left = sorted(path.name for path in (service.data_dir / "checkpoints" / study).iterdir())
    assert left == [str(ended["best"][0]["trial"])]
