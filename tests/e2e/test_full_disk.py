"""The data directory's disk is full for a while: a clear error, no lost report, and the study goes on afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.service_process import ServiceProcess, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root"),
]

MEGABYTES = 8


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def service(small_disk: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    # Checkpoints elsewhere: this is about the store, and the log of the service is not on the small disk either.
    settings = {"TUNEWRIGHT_CHECKPOINT_URL": f"file://{tmp_path / 'checkpoints'}"}
    service = ServiceProcess(small_disk / "data", settings, log=tmp_path / "service.log")
    service.start()
    try:
        yield service
    finally:
        service.stop()


def test_a_full_disk_only_makes_the_study_wait(service: ServiceProcess, small_disk: Path, tmp_path: Path) -> None:
    study = service.submit(
        name="full",
        workload="steady:Steady",
        optimizer="random",
        budget={"trials": 4},
        parallel=2,
        data={"trace": str(tmp_path / "trace"), "seconds": 0.05},
    )
    wait_until(lambda: any(t["resource"] > 3 for t in service.trials(study)), 60, "some progress")

    filler = small_disk / "filler"
    fill(filler)
    answer = service.client.post("/v1/studies", json={"name": "n", "workload": "xgboost", "budget": {"trials": 1}})
    wait_until(lambda: service.client.get("/readyz").status_code == 503, 30, "the service to notice")
    reason = service.client.get("/readyz").json()["detail"]
    shown = service.study(study)["state"]
    filler.unlink()
    service.wait_for_state(study, "completed", 90)

    assert answer.status_code == 507
    assert "free space" in answer.json()["detail"]
    assert "disk is full" in reason
    assert shown == "running"
    for trial in service.trials(study):
        assert [r["resource"] for r in service.reports(trial["id"])] == [float(step) for step in range(1, 28)]


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass
