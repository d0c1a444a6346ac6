"""What workloads declare, in projects that have packages of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.declarations import describe, describe_one

MINE = """
from models import SPACE
from tunewright import Fidelity, Objective, Workload


class Mine(Workload):
    name = "mine"
    space = SPACE
    objectives = (Objective(metric="loss"),)
    fidelity = Fidelity(name="steps", max=1)

    def run(self, config, leg, *, data, checkpoint, report):
        report(1, {"loss": 0.5})
"""


@pytest.fixture
def project(tmp_path: Path) -> list[str]:
    """A directory with a package `models`, as many have, in which is a module of the name of one of our packages."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tabular.py").touch()
    (tmp_path / "models" / "__init__.py").write_text(
        "from tunewright import Float, SearchSpace\n\nSPACE = SearchSpace(Float('rate', 0, 1))\n"
    )
    (tmp_path / "mine.py").write_text(MINE)
    return [str(tmp_path)]


def test_a_projects_own_packages_hide_no_registered_workload(project: list[str]) -> None:
    assert describe_one("mlp", project).name == "mlp"
    assert describe(None, project).problems == {}


def test_a_projects_own_workload_has_the_projects_packages(project: list[str]) -> None:
    assert describe_one("mine:Mine", project).space.names == ["rate"]
