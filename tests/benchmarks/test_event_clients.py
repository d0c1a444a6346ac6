"""The benchmark of those who follow events runs from end to end; what it measures depends on the machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import event_clients
from benchmarks.event_clients import CLIENTS, Scale


@pytest.mark.slow
def test_the_benchmark_measures_every_headline(tmp_path: Path) -> None:
    smallest = Scale(repeats=1, seconds=1, reports=300)

    event_clients.main(["--quick", "--json", str(tmp_path / "result.json")], smallest)

    found = json.loads((tmp_path / "result.json").read_text())
    assert {"memory_growth_mb", "read_p99_ms_0_clients", f"read_p99_ms_{CLIENTS}_clients"} <= set(found["headline"])
    at_work = [row for row in found["rows"] if row["measurement"] == "at work"]
    assert sorted(row["clients"] for row in at_work) == [0, CLIENTS]
    # All who read heard as much, whatever the slow one and the dead one did.
    (heard,) = [(row["least_heard_kb"], row["most_heard_kb"]) for row in at_work if row["clients"]]
    assert heard[0] > 0.9 * heard[1] > 0
