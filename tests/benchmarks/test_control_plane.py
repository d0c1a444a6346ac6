"""The control plane's benchmark runs from end to end; how fast it is depends on the machine and is not asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import control_plane
from benchmarks.control_plane import Scale


@pytest.mark.slow
def test_the_benchmark_measures_every_headline(tmp_path: Path) -> None:
    smallest = Scale(repeats=1, read_seconds=1, warm_trials=2, reports=600, page_reports=10, submissions=1)

    control_plane.main(["--quick", "--json", str(tmp_path / "result.json")], smallest)

    found = json.loads((tmp_path / "result.json").read_text())
    assert found["name"] == "control_plane"
    assert found["command"].startswith("python -m benchmarks.control_plane --quick --json ")
    assert set(found["headline"]) == {
        "read_p50_ms",
        "read_p99_ms",
        "reports_per_second",
        "report_to_page_ms",
        "report_to_page_p99_ms",
        "submit_to_running_s",
    }
    assert all(value > 0 for value in found["headline"].values())
    measured = {row["measurement"] for row in found["rows"]}
    assert measured >= {"submit to running", "reports", "report to page", "reads", "read curves", "read all"}
