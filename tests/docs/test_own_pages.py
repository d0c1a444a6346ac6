"""What the pages for those who extend Tunewright show keeps the contracts that they promise."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from optimizers import registry
from service.workload_catalog import WorkloadCatalog
from tests.contracts import test_optimizer_contract as optimizer_contract
from tests.contracts.test_workload_contract import Trial
from tests.docs.pages import of
from tunewright import StudySpec, WorkloadError
from tunewright.workload import describe, load


def module(name: str, text: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with this text, which can be imported by its name until the test ends."""
    path = directory / f"{name.rpartition('.')[2]}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, found)
    spec.loader.exec_module(found)
    return found


@pytest.mark.slow
def test_the_optimizer_keeps_the_contract_and_beats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, line, comparison = of("own-optimizer.md", "python")
    kind = module("optimizers.hill_climb", program, tmp_path, monkeypatch).HillClimb
    kinds: dict[str, Any] = {}
    exec(line, {"KINDS": kinds})
    monkeypatch.setattr(registry, "OPTIMIZERS", {**registry.OPTIMIZERS, kind.name: kind})
    monkeypatch.setattr(optimizer_contract, "KINDS", {**optimizer_contract.KINDS, **kinds})

    checks = [
        check
        for name, check in vars(optimizer_contract).items()
        if name.startswith("test_") and list(inspect.signature(check).parameters) == ["kind"]
    ]
    for check in checks:
        check("hill_climb")
    for space in optimizer_contract.SPACES:
        optimizer_contract.test_trials_are_limited_and_their_configurations_valid_and_distinct("hill_climb", space, 5)
    exec(comparison, {})

    assert len(checks) > 10
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["random", "hill_climb"]


def test_the_workload_resumes_exactly_and_its_study_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (program,), (study,) = of("own-workload.md", "python"), of("own-workload.md", "yaml")
    module("regression", program, tmp_path, monkeypatch)
    workload = load("regression:Regression")
    whole = Trial(workload, workload.space.default(), tmp_path / "whole")
    parts = Trial(workload, workload.space.default(), tmp_path / "parts")

    whole.run(9)
    parts.run(3, stop_at=2)
    parts.run(9, kill_at=5, interval=0)
    parts.run(9)

    assert parts.reports == whole.reports
    assert whole.reports[9]["error"] < whole.reports[1]["error"]
    (tmp_path / "study.yaml").write_text(study)
    complete = WorkloadCatalog([tmp_path], local=True).complete(StudySpec.from_yaml(tmp_path / "study.yaml"))
    assert complete.space == describe("regression:Regression").space


def test_the_workload_names_an_option_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = of("own-workload.md", "python")
    module("regression", program, tmp_path, monkeypatch)
    workload = load("regression:Regression")

    with pytest.raises(WorkloadError, match=r"data\.rows: 3 must be"):
        workload.run({}, None, data={"rows": 3}, checkpoint=None, report=None)  # type: ignore[arg-type]
