"""The benchmark of decision times runs from end to end; how fast they are depends on the machine: no assertion."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import suggest
from benchmarks.peers import environment, syne_tune
from benchmarks.peers import suggest as peers
from benchmarks.peers.adapter import Study, Task
from benchmarks.suggest import Scale


@pytest.mark.slow
def test_the_benchmark_measures_every_headline(tmp_path: Path) -> None:
    suggest.main(["--quick", "--json", str(tmp_path / "result.json")], Scale((20, 40), 3, 30.0, peers=False))

    found = json.loads((tmp_path / "result.json").read_text())
    assert found["name"] == "suggest"
    assert set(found["headline"]) == {"p50_ms_at_20", "p95_ms_at_20", "p50_ms_at_40", "p95_ms_at_40"}
    assert all(value > 0 for value in found["headline"].values())
    assert {(row["method"], row["finished"]) for row in found["rows"]} == {
        (method, size) for method in ("hypertune", "asha", "mobster", "bayes") for size in (20, 40)
    }
    assert all(row["new trials"] == 3 for row in found["rows"])


def test_loss_depends_on_the_configuration_and_settles_with_the_resource() -> None:
    space = suggest.SPACE
    best, other = space.decode(np.full(20, 0.3)), space.decode(np.full(20, 0.9))

    assert space.dimension == 20
    assert suggest.loss(best, 81) < suggest.loss(other, 81)
    assert abs(suggest.loss(best, 81) - suggest.loss(best, 80)) < 1e-2


class Scheduler:
    """In Syne Tune's place: every third decision raises the first trial that has ended."""

    told: list[tuple[str, int, float]]

    def __init__(self, kind: str, study: Study) -> None:
        Scheduler.told = []
        self._decisions = self._trials = 0

    def next(self) -> Task:
        self._decisions += 1
        if self._decisions % 3 == 0:
            return Task("0", 3, {})
        self._trials += 1
        return Task(str(self._trials - 1), 1, {})

    def finish(self, trial: str, resource: int, loss: float) -> None:
        Scheduler.told.append((trial, resource, loss))


def test_a_peer_that_is_led_to_a_size_learns_of_results_and_only_its_new_trials_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(syne_tune, "SyneTune", Scheduler)
    finished = [{"config": {}, "loss": float(number)} for number in range(4)]
    order = {"peer": "syne_tune_bohb", "space": [], "finished": finished, "running": [{}], "decisions": 4, "seconds": 9}
    clock = peers.Clock()

    peers._syne_tune(order, clock)

    # One runs beside the next: the first has ended when the second is decided.
    assert Scheduler.told[:4] == [("0", 1, 0.0), ("1", 1, 1.0), ("0", 3, 2.0), ("2", 1, 3.0)]
    # Four have ended after the fifth decision; of those from there on, the sixth and the ninth start nothing.
    assert (len(clock.wall), len(clock.cpu), len(clock.every)) == (4, 4, 6)


@pytest.mark.slow
@pytest.mark.skipif(not environment.exists(), reason="the peers' environment is missing: make it with --peers all")
@pytest.mark.parametrize("peer", ["optuna_tpe", "syne_tune_bohb"])
def test_a_peer_is_timed(peer: str) -> None:
    row = suggest._peer(peer, 20, Scale((20,), 3, 30.0))

    assert row is not None
    assert row["new trials"] == 3
