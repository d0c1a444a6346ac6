"""The benchmark of OnlineTune runs from end to end on simulated servers, and counts what happened to the truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import onlinetune
from benchmarks._onlinetune_simulated import ABLATIONS, OURS, RIVALS, Method, Scale, Session, headline, play
from optimizers.onlinetune.simulated import SimulatedDatabase


@pytest.mark.slow
def test_the_benchmark_measures_every_headline(tmp_path: Path) -> None:
    scale = Scale(sessions=2, ablated=1, intervals=8, history=20)

    onlinetune.main(["--simulated", "--quick", "--processes", "1", "--json", str(tmp_path / "result.json")], scale)

    found = json.loads((tmp_path / "result.json").read_text())
    assert found["command"].endswith("--simulated")
    assert set(found["headline"]) == {
        "sessions",
        "cumulative_gain_vs_default",
        "cumulative_gain_vs_best_baseline",
        "unsafe_share",
        "unsafe_reduction_vs_gp_ucb",
        "worst_interval_vs_default",
        "regret_vs_safe_optimum",
        "gain_share_of_safe_optimum",
        "seconds_per_recommendation",
    }
    assert [row["method"] for row in found["rows"] if "method" in row] == [each.name for each in (OURS, *RIVALS)]
    assert [row["ablation"] for row in found["rows"] if "ablation" in row] == [
        "nothing",
        *(each.name for each in ABLATIONS),
    ]
    assert all(row["sessions"] == 2 for row in found["rows"] if "method" in row)


def test_the_default_gains_nothing_and_is_never_unsafe() -> None:
    session = play(SimulatedDatabase("ridges", intervals=10), Method("default", baseline="default"))

    assert session.gain == pytest.approx(0.0)
    assert not session.unsafe.any()
    assert session.optimum > 0


def _session(method: str, truth: list[float]) -> Session:
    gains = np.array(truth)
    return Session(
        method=method,
        seed=0,
        family="ridges",
        schedule="steady",
        truth=gains,
        work=np.exp(gains),
        reference_work=np.full(len(gains), 100.0),
        aborted=np.zeros(len(gains), dtype=bool),
        seconds=np.zeros(len(gains)),
        optimum=0.5,
    )


def test_headlines_are_what_the_docstring_says() -> None:
    tenth, bad = float(np.log(1.1)), float(np.log(0.9))
    found = {method.name: [_session(method.name, [0.0] * 4)] for method in RIVALS}
    found[OURS.name] = [_session(OURS.name, [tenth, tenth, tenth, bad])]
    found["gp_ucb"] = [_session("gp_ucb", [bad, bad, tenth, tenth])]

    figures = headline(found)

    assert figures["cumulative_gain_vs_default"] == pytest.approx(0.05)
    assert figures["cumulative_gain_vs_best_baseline"] == pytest.approx(0.05)
    assert figures["unsafe_share"] == pytest.approx(0.25)
    assert figures["unsafe_reduction_vs_gp_ucb"] == pytest.approx(0.5)
    assert figures["worst_interval_vs_default"] == pytest.approx(-0.1)
    assert figures["regret_vs_safe_optimum"] == pytest.approx(0.45)
    assert figures["gain_share_of_safe_optimum"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--simulated", "--server", "mariadb"],
        ["--simulated", "--sessions", "0"],
        ["--server", "postgresql", "--methods", "gp_ucb,nobody"],
    ],
)
def test_a_command_that_says_not_what_to_run_is_refused(argv: list[str]) -> None:
    with pytest.raises(SystemExit):
        onlinetune.main(argv)
