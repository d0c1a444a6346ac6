"""A service that is started in a project which has packages of the names of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.service_process import ServiceProcess

PACKAGES = ("db_knobs", "models", "optimizers", "service", "tunewright", "workers")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_projects_own_packages_do_not_stand_in_for_ours(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in PACKAGES:
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text("raise ImportError('not Tunewright, but the project')\n")
    service = ServiceProcess(tmp_path / "data", directory=project)
    try:
        service.start()
        study = service.submit(name="in a project", workload="xgboost", budget={"trials": 2})
        found = service.wait_for_state(study, "completed")
    finally:
        service.stop()

    assert found["best"], service.log.read_text()
