"""The benchmark of decision times runs from end to end; how fast they are depends on the machine: no assertion."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import suggest
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
