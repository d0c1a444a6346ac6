"""How intervals on a real server are judged, by hand; and, slowly, that the whole runs."""

from __future__ import annotations

import math
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from benchmarks import _live_databases
from benchmarks import _onlinetune_live as live
from benchmarks._live_databases import SCENES, Stretch
from benchmarks._onlinetune_live import OURS, Judged, Plan
from db_knobs.catalog import entries
from db_knobs.lab.postgres import binaries
from db_knobs.statistics import Metrics
from optimizers.onlinetune import Interval, Suggestion, Target
from optimizers.onlinetune.baselines import Baseline
from tunewright.space import Float, SearchSpace
from tunewright.study import Objective

METRICS = Metrics(seconds=6.0, throughput=100.0)


def stretch(clients: float, seconds: float = 6.0, **fields: object) -> Stretch:
    return Stretch({}, seconds, clients, (), clients, (), **{"metrics": METRICS, **fields})  # type: ignore[arg-type]


def interval(ratio: float, place: float = 0.0, reference: float = 100.0) -> Judged:
    return Judged({}, reference, ratio * reference, reference, place, aborted=False, seconds=0.1)


def judge(*pieces: tuple[Stretch, float]) -> Judged:
    """An interval of 6 s in which the default does 100 transactions a second."""
    suggestion = Suggestion(number=0, kind="safe", config={}, point=(), centre=())
    made = [live._Piece(suggestion, stretch, length, thinking=0.1) for stretch, length in pieces]
    return live._judge(made, default=100.0, place=0.0, seconds=6.0)


class Recorder(Baseline):
    """Stays on the reference, and keeps what it is told."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self.told: list[Interval] = []

    def _ordered(self, context: object, rules: object, rng: object) -> list[Any]:
        return []

    def tell(self, interval: Interval) -> None:
        super().tell(interval)
        self.told.append(interval)


def test_a_session_learns_from_its_first_look_too() -> None:
    target = Target(
        space=SearchSpace(Float("knob", 0.0, 1.0)),
        reference={"knob": 0.5},
        features=("load",),
        objective=Objective(metric="tps", direction="maximize"),
        seconds=6.0,
    )
    database = MagicMock(target=target)
    database.run.side_effect = lambda config, *_: Stretch(config, 6.0, 100.0, (100.0,), 100.0, (1.0,), METRICS)
    database.clients.return_value = 100.0
    database.rules.return_value = []
    tuner = Recorder(target)

    live._session(database, "recorder", tuner, phases=[MagicMock()] * 2, where=[0.0, 1.0], plan=live.FULL)

    assert [each.suggestion is None for each in tuner.told] == [True, False, False]
    assert tuner.told[0].config == target.reference


def test_work_is_that_of_the_whole_interval() -> None:
    judged = judge((stretch(120.0), 6.0))

    assert (judged.work, judged.reference) == (720.0, 600.0)
    assert judged.ratio == pytest.approx(math.log(1.2))


def test_what_follows_an_early_end_has_the_rest_of_the_interval() -> None:
    ended = stretch(10.0, seconds=2.0, aborted=True)

    judged = judge((ended, 6.0), (stretch(150.0), 4.0))

    assert judged.work == 10.0 * 2 + 150.0 * 4
    assert judged.aborted


def test_a_rest_in_which_nothing_was_begun_ran_on_the_default() -> None:
    ended = stretch(10.0, seconds=5.0, aborted=True)

    assert judge((ended, 6.0)).work == 10.0 * 5 + 100.0 * 1


def test_what_the_server_refused_ran_on_the_default() -> None:
    refused = stretch(0.0, metrics=None)

    assert judge((refused, 6.0)).ratio == 0.0


def test_a_stall_counts_as_a_thousandth() -> None:
    assert interval(0.0).ratio == pytest.approx(math.log(1e-3))


def test_the_bound_is_the_margin_or_what_noise_does() -> None:
    quiet = {"default": [interval(1.0)] * 20}
    noisy = {"default": [interval(1.0)] * 18 + [interval(0.5)] * 2}

    assert live._bound(quiet) == pytest.approx(math.log(0.95))
    assert live._bound(noisy) == pytest.approx(math.log(0.5))


def test_headlines_by_hand() -> None:
    sessions = {
        "default": [interval(1.0)] * 4,
        "gp_ucb": [interval(0.5), interval(0.8), interval(1.6), interval(1.5)],
        OURS: [interval(1.0), interval(1.2), interval(1.4), interval(0.9)],
    }

    found = live._headline(sessions, np.log([1.5]))

    assert found["cumulative_gain_vs_default"] == pytest.approx(0.125)
    assert found["cumulative_gain_vs_best_baseline"] == pytest.approx(4.5 / 4.4 - 1)
    assert found["unsafe_share"] == 0.25
    assert found["unsafe_reduction_vs_gp_ucb"] == 0.5
    assert found["worst_interval_vs_default"] == pytest.approx(-0.1)
    assert found["ceiling_gain"] == pytest.approx(0.5)
    assert found["gain_share_of_ceiling"] == pytest.approx(0.25)


def test_without_gp_ucb_there_is_no_headline_against_it() -> None:
    sessions = {"default": [interval(1.0)] * 4, OURS: [interval(1.0), interval(1.2), interval(1.4), interval(0.9)]}

    found = live._headline(sessions, None)

    assert "unsafe_reduction_vs_gp_ucb" not in found
    assert found["unsafe_share"] == 0.25


def test_between_phases_the_ceiling_lies_between() -> None:
    session = [interval(1.0, place) for place in (0.0, 0.5, 1.0)]

    found = live._ceiling_gain(session, np.log([1.0, 4.0]))

    assert found == pytest.approx((1 + 2 + 4) / 3 - 1)


@pytest.mark.parametrize("name", SCENES)
def test_scenes_turn_knobs_that_sessions_are_offered(name: str) -> None:
    catalog = entries(SCENES[name].kind)

    assert all(catalog[knob].offered for knob in SCENES[name].knobs)


@pytest.mark.slow
def test_the_whole_runs_on_a_real_server(monkeypatch: pytest.MonkeyPatch) -> None:
    if binaries() is None:
        pytest.skip("needs Debian's PostgreSQL: apt-get install postgresql")
    smallest = Plan(("default", "gp_ucb", OURS), 0.5, 0.2, 0.1, ("sudden",), 2, warmup=1, probe=None, scale=0.01)
    monkeypatch.setattr(live, "QUICK", smallest)
    monkeypatch.setattr(_live_databases, "LEARN_SECONDS", 0.5)

    headline, rows = live.run("postgresql", quick=True)

    assert set(headline) >= {"cumulative_gain_vs_default", "unsafe_share", "seconds_per_recommendation"}
    assert all(math.isfinite(value) for value in headline.values())
    assert [row["method"] for row in rows[:3]] == ["default", "gp_ucb", OURS]
