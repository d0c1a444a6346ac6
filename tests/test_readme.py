"""What README shows works as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from optimizers.protocol import Problem
from optimizers.registry import create
from service.workload_catalog import WorkloadCatalog
from tunewright import Checkpoint, Leg, StudySpec
from tunewright.workload import load

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_studies_in_yaml_are_complete_and_accepted_by_their_optimizer(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(text)
    spec = StudySpec.from_yaml(tmp_path / "study.yaml")

    complete = WorkloadCatalog([], local=True).complete(spec)

    assert complete.space is not None
    assert complete.fidelity is not None
    problem = Problem(complete.space, complete.objectives, complete.fidelity)
    assert create(spec.optimizer.name, spec.optimizer.settings, problem).next_job() is not None


def test_the_study_in_python_is_the_one_in_yaml() -> None:
    text = next(block for block in blocks("python") if "StudySpec(" in block)
    names: dict[str, object] = {}

    exec(text[: text.index("with Client")], names)

    study = names["study"]
    assert isinstance(study, StudySpec)
    first = StudySpec.from_yaml(blocks("yaml")[0])
    assert (study.workload, study.budget, study.parallel) == (first.workload, first.budget, first.parallel)


def test_the_workload_of_ones_own_resumes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = next(block for block in blocks("python") if "(Workload)" in block)
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    workload = load("mine:Quadratic")

    def run(name: str, *ends: float) -> list[tuple[float, float]]:
        (tmp_path / name).mkdir()
        checkpoint, reports, start = Checkpoint(tmp_path / name), [], 0.0
        for end in ends:
            workload.run(
                {"x": 4.0, "rate": 0.1},
                Leg(start, end),
                data={},
                checkpoint=checkpoint,
                report=lambda resource, metrics: reports.append((resource, metrics["loss"])),
            )
            start = end
        return reports

    assert run("one", 27.0) == run("three", 3.0, 9.0, 27.0)


def test_commands_named_exist() -> None:
    from typer.main import get_command

    from tunewright.cli import app

    known = set(get_command(app).commands)  # type: ignore[attr-defined]

    assert set(re.findall(r"(?:`|    )tunewright ([a-z-]+)", README)) <= known
