"""The dashboard's benchmark runs from end to end; how fast it is depends on the machine and is not asserted."""

from __future__ import annotations

import json
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from benchmarks import dashboard
from benchmarks._large_trials import RUNNING, large_trials, live_reports
from benchmarks.dashboard import Scale
from benchmarks.peers import environment
from tests.e2e.test_pages import CHROMIUM


def test_trials_are_the_same_each_time_and_reports_go_on_where_they_end() -> None:
    trials = [trial for chunk in large_trials(30) for trial in chunk]
    reports = list(islice(live_reports(30), 400))

    assert trials == [trial for chunk in large_trials(30) for trial in chunk]
    assert [trial.number for trial in trials] == list(range(30))
    assert reports[0].trial == 30
    assert {report.trial for report in reports if report.begins} == set(range(30, max(r.trial for r in reports) + 1))
    assert len({report.trial for report in reports[:RUNNING]}) == RUNNING
    assert len({(report.trial, report.resource) for report in reports}) == len(reports)


def test_without_peers_none_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "sync_playwright", MagicMock())
    monkeypatch.setattr(dashboard, "_ours", lambda home, trials: nullcontext())
    monkeypatch.setattr(
        dashboard, "_measured", lambda *_: {"first_paint_s": 0.5, "interactive_s": 1.5, "live_ms_per_s": 80.0}
    )
    monkeypatch.setattr(environment, "ensure", lambda: pytest.fail("installs the peers"))

    dashboard.main(["--peers", "none", "--json", str(tmp_path / "result.json")])

    found = json.loads((tmp_path / "result.json").read_text())
    assert found["command"].endswith(" --peers none")
    assert found["headline"] == {
        "interactive_s_at_100k": 1.5,
        "first_paint_s_at_100k": 0.5,
        "live_main_thread_ms_per_s": 80.0,
    }


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium: apt-get install chromium")
def test_the_page_of_a_study_is_measured(tmp_path: Path) -> None:
    smallest = Scale(trials=200, loads=1, seconds=2, patience=60, peer=False)

    dashboard.main(["--quick", "--json", str(tmp_path / "result.json")], smallest)

    found = json.loads((tmp_path / "result.json").read_text())
    assert found["headline"].keys() == {"interactive_s_at_200", "first_paint_s_at_200", "live_main_thread_ms_per_s"}
    assert 0 < found["headline"]["first_paint_s_at_200"] < found["headline"]["interactive_s_at_200"] < 60
    assert found["rows"][0]["reports_per_s"] > 0
