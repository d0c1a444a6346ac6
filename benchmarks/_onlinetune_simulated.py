"""Seeded sessions on simulated databases, whose truth is known: who gains what, and at what danger."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks._harness import Cell, percentile
from optimizers.onlinetune import (
    Interval,
    NoiseMeter,
    OnlineTune,
    OnlineTuneSettings,
    Rule,
    SecondNoise,
    SequentialTest,
    Suggestion,
    reference_seconds,
)
from optimizers.onlinetune.baselines import BASELINES
from optimizers.onlinetune.simulated import HELD_OUT, Outcome, SimulatedDatabase, scenarios
from optimizers.surrogates.gp import one_thread

MARGIN = OnlineTuneSettings().margin
# Where decision times are measured: so many knobs, and decisions after the history.
_KNOBS, _DECISIONS = 40, 30
# Below the reference at all, but for knobs that hardly matter: as a logarithm.
_NOTICED = -0.005


class Tuner(Protocol):
    """The verbs that OnlineTune and every baseline have."""

    def suggest(self, context: Sequence[float], rules: Sequence[Rule] = ()) -> Suggestion:
        """Settings for the next interval."""

    def tell(self, interval: Interval) -> None:
        """Learn from it."""


@dataclass(frozen=True)
class Method:
    """Who decides: OnlineTune with these settings, or a baseline.

    Attributes:
        abort: whether intervals are ended early; a baseline never asks for it.
    """

    name: str
    baseline: str | None = None
    settings: Mapping[str, Any] | None = None
    abort: bool = True

    def tuner(self, database: SimulatedDatabase) -> Tuner:
        """All methods know the same: target, guard, and rules as they are handed them."""
        if self.baseline is not None:
            return BASELINES[self.baseline](database.target, guard=database.guard)
        return OnlineTune(database.target, OnlineTuneSettings(**(self.settings or {})), database.guard)


OURS = Method("onlinetune")
ABLATIONS = (
    Method("without clustering", settings={"clustering": False}),
    Method("without subspace", settings={"subspace": False}),
    Method("without white box", settings={"white_box": False}),
    Method("without advice", settings={"advice": False}),
    Method("without black box", settings={"black_box": False}),
    Method("without early abort", abort=False),
)
RIVALS = tuple(Method(name, baseline=name) for name in BASELINES)


@dataclass(frozen=True)
class Session:
    """One method's session on one server; everything is the simulation's truth, not what was measured.

    Attributes:
        truth: (n,) logarithms of the settings' gains over the reference, the worst of an interval's.
        work: (n,) done in each interval, against what the reference would have done, 1 being the same.
        reference_work: (n,) what the reference would have done, in requests.
        aborted: (n,) bool.
        seconds: (n,) of thinking about each suggestion.
        optimum: the gain of who always ran the best settings there are, which are safe.
    """

    method: str
    seed: int
    family: str
    schedule: str
    truth: NDArray[np.float64]
    work: NDArray[np.float64]
    reference_work: NDArray[np.float64]
    aborted: NDArray[np.bool_]
    seconds: NDArray[np.float64]
    optimum: float = 0.0

    @property
    def gain(self) -> float:
        """More work than the reference would have done in the whole session, as a share of that."""
        return float(self.work @ self.reference_work / self.reference_work.sum()) - 1.0

    @property
    def unsafe(self) -> NDArray[np.bool_]:
        """(n,) intervals whose settings were truly worse than the reference by more than the margin."""
        return np.asarray(self.truth < np.log1p(-MARGIN))


def play(database: SimulatedDatabase, method: Method) -> Session:
    """Let a method tune a server for its whole schedule."""
    best = np.expm1(database.best_gains())
    tuner, seconds = method.tuner(database), list[float]()
    intervals: list[list[Outcome]] = [[] for _ in range(database.intervals)]
    meter = NoiseMeter()
    while (interval := database.interval) < database.intervals:
        context, began = database.context(), time.perf_counter()
        suggestion = tuner.suggest(context, database.rules)
        seconds.append(time.perf_counter() - began)
        watch = _watch(suggestion, meter.noise, database) if method.abort else None
        length = None
        if method.baseline is None and suggestion.kind == "reference":
            length = reference_seconds(meter.noise, suggestion.precision, database.seconds, database.left)
        outcome = database.run(suggestion.config, watch, length)
        if not outcome.aborted:
            meter.hear(outcome.samples.tolist())
        tuner.tell(told(suggestion, outcome))
        intervals[interval].append(outcome)
    work, reference_work = (
        np.array([sum(getattr(piece, name) for piece in pieces) for pieces in intervals])
        for name in ("work", "reference_work")
    )
    return Session(
        method=method.name,
        seed=database.seed,
        family=database.family,
        schedule=database.schedule,
        truth=np.array([min(piece.truth for piece in pieces) for pieces in intervals]),
        work=work / reference_work,
        reference_work=reference_work,
        aborted=np.array([any(piece.aborted for piece in pieces) for pieces in intervals]),
        seconds=np.array(seconds),
        optimum=float(best @ reference_work / reference_work.sum()),
    )


def told(suggestion: Suggestion | None, outcome: Outcome) -> Interval:
    """What a tuner is told of an interval."""
    return Interval(
        suggestion=suggestion,
        config=outcome.config,
        context=outcome.context,
        performance=outcome.performance,
        seconds=outcome.seconds,
        aborted=outcome.aborted,
    )


def _watch(suggestion: Suggestion, noise: SecondNoise | None, database: SimulatedDatabase) -> SequentialTest | None:
    """The reference itself is not watched: ending it early would put the same settings in its place."""
    if suggestion.abort_below is None or suggestion.kind == "reference" or noise is None:
        return None
    maximize = database.direction == "maximize"
    return SequentialTest(suggestion.abort_below, maximize=maximize, noise=noise)


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        sessions: seeded servers, of all methods.
        ablated: of them, the first ones, of the ablations.
        intervals: of each session.
        history: intervals that decision times are measured after.
        processes: side by side; they change no figure but the decision times.
    """

    sessions: int
    ablated: int
    intervals: int
    history: int = 1000
    processes: int = 2


FULL = Scale(sessions=200, ablated=40, intervals=200)
QUICK = Scale(sessions=6, ablated=3, intervals=60, history=300)


def run(scale: Scale) -> tuple[dict[str, float], list[dict[str, Cell]]]:
    """All methods and ablations on held-out servers.

    Returns:
        Headlines, and rows: a method or ablation each, ours by schedule, decision times.
    """
    wanted = [(method, seed) for seed in range(scale.sessions) for method in (OURS, *RIVALS)]
    wanted += [(method, seed) for seed in range(scale.ablated) for method in ABLATIONS]
    found: dict[str, list[Session]] = {method.name: [] for method in (OURS, *RIVALS, *ABLATIONS)}
    for session in _played(wanted, scale):
        found[session.method].append(session)
    for sessions in found.values():
        sessions.sort(key=lambda each: each.seed)
    rows = [_row(method.name, found[method.name]) for method in (OURS, *RIVALS)]
    part = [each for each in found[OURS.name] if each.seed < scale.ablated]
    rows += [{"ablation": "nothing", **_figures(part)}]
    rows += [{"ablation": method.name, **_figures(found[method.name])} for method in ABLATIONS if scale.ablated]
    for schedule in sorted({each.schedule for each in found[OURS.name]}):
        rows.append(
            {"schedule": schedule, **_figures([each for each in found[OURS.name] if each.schedule == schedule])}
        )
    seconds = decision_seconds(scale.history)
    rows.append(
        {
            "history": scale.history,
            "knobs": _KNOBS,
            "p50 s": percentile(seconds, 0.5),
            "p95 s": percentile(seconds, 0.95),
            "worst s": max(seconds),
        }
    )
    return {**headline(found), "seconds_per_recommendation": percentile(seconds, 0.95)}, rows


def headline(found: Mapping[str, Sequence[Session]]) -> dict[str, float]:
    """What claims are made of; the best baseline is the one with the largest mean gain, known only afterwards."""
    ours = found[OURS.name]
    gain = _mean(each.gain for each in ours)
    optimum = _mean(each.optimum for each in ours)
    best = max(_mean(each.gain for each in found[method.name]) for method in RIVALS)
    unsafe, rival = (_mean(float(each.unsafe.mean()) for each in found[name]) for name in (OURS.name, "gp_ucb"))
    return {
        "sessions": float(len(ours)),
        "cumulative_gain_vs_default": gain,
        "cumulative_gain_vs_best_baseline": (1.0 + gain) / (1.0 + best) - 1.0,
        "unsafe_share": unsafe,
        "unsafe_reduction_vs_gp_ucb": 1.0 - unsafe / rival if rival else 0.0,
        "worst_interval_vs_default": min(float(each.work.min()) for each in ours) - 1.0,
        "regret_vs_safe_optimum": optimum - gain,
        "gain_share_of_safe_optimum": gain / optimum,
    }


def decision_seconds(history: int) -> list[float]:
    """Seconds of each decision on a server with 40 knobs after so many intervals of somebody else's settings.

    The first one fits every model, as after a restart; every further one is followed by its interval.
    """
    database = SimulatedDatabase(HELD_OUT[0], "switch", 7, _KNOBS, history + _DECISIONS)
    tuner, rng = OnlineTune(database.target, guard=database.guard), np.random.default_rng(0)
    origin = database.space.encode(database.reference)
    seconds: list[float] = []
    for number in range(history + _DECISIONS):
        context = database.context()
        if number < history:
            near = np.clip(origin + 0.1 * rng.standard_normal(len(origin)) * (rng.random() > 0.1), 0.0, 1.0)
            outcome, suggestion = database.run(database.space.decode(near)), None
        else:
            began = time.perf_counter()
            suggestion = tuner.suggest(context, database.rules)
            seconds.append(time.perf_counter() - began)
            outcome = database.run(suggestion.config)
        tuner.tell(told(suggestion, outcome))
    return seconds


def _played(wanted: Sequence[tuple[Method, int]], scale: Scale) -> Iterator[Session]:
    """Sessions in the order in which they end."""
    orders = [(method, seed, scale.sessions, scale.intervals) for method, seed in wanted]
    if scale.processes == 1:
        yield from map(_play, orders)
        return
    with ProcessPoolExecutor(scale.processes, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_play, order) for order in orders]):
            yield done.result()


def _play(order: tuple[Method, int, int, int]) -> Session:
    method, seed, sessions, intervals = order
    database = next(each for each in scenarios(HELD_OUT, sessions, intervals) if each.seed == seed)
    with one_thread():
        return play(database, method)


def _row(name: str, sessions: Sequence[Session]) -> dict[str, Cell]:
    return {"method": name, **_figures(sessions)}


def _figures(sessions: Sequence[Session]) -> dict[str, Cell]:
    if not sessions:
        return {}
    half = len(sessions[0].work) // 2
    return {
        "sessions": len(sessions),
        "gain": _mean(each.gain for each in sessions),
        "gain in 2nd half": _mean(float(each.work[half:].mean()) - 1.0 for each in sessions),
        "optimum": _mean(each.optimum for each in sessions),
        "unsafe share": _mean(float(each.unsafe.mean()) for each in sessions),
        "below share": _mean(float((each.truth < _NOTICED).mean()) for each in sessions),
        "aborted share": _mean(float(each.aborted.mean()) for each in sessions),
        "worst interval": min(float(each.work.min()) for each in sessions) - 1.0,
        "ms a decision": 1e3 * _mean(float(each.seconds.mean()) for each in sessions),
    }


def _mean(values: Iterator[float]) -> float:
    return float(np.mean(list(values)))
