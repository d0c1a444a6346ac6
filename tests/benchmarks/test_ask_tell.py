"""The ask and tell benchmark runs from end to end; how fast it is depends on the machine and is not asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import ask_tell
from benchmarks.ask_tell import Scale
from benchmarks.peers import environment


@pytest.mark.slow
def test_the_benchmark_measures_every_headline(tmp_path: Path) -> None:
    smallest = Scale({30: (1, 2)}, seconds=0.5, listed=200, stores=("sqlite",), peers=environment.exists())

    ask_tell.main(["--quick", "--json", str(tmp_path / "result.json")], smallest)

    found = json.loads((tmp_path / "result.json").read_text())
    expected = {"pairs_per_second_sqlite_at_30", "list_page_p95_ms"}
    if environment.exists():
        expected.add("ask_tell_vs_optuna_sqlite")
    assert set(found["headline"]) == expected
    assert all(value > 0 for value in found["headline"].values())
    assert [(row["optimizer"], row["clients"]) for row in found["rows"][:4]] == [
        ("random", 1),
        ("random", 2),
        ("tpe", 1),
        ("tpe", 2),
    ]


@pytest.mark.slow
def test_the_list_alone(tmp_path: Path) -> None:
    smallest = Scale({}, seconds=0.5, listed=200, stores=("sqlite",))

    ask_tell.main(["--part", "list", "--json", str(tmp_path / "result.json")], smallest)

    found = json.loads((tmp_path / "result.json").read_text())
    assert set(found["headline"]) == {"list_page_p95_ms"}
    assert found["command"].endswith(" --part list")


def test_without_peers_none_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Scale] = []
    monkeypatch.setattr(ask_tell, "_pairs", lambda scale, result: measured.append(scale))

    options = ["--peers", "none", "--part", "pairs", "--json", str(tmp_path / "result.json")]
    ask_tell.main(options, Scale({}, seconds=0.5, listed=200, stores=()))

    assert [scale.peers for scale in measured] == [False]
    command = json.loads((tmp_path / "result.json").read_text())["command"]
    assert command.endswith(" --part pairs --peers none")
