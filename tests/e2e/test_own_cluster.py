"""A service on a Ray cluster that runs already: studies go on while the service is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.ray_head import RayNode
from tests.e2e.service_process import ServiceProcess, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def service(head: RayNode, tmp_path: Path) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path / "data", head.environment)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def test_a_study_goes_on_while_the_service_is_away(service: ServiceProcess, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    study = service.submit(
        name="away",
        workload="steady:Steady",
        optimizer="random",
        budget={"trials": 8},
        parallel=2,
        data={"trace": str(trace), "seconds": 0.05},
    )
    wait_until(lambda: any(t["resource"] > 3 for t in service.trials(study)), 90, "some progress")

    service.kill()
    steps = len(trace.read_text().splitlines())
    wait_until(lambda: len(trace.read_text().splitlines()) > steps + 20, 60, "the study to go on alone")
    service.start()
    service.wait_for_state(study, "completed", 120)

    jobs = [job for trial in service.trials(study) for job in service.trial(trial["id"])["jobs"]]
    assert {job["attempts"] for job in jobs} == {1}, "no leg should have been run again"
