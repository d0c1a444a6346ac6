"""The scale benchmark at a size at which nothing is measured, and everything is tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import scale


@pytest.mark.slow
def test_every_headline_is_there(tmp_path: Path) -> None:
    told = tmp_path / "scale.json"

    scale.main(["--json", str(told)], scale.Scale(workers=(5, 20), steps=5, studies=(5, 10), intervals=3))

    found = json.loads(told.read_text())
    assert set(found["headline"]) == {
        "reports_per_second",
        "seconds_between_reports",
        "bytes_per_report",
        "load_us_per_report",
        "read_p99_ms",
        "heartbeat_ms",
        "runner_mib",
        "session_mib",
        "interval_ms",
    }
    assert all(value > 0 for value in found["headline"].values())
    assert [row["reports"] for row in found["rows"] if "workers" in row] == [25, 100]
