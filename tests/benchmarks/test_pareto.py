"""The comparison on several objectives: its problems, and that it runs to its end, with peers and without."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import pareto
from benchmarks.pareto import Scale, tasks
from benchmarks.peers import environment

SMALL = Scale(mixed=1, trials=12, seeds=1)


@pytest.mark.parametrize("peers", ["none", "all"])
@pytest.mark.slow
def test_the_whole_publishes_a_ratio_for_each_rival(tmp_path: Path, peers: str) -> None:
    if peers == "all" and not environment.exists():
        pytest.skip("the peers' environment is missing: python -m benchmarks.hypertune makes it")

    pareto.main(["--peers", peers, "--json", str(tmp_path / "a.json")], SMALL)

    found = json.loads((tmp_path / "a.json").read_text())
    rivals = ["bayes_forests", "nsga2", "random", *(["optuna_tpe", "optuna_nsga2"] if peers == "all" else [])]
    assert {name for name in found["headline"] if not name.endswith(("_low", "_high"))} == {
        f"hypervolume_ratio_vs_{rival}" for rival in rivals
    }
    assert len(found["rows"]) == 4 * (len(rivals) + 1)
    assert all(0 < row["volume"] < 1 for row in found["rows"])


@pytest.mark.parametrize("task", tasks(4), ids=lambda task: task.name)
def test_losses_lie_above_the_ideal_and_partly_within_the_reference(task: pareto.Task) -> None:
    rng = np.random.default_rng(0)
    configs = [task.space.decode(rng.random(task.space.dimension)) for _ in range(500)]
    points = np.array([task.losses(task.space.encode(config), rng) for config in configs])

    assert (points > np.array(task.ideal) - 1e-9).all()
    assert (points < np.array(task.reference)).all(axis=1).any()
    assert 0 < task.volume(points.tolist()) < 1


def test_known_fronts() -> None:
    zdt1, zdt2, dtlz2 = (task.losses for task in tasks(0))
    rng, best = np.random.default_rng(0), np.array([0.25, 0, 0, 0, 0, 0])

    assert zdt1(best, rng) == pytest.approx([0.25, 0.5])
    assert zdt2(best, rng) == pytest.approx([0.25, 1 - 0.25**2])
    assert math.hypot(*dtlz2(np.array([0.3, 0.7, 0.5, 0.5, 0.5, 0.5]), rng)) == pytest.approx(1.0)
