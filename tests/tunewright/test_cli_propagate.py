"""`tunewright graph propagate` on this machine; on a cluster: `tests/e2e/test_propagation.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from models.data.graphs import load
from models.gnn.cache import Operator, propagated
from models.gnn.operators import normalised, propagate
from tunewright.cli import app


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TUNEWRIGHT_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TUNEWRIGHT_RAY_ADDRESS", raising=False)
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["graph", "propagate", *arguments])
    return result.exit_code, result.output


def test_trials_find_what_was_propagated(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told = run("sbm", "--operator=ppr_0.2", "--steps=2")
    monkeypatch.setattr("models.gnn.cache.normalised", None)
    graph = load("sbm")
    found = propagated(graph, Operator("ppr", alpha=0.2), 2)

    assert code == 0
    assert f"{graph.n} x 16, 2 steps" in told
    wanted = propagate(normalised(graph, "ppr", alpha=0.2), graph.features, 2)
    assert all(np.array_equal(mine, other) for mine, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["sbm", "--operator=best"], '--operator "best": must be one of symmetric, random_walk, ppr_0.1'),
        (["sbm", "--operator=symmetric", "--parts=2"], "--parts: a graph is shared out on a cluster only"),
        (["sbm", "--operator=symmetric", "--memory=much"], '--memory "much": give a number and kB'),
        (["nowhere", "--operator=symmetric"], "data.dataset: "),
        (["sbm", "--operator=symmetric", "--memory=1kB"], "a memory of 1024 bytes is smaller than one block"),
        (["sbm", "--operator=symmetric", "--ray-address=127.0.0.1:1"], "cannot reach Ray at 127.0.0.1:1"),
    ],
)
def test_what_cannot_be_done_is_told(arguments: list[str], problem: str, cache: Path) -> None:
    code, told = run(*arguments)

    assert code in (1, 2)
    assert problem in told
    assert not list(cache.glob("propagated/*/*/*"))
