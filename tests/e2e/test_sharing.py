"""Studies that share a cluster, on real workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.service_process import ServiceProcess, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]


def submit(service: ServiceProcess, tmp_path: Path, name: str, **fields: Any) -> str:
    return service.submit(
        **{
            "name": name,
            "workload": "steady:Steady",
            "optimizer": "random",
            # Nine steps a leg.
            "data": {"trace": str(tmp_path / f"{name}.jsonl"), "seconds": 0.1},
            **fields,
        }
    )


def running_seconds(service: ServiceProcess, study: str, begin: str, end: str) -> float:
    """Seconds between two moments in which trials of a study ran, summed over those that ran side by side."""
    spans = [
        (max(job["started_at"], begin), min(job["ended_at"] or end, end))
        for trial in service.trials(study)
        for job in service.trial(trial["id"])["jobs"]
        if job["worker"]
    ]
    return sum(_seconds(start, stop) for start, stop in spans if start < stop)


def _seconds(start: str, stop: str) -> float:
    from datetime import datetime

    return (datetime.fromisoformat(stop) - datetime.fromisoformat(start)).total_seconds()


def test_a_late_small_study_gets_its_share_beside_a_large_one(service: ServiceProcess, tmp_path: Path) -> None:
    large = submit(service, tmp_path, "large", parallel=100, budget={"trials": 1000})
    wait_until(lambda: len(service.trials(large)) >= 4, 60, "the large study to be under way")

    late = submit(service, tmp_path, "late", parallel=2, budget={"trials": 8})
    ended = service.wait_for_state(late, "completed")

    trials = service.trials(late)
    begin, end = min(trial["started_at"] for trial in trials), ended["ended_at"]
    mine, theirs = (running_seconds(service, study, begin, end) for study in (late, large))
    print(f"late: {mine:.1f} s, large: {theirs:.1f} s")
    assert 0.35 < mine / (mine + theirs) < 0.65
    service.client.post(f"/v1/studies/{large}/cancel")
    service.wait_for_state(large, "cancelled")


def test_what_one_study_leaves_the_other_uses_and_priorities_count(service: ServiceProcess, tmp_path: Path) -> None:
    low = submit(service, tmp_path, "low", parallel=100, budget={"trials": 1000}, priority="low")
    wait_until(lambda: service.study(low)["counts"].get("running") == 2, 60, "the study to use the whole cluster")

    high = submit(service, tmp_path, "high", parallel=100, budget={"trials": 12}, priority="high")
    ended = service.wait_for_state(high, "completed")
    begin, end = min(trial["started_at"] for trial in service.trials(high)), ended["ended_at"]
    mine, theirs = (running_seconds(service, study, begin, end) for study in (high, low))
    wait_until(lambda: service.study(low)["counts"].get("running") == 2, 30, "the study to use what is left again")

    print(f"high: {mine:.1f} s, low: {theirs:.1f} s")
    assert mine / (mine + theirs) > 0.7
    service.client.post(f"/v1/studies/{low}/cancel")
    service.wait_for_state(low, "cancelled")
