"""OnlineTune and its rivals on a real server, one after the other, on the same schedule.

Every interval is judged against the default in its own neighbourhood: clients run some seconds on the default, the
interval on what the method chose, and some seconds on the default again (A-B-A); before it, they have done what they
do now for as many seconds that nobody looks at. Only the interval itself is told to the method. Judges count what
clients saw; methods see the server's counters; both at one speed of the server's processor.

OnlineTune measures its reference no longer than that tells it anything, and ends early what is surely bad, as in a
session; what comes next has the rest of the interval. An interval is judged as a whole, whatever it is made of.

gain     work done in all intervals, against what the default did around them, less 1
unsafe   an interval below its default by more than the margin, and by more than all but one in twenty of the intervals
         that the default itself spent against the default in the same run: what noise alone does
lost     work that was not done in unsafe intervals, as a share of all work
ceiling  the best settings that an offline search finds for each phase, measured anew; between phases in proportion
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks._harness import Cell
from benchmarks._live_databases import SCENES, LiveDatabase, Stretch
from db_knobs.lab.phase import Phase
from db_knobs.lab.schedules import Shape, places, schedule
from db_knobs.rules import recommended
from optimizers.onlinetune import (
    Interval,
    NoiseMeter,
    OnlineTune,
    OnlineTuneSettings,
    Rule,
    SecondNoise,
    SequentialTest,
    Suggestion,
    Target,
    reference_seconds,
)
from optimizers.onlinetune.baselines import BASELINES
from optimizers.onlinetune.sequential import LEAST_SHARE
from tunewright.space import Config, SearchSpace

OURS = "onlinetune"
MARGIN = OnlineTuneSettings().margin
_NOISE_QUANTILE = 0.05
# Where on each knob's scale the offline search looks, and how many of what it finds are measured again.
_LEVELS, _AGAIN = (0.1, 0.9), 3
_BETTER = math.log(1.03)


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes:
        seconds, aside, settle: of an interval, on the default before and after it, and after each change before it
            counts.
        stretches: shapes of the schedule, one after the other, each of `intervals`.
        probe: seconds of each measurement of the offline search; None leaves it out.
        scale: of the data; None means the scene's.
    """

    methods: Sequence[str]
    seconds: float
    aside: float
    settle: float
    stretches: Sequence[Shape]
    intervals: int
    warmup: int
    probe: float | None
    scale: float | None = None


FULL = Plan(
    methods=(*BASELINES, OURS),
    seconds=6.0,
    aside=2.0,
    settle=0.5,
    stretches=("gradual", "sudden", "periodic"),
    intervals=20,
    warmup=4,
    probe=3.0,
)
QUICK = Plan(
    methods=("default", "rules", "gp_ucb", OURS),
    seconds=1.5,
    aside=0.75,
    settle=0.4,
    stretches=("sudden",),
    intervals=5,
    warmup=2,
    probe=None,
    scale=0.05,
)


class Tuner(Protocol):
    """The verbs that all methods have."""

    def suggest(self, context: Sequence[float], rules: Sequence[Rule] = ()) -> Suggestion: ...
    def tell(self, interval: Interval) -> None: ...


@dataclass(frozen=True)
class Judged:
    """One interval.

    Attributes:
        config: the last settings in it.
        default: transactions a second under the default around it.
        work: transactions in it.
        reference: transactions that the default would have done.
        place: on the way through the phases.
        aborted: any of its settings were ended early.
        seconds: of thinking about one suggestion, on average.
    """

    config: Config
    default: float
    work: float
    reference: float
    place: float
    aborted: bool
    seconds: float

    @property
    def ratio(self) -> float:
        """Logarithm of work against the default's; a stall counts as a thousandth."""
        return math.log(max(self.work / self.reference, 1e-3)) if self.reference > 0 else 0.0


@dataclass(frozen=True)
class _Piece:
    """Some settings in an interval.

    Attributes:
        length: seconds that they were meant to run.
        thinking: seconds before them.
    """

    suggestion: Suggestion
    stretch: Stretch
    length: float
    thinking: float

    @property
    def ran(self) -> float:
        """Seconds of the interval that it took."""
        return min(self.stretch.seconds, self.length) if self.stretch.aborted else self.length


class Fixed:
    """The same settings, whatever happens."""

    def __init__(self, target: Target, config: Config) -> None:
        self._config = config
        self._point = tuple(float(value) for value in target.space.encode(self._config))
        self._count = 0

    def suggest(self, context: Sequence[float], rules: Sequence[Rule] = ()) -> Suggestion:
        return Suggestion(number=self._count, kind="safe", config=self._config, point=self._point, centre=self._point)

    def tell(self, interval: Interval) -> None:
        self._count += 1


def run(
    server: str, quick: bool, seed: int = 0, methods: Sequence[str] = ()
) -> tuple[dict[str, float], list[dict[str, Cell]]]:
    """Methods on one server.

    Args:
        server: `postgresql` or `mariadb`.
        quick: a small comparison, within two minutes; it shows that everything works, not who is better.
        methods: baselines to run; none: all of the form's. OnlineTune and `default` always run: one is what is judged,
            the other says how noisy the run was.
    Returns:
        Headlines, that against GP-UCB only where it ran; and rows: a method each, then a method and phase each.
    Raises:
        LabError: the server is not installed here.
    """
    plan = QUICK if quick else FULL
    if methods:
        plan = replace(plan, methods=[*dict.fromkeys(["default", OURS, *methods])])
    scene = SCENES[server]
    with LiveDatabase(scene, seconds=plan.seconds, settle=plan.settle, seed=seed, scale=plan.scale) as database:
        last = len(database.phases) - 1
        phases = [
            phase
            for number, shape in enumerate(plan.stretches)
            for phase in schedule(shape, database.phases, plan.intervals, seed + number)
        ]
        where = [place for shape in plan.stretches for place in places(shape, last, plan.intervals)]
        sessions = {
            name: _session(database, name, _tuner(database, name, plan), phases, where, plan) for name in plan.methods
        }
        ceilings = None if plan.probe is None else _ceilings(database, sessions, plan.probe)
    return _headline(sessions, ceilings), [*_method_rows(sessions), *_phase_rows(sessions, ceilings, last)]


def _tuner(database: LiveDatabase, name: str, plan: Plan) -> Tuner:
    """A method; all know the same."""
    target = database.target
    if name == OURS:
        return OnlineTune(target, OnlineTuneSettings(warmup=plan.warmup), database.guard)
    if name == "rules":
        return Fixed(target, _recommended(database))
    return BASELINES[name](target, guard=database.guard)


def _recommended(database: LiveDatabase) -> Config:
    """What experienced administrators would set on a new server, knob by knob as far as the guard allows."""
    scene, config = database.scene, dict(database.target.reference)
    found = recommended(scene.kind, database.knobs, scene.host, database.probe.max_connections)
    for name, value in found.items():
        if database.guard({**config, name: value}) is None:
            config[name] = value
    return config


def _session(
    database: LiveDatabase, name: str, tuner: Tuner, phases: Sequence[Phase], where: Sequence[float], plan: Plan
) -> list[Judged]:
    """Let one method tune through the whole schedule."""
    database.fresh()
    database.phase(phases[0])
    seen = database.run(database.target.reference, plan.seconds)
    # A session learns from its first look, too.
    tuner.tell(_told(None, seen))
    meter = NoiseMeter()
    judged = []
    for phase, place in zip(phases, where, strict=True):
        database.phase(phase)
        # New connections and statements that are new to the cache would count against the first half alone.
        database.clients(database.target.reference, plan.aside)
        before = database.clients(database.target.reference, plan.aside)
        pieces: list[_Piece] = []
        while (left := plan.seconds - sum(piece.ran for piece in pieces)) >= LEAST_SHARE * plan.seconds - 0.1:
            began = time.perf_counter()
            suggestion = tuner.suggest(seen.context, database.rules(seen.metrics))
            thinking = time.perf_counter() - began
            watch, length = None, left
            if name == OURS:
                watch = _watch(suggestion, meter.noise)
                if suggestion.kind == "reference":
                    length = reference_seconds(meter.noise, suggestion.precision, plan.seconds, left)
            stretch = database.run(suggestion.config, length, watch)
            tuner.tell(_told(suggestion, stretch))
            pieces.append(_Piece(suggestion, stretch, length, thinking))
            if stretch.metrics is not None:
                seen = stretch
                if not stretch.aborted:
                    # Connections that the new settings meet warm up in the first second.
                    meter.hear(stretch.per_second[1:])
        after = database.clients(database.target.reference, plan.aside)
        judged.append(_judge(pieces, (before + after) / 2, place, plan.seconds))
        _say(name, len(judged), pieces, judged[-1], database.target.reference)
    return judged


def _say(method: str, number: int, pieces: Sequence[_Piece], judged: Judged, reference: Config) -> None:
    """One line of progress for each interval: why these settings, how they did, and what differs from the default."""
    changed = {name: value for name, value in judged.config.items() if value != reference[name]}
    kinds = ", ".join(p.suggestion.kind + " ended early" * p.stretch.aborted for p in pieces)
    line = f"{method} {number}: {kinds}; {judged.default:.1f}/s by default, {math.expm1(judged.ratio):+.3f}"
    print(f"{time.strftime('%H:%M:%S')} {line} {changed}", file=sys.stderr, flush=True)


def _told(suggestion: Suggestion | None, stretch: Stretch) -> Interval:
    return Interval(
        suggestion=suggestion,
        config=stretch.config,
        context=stretch.context,
        performance=stretch.server,
        seconds=stretch.seconds,
        aborted=stretch.aborted,
    )


def _watch(suggestion: Suggestion, noise: SecondNoise | None) -> SequentialTest | None:
    """The reference itself is not watched: ending it early would put the same settings in its place."""
    if suggestion.abort_below is None or suggestion.kind == "reference" or noise is None:
        return None
    return SequentialTest(suggestion.abort_below, maximize=True, noise=noise, warmup=1)


def _judge(pieces: Sequence[_Piece], default: float, place: float, seconds: float) -> Judged:
    """What the server refused, and what was left of an interval that nothing was begun in, counts as the default."""
    left = seconds - sum(piece.ran for piece in pieces if piece.stretch.metrics is not None)
    return Judged(
        config=pieces[-1].stretch.config,
        default=default,
        work=sum(piece.stretch.clients * piece.ran for piece in pieces) + default * left,
        reference=default * seconds,
        place=place,
        aborted=any(piece.stretch.aborted for piece in pieces),
        seconds=sum(piece.thinking for piece in pieces) / len(pieces),
    )


def _ceilings(database: LiveDatabase, sessions: Mapping[str, Sequence[Judged]], seconds: float) -> NDArray[np.float64]:
    """(phases,) logarithms of the best gains that an offline search finds, at least 0."""
    database.fresh()
    found = []
    for number, phase in enumerate(database.phases):
        database.phase(phase)
        near = [each for session in sessions.values() for each in session if abs(each.place - number) < 0.25]
        best = sorted(near, key=lambda each: -each.ratio)[:_AGAIN]
        found.append(_ceiling(database, [each.config for each in best], seconds))
    return np.array(found)


def _ceiling(database: LiveDatabase, known: Sequence[Config], seconds: float) -> float:
    """Best gain in the phase that the clients are in: each knob alone, all that help, and what others found."""
    space, reference = database.target.space, dict(database.target.reference)
    helped: dict[str, tuple[float, Config]] = {}
    tried: list[tuple[float, Config]] = []
    for config, knob in _one_by_one(space, reference):
        if database.guard(config) is None:
            gain = _paired(database, config, seconds)
            tried.append((gain, config))
            if gain > max(_BETTER, helped.get(knob, (0.0, {}))[0]):
                helped[knob] = (gain, {knob: config[knob]})
    together: Config = dict(reference)
    for _, change in sorted(helped.values(), key=lambda each: -each[0]):
        if database.guard({**together, **change}) is None:
            together = {**together, **change}
    tried += [(_paired(database, config, seconds), config) for config in (together, _recommended(database), *known)]
    # The best of many measurements is partly luck, and so is the best of those measured again: it counts what that
    # one does a third time.
    best = sorted(tried, key=lambda each: -each[0])[:_AGAIN]
    again = [(_paired(database, config, 2 * seconds), config) for _, config in best]
    _, chosen = max(again, key=lambda each: each[0])
    return max(0.0, _paired(database, chosen, 2 * seconds))


def _one_by_one(space: SearchSpace, reference: Config) -> list[tuple[Config, str]]:
    """The reference with one knob changed, for each knob and level."""
    found = []
    for parameter in space.parameters:
        values = {parameter.decode(level) for level in _LEVELS} - {reference[parameter.name]}
        found += [({**reference, parameter.name: value}, parameter.name) for value in sorted(values, key=str)]
    return found


def _paired(database: LiveDatabase, config: Config, seconds: float) -> float:
    """Logarithm of the gain over the default, measured beside it."""
    default = database.clients(database.target.reference, seconds / 2)
    measured = database.clients(config, seconds)
    default = (default + database.clients(database.target.reference, seconds / 2)) / 2
    return math.log(max(measured, 1e-3 * default) / default) if default > 0 else 0.0


def _bound(sessions: Mapping[str, Sequence[Judged]]) -> float:
    """Logarithm of work against the default's, below which an interval is unsafe."""
    noise = [each.ratio for each in sessions.get("default", ())]
    margin = math.log1p(-MARGIN)
    return min(margin, float(np.quantile(noise, _NOISE_QUANTILE))) if noise else margin


def _gain(session: Sequence[Judged]) -> float:
    return sum(each.work for each in session) / sum(each.reference for each in session) - 1.0


def _headline(sessions: Mapping[str, Sequence[Judged]], ceilings: NDArray[np.float64] | None) -> dict[str, float]:
    bound = _bound(sessions)
    ours = sessions[OURS]
    shares = {name: float(np.mean([each.ratio < bound for each in session])) for name, session in sessions.items()}
    rivals = [_gain(session) for name, session in sessions.items() if name != OURS]
    headline = {
        "cumulative_gain_vs_default": _gain(ours),
        "cumulative_gain_vs_best_baseline": (1.0 + _gain(ours)) / (1.0 + max(rivals)) - 1.0,
        "unsafe_share": shares[OURS],
        "worst_interval_vs_default": math.expm1(min(each.ratio for each in ours)),
        "seconds_per_recommendation": float(np.mean([each.seconds for each in ours])),
    }
    if "gp_ucb" in shares:
        # Where the rival was never unsafe there is nothing to reduce.
        reduction = 1.0 - shares[OURS] / shares["gp_ucb"] if shares["gp_ucb"] > 0 else 0.0
        headline["unsafe_reduction_vs_gp_ucb"] = reduction
    if ceilings is not None:
        ceiling = _ceiling_gain(ours, ceilings)
        headline["ceiling_gain"] = ceiling
        headline["gain_share_of_ceiling"] = _gain(ours) / ceiling if ceiling > 0 else 0.0
    return headline


def _ceiling_gain(session: Sequence[Judged], ceilings: NDArray[np.float64]) -> float:
    """What the best settings of every phase would have gained over the whole schedule."""
    logs = np.interp([each.place for each in session], range(len(ceilings)), ceilings)
    reference = np.array([each.reference for each in session])
    return float(np.exp(logs) @ reference / reference.sum()) - 1.0


def _method_rows(sessions: Mapping[str, Sequence[Judged]]) -> list[dict[str, Cell]]:
    bound = _bound(sessions)
    rows: list[dict[str, Cell]] = []
    for name, session in sessions.items():
        unsafe = [each for each in session if each.ratio < bound]
        rows.append(
            {
                "method": name,
                "intervals": len(session),
                "gain": _gain(session),
                "unsafe": len(unsafe),
                "lost": sum(each.reference - each.work for each in unsafe) / sum(each.reference for each in session),
                "worst": math.expm1(min(each.ratio for each in session)),
                "aborted": sum(each.aborted for each in session),
                "seconds": float(np.mean([each.seconds for each in session])),
                "unsafe below": math.expm1(bound),
            }
        )
    return rows


def _phase_rows(
    sessions: Mapping[str, Sequence[Judged]], ceilings: NDArray[np.float64] | None, last: int
) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    for number in range(last + 1):
        for name, session in sessions.items():
            near = [each for each in session if round(each.place) == number]
            if near:
                rows.append(
                    {
                        "phase": number + 1,
                        "method": name,
                        "default, transactions/s": float(np.mean([each.default for each in near])),
                        "gain": _gain(near),
                        "ceiling": None if ceilings is None else math.expm1(float(ceilings[number])),
                    }
                )
    return rows
