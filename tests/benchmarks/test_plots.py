"""The benchmark of plots draws every plot there is; how long that takes is not asserted."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import plots
from service.plots import PLOTS


def test_every_plot_is_drawn_and_has_points(tmp_path: Path) -> None:
    told = tmp_path / "plots.json"

    plots.main(["--json", str(told)], trials=60)

    found = json.loads(told.read_text())
    assert [row["plot"] for row in found["rows"]] == list(PLOTS)
    assert found["headline"]["slowest_plot_s"] >= max(row["seconds"] for row in found["rows"])
    assert all(row["kB"] > 0 for row in found["rows"])
