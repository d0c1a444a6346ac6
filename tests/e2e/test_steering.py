"""What people want of a study, on real workers: a part of the space searched, enqueued trials, warm starts, more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.service_process import ServiceProcess, descendants, kill, wait_until
from tunewright.workload import describe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def submit(service: ServiceProcess, tmp_path: Path, optimizer: str, trials: int, **fields: Any) -> str:
    return service.submit(
        **{
            "name": "steered",
            "workload": "steady:Steady",
            "optimizer": optimizer,
            "budget": {"trials": trials},
            "parallel": 2,
            "data": {"trace": str(tmp_path / "trace.jsonl"), "seconds": 0.03},
            **fields,
        }
    )


def runner_pid(service: ServiceProcess) -> int:
    return next(p.pid for p in descendants(service.pid) if "StudyRunner" in " ".join([p.name(), *p.cmdline()]))


def test_an_enqueued_configuration_survives_the_runners_death(service: ServiceProcess, tmp_path: Path) -> None:
    study = submit(service, tmp_path, "random", 8)
    wait_until(lambda: service.trials(study), 60, "the first trial")

    answer = service.client.post(f"/v1/studies/{study}/queue", json={"config": {"x": 0.125}})
    kill(runner_pid(service))
    service.wait_for_state(study, "completed")

    assert answer.status_code == 201, answer.text
    entries = service.client.get(f"/v1/studies/{study}/queue").json()["items"]
    tried = [trial for trial in service.trials(study) if trial["config"] == {"x": 0.125}]
    assert [entry["trial"] for entry in entries] == [trial["id"] for trial in tried]
    assert [trial["state"] for trial in tried] == ["completed"]
    assert [service.trial(trial["id"])["jobs"][0]["why"]["rule"] for trial in tried] == ["enqueued"]


def test_a_study_searches_a_part_of_its_workloads_space(service: ServiceProcess) -> None:
    study = service.submit(
        name="one parameter",
        workload="xgboost",
        space={"learning_rate": {"type": "float", "low": 0.1, "high": 0.2}},
        fidelity={"name": "rounds", "max": 3},
        budget={"trials": 3},
        parallel=2,
    )

    service.wait_for_state(study, "completed")

    declared = describe("xgboost").space
    configs = [trial["config"] for trial in service.trials(study)]
    assert len({config.pop("learning_rate") for config in configs}) == 3
    assert configs == 3 * [{k: v for k, v in declared.default().items() if k != "learning_rate"}]


def test_a_study_is_warm_started_and_extended_after_its_source_is_gone(service: ServiceProcess, tmp_path: Path) -> None:
    source = submit(service, tmp_path, "random", 4)
    best = service.wait_for_state(source, "completed")["best"][0]["config"]
    study = submit(service, tmp_path, "asha", 4, warm_start=[source])
    assert service.client.delete(f"/v1/studies/{source}").status_code == 204
    service.wait_for_state(study, "completed")
    first = {trial["number"]: trial["config"] for trial in service.trials(study)}

    answer = service.client.post(f"/v1/studies/{study}/extend", json={"budget": {"trials": 9}})
    extended = service.wait_for_state(study, "completed")

    assert answer.status_code == 202, answer.text
    assert first[0] == best
    trials = {trial["number"]: trial for trial in service.trials(study)}
    assert sorted(trials) == list(range(9))
    assert {number: trials[number]["config"] for number in first} == first
    assert sum(extended["counts"].values()) == 9
    counted = {state: sum(t["state"] == state for t in trials.values()) for state in extended["counts"]}
    assert counted == extended["counts"]
    for trial in trials.values():
        resources = [report["resource"] for report in service.reports(trial["id"])]
        assert resources == [float(step) for step in range(1, len(resources) + 1)]
