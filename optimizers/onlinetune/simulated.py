"""A simulated database: known truth, changing load, noise, clamping, cliffs; deterministic and quick.

    log performance(x, z) = base(z) + gain(x, z) + slow hidden drift + noise        z: what the server goes through

Three workloads are mixed by a schedule; each has its own response to the knobs, of which few matter. A *family* says
what responses look like. Families in DEVELOPMENT are for choosing defaults, those in HELD_OUT for figures that are
reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from optimizers.onlinetune.intervals import Target
from optimizers.onlinetune.rules import Rule
from optimizers.onlinetune.sequential import SequentialTest
from tunewright.space import Categorical, Config, Float, Int, Parameter, SearchSpace
from tunewright.study import Objective

Family: TypeAlias = Literal["bowls", "ramps", "flips", "ridges", "terraces"]
Schedule: TypeAlias = Literal["steady", "gradual", "switch", "cycle"]
DEVELOPMENT: Sequence[Family] = ("bowls", "ramps", "flips")
HELD_OUT: Sequence[Family] = ("ridges", "terraces")
SCHEDULES: Sequence[Schedule] = ("gradual", "switch", "cycle", "steady")
FEATURES = ("reads", "writes", "reports", "rate", "size", "rows examined", "share filtered", "index use")

_WORKLOADS = 3
# How far performance falls where memory runs out, and in a hidden pocket, as logarithms.
_SWAPPING, _POCKET = -1.5, -0.8
# Seconds until the sums of a slow disk average out are many: what an interval's luck leaves after any length.
_LUCK = 0.006
_PEAK = 480.0

Response: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Load:
    """What the server goes through in one interval.

    Attributes:
        mix: (3,) shares of the workloads.
        rate, size: of requests and data, 1 on average.
        drift: what nobody sees, as a logarithm.
    """

    mix: NDArray[np.float64]
    rate: float
    size: float
    drift: float


@dataclass(frozen=True)
class Outcome:
    """An interval on the simulated database, or a piece of one.

    Attributes:
        config: what was really set.
        context: measured over the interval.
        performance: of these settings while they ran, over `seconds`.
        aborted: the test raised an alarm; what is left of the interval is for other settings.
        samples: (seconds,) performance by the second, while the settings ran.
        truth: true gain of these settings over the reference in this interval, as a logarithm.
        work, reference_work: true work done over `seconds`, and what the reference would have done.
    """

    config: Config
    context: tuple[float, ...]
    performance: float
    seconds: float
    aborted: bool
    samples: NDArray[np.float64]
    truth: float
    work: float
    reference_work: float


@dataclass
class SimulatedDatabase:
    """One server under one schedule; equal arguments give equal servers.

    Attributes:
        knobs: 4 at least.
        intervals: after which the schedule is over; it may be run on.
        seconds: length of an interval.
        direction: `minimize` reports latencies, of which the performance is the reciprocal.
        interval: that is running or comes next.
        left: seconds of it.
    """

    family: Family
    schedule: Schedule = "gradual"
    seed: int = 0
    knobs: int = 20
    intervals: int = 300
    seconds: float = 60.0
    direction: Literal["maximize", "minimize"] = "maximize"
    interval: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.left = max(1, round(self.seconds))
        rng = np.random.default_rng([self.seed, 0xDB, self.knobs])
        self.space = SearchSpace([_knob(j, rng) for j in range(self.knobs)])
        self.reference = self.space.default()
        self._origin = self.space.encode(self.reference)
        self._surface = _Surface(self.family, self.space, self._origin, rng)
        self._loads = _loads(self.schedule, self.intervals, rng)
        self._embedding = rng.normal(0.0, 1.0, (3, 5))
        self._per_second = float(rng.uniform(0.05, 0.12)), float(rng.uniform(0.3, 0.7))
        self._base = rng.uniform(-0.5, 0.5, _WORKLOADS)
        self.rules = _rules(self.space, self._surface, self._origin, rng)
        self._noise = np.random.default_rng([self.seed, 0x5EC])
        # What the settings are that a server quietly rounds or clamps.
        self._ceilings = {self.space.names[j]: 0.93 for j in rng.choice(self.knobs, max(1, self.knobs // 8), False)}

    @property
    def target(self) -> Target:
        objective = Objective(metric="performance", direction=self.direction)
        return Target(self.space, self.reference, objective, FEATURES, self.seconds, self.seed)

    def guard(self, config: Config) -> str | None:
        """The memory guard that a careful DBA would set: it knows the sum, but not how much the data takes."""
        used = self._surface.memory(self.space.encode(config)[None])[0]
        return "memory" if used > self._surface.limit * 1.05 else None

    def load(self, interval: int) -> Load:
        return self._loads[min(interval, len(self._loads) - 1)]

    def context(self) -> tuple[float, ...]:
        """What was seen last: the features of the interval before, or of this one where part of it is over."""
        seen = self.interval if self.left < round(self.seconds) else max(0, self.interval - 1)
        return self._features(self.load(seen), np.random.default_rng([self.seed, 1, self.interval]))

    def gain(self, x: NDArray[np.float64], interval: int) -> NDArray[np.float64]:
        """(n,) true logarithms of gains over the reference at (n, d) points, in an interval of the schedule."""
        load = self.load(interval)
        return self._surface(x, load) - self._surface(self._origin[None], load)

    def clamped(self, config: Config) -> Config:
        """What the server makes of settings: some have a ceiling below their documented maximum."""
        result = dict(config)
        for name, ceiling in self._ceilings.items():
            parameter = self.space[name]
            if isinstance(parameter, (Float, Int)) and parameter.encode(config[name]) > ceiling:
                result[name] = parameter.decode(ceiling)
        return result

    def run(self, config: Config, watch: SequentialTest | None = None, seconds: float | None = None) -> Outcome:
        """Let an interval pass under settings, or so many seconds of it; a watch may end them early."""
        config = self.clamped(config)
        load = self.load(self.interval)
        truth = float(self.gain(self.space.encode(config)[None], self.interval)[0])
        base = self._level(load)
        most = self.left if seconds is None else min(self.left, max(1, round(seconds)))
        deviation, correlation = self._per_second
        white = self._noise.standard_normal(most) * deviation * math.sqrt(1.0 - correlation**2)
        white[0] /= math.sqrt(1.0 - correlation**2)
        noise = lfilter([1.0], [1.0, -correlation], white) - 0.5 * deviation**2 + _LUCK * self._noise.standard_normal()
        speeds = np.exp(base + truth + noise)
        samples = speeds if self.direction == "maximize" else 1.0 / speeds
        ran, aborted = most, False
        for second, value in enumerate(samples if watch is not None else ()):
            if watch is not None and watch.observe(float(value)):
                ran, aborted = second + 1, True
                break
        speed = float(speeds[:ran].mean())
        context = self._features(load, np.random.default_rng([self.seed, 2, self.interval]))
        self.left -= ran
        if not self.left:
            self.interval, self.left = self.interval + 1, max(1, round(self.seconds))
        return Outcome(
            config=config,
            context=context,
            performance=speed if self.direction == "maximize" else 1.0 / speed,
            seconds=float(ran),
            aborted=aborted,
            samples=samples[:ran],
            truth=truth,
            work=math.exp(base + truth) * ran,
            reference_work=math.exp(base) * ran,
        )

    def best_gains(self) -> NDArray[np.float64]:
        """(intervals,) the true optimum's gain in every interval: the best of what ascents along the schedule found."""
        found = [self._origin, *self._surface.optima]
        for interval in range(0, self.intervals, 10):
            values = [float(self.gain(point[None], interval)[0]) for point in found]
            order = np.argsort(values)[::-1]
            found += [self._ascend(found[place], interval) for place in order[:2]]
        pool = np.array(found)
        return np.array([float(self.gain(pool, interval).max()) for interval in range(self.intervals)])

    def _ascend(self, start: NDArray[np.float64], interval: int) -> NDArray[np.float64]:
        point, value = start.copy(), -math.inf
        for width in (1.0, 0.5, 0.1):
            for j in self._surface.important:
                grid = np.clip(point[j] + np.linspace(-width, width, 41), 0.0, 1.0)
                if isinstance(self.space.parameters[j], Categorical):
                    grid = np.array([0.25, 0.75])
                trial = np.repeat(point[None], len(grid), axis=0)
                trial[:, j] = grid
                values = self.gain(trial, interval)
                if values.max() > value:
                    value, point = float(values.max()), trial[int(values.argmax())]
        return point

    def _level(self, load: Load) -> float:
        """Logarithm of the reference's true performance."""
        return (
            math.log(_PEAK)
            + float(self._base @ load.mix)
            + 0.8 * math.log(load.rate)
            - 0.3 * math.log(load.size)
            + (load.drift)
        )

    def _features(self, load: Load, rng: np.random.Generator) -> tuple[float, ...]:
        hidden = np.tanh(load.mix @ self._embedding)
        values = [*load.mix, math.log(load.rate), math.log(load.size), *hidden[:3]]
        return tuple(float(value) for value in np.array(values) + 0.015 * rng.standard_normal(len(values)))


def scenarios(families: Sequence[Family], count: int, intervals: int) -> Iterator[SimulatedDatabase]:
    """Seeded servers that go round families, schedules, 10 to 40 knobs, and both directions."""
    for seed in range(count):
        yield SimulatedDatabase(
            family=families[seed % len(families)],
            schedule=SCHEDULES[(seed // len(families)) % len(SCHEDULES)],
            seed=seed,
            knobs=(20, 10, 40)[(seed // 2) % 3],
            intervals=intervals,
            direction="minimize" if seed % 4 == 3 else "maximize",
        )


class _Surface:
    """The logarithm of performance over the unit cube, up to what does not depend on the settings."""

    def __init__(
        self, family: Family, space: SearchSpace, origin: NDArray[np.float64], rng: np.random.Generator
    ) -> None:
        d = space.dimension
        order = rng.permutation(d)
        common = order[: 4 if d >= 10 else 2]
        own = (
            order[len(common) : len(common) + 2 * _WORKLOADS].reshape(-1, 2) if d >= 10 else np.tile(order[2:4], (3, 1))
        )
        self.important = sorted({int(j) for j in (*common, *own.ravel())})
        discrete = {j for j, p in enumerate(space.parameters) if isinstance(p, Categorical)}
        # Where workloads would have the knobs they share: near to each other, mostly.
        middle = _away(origin, rng)
        self.optima: list[NDArray[np.float64]] = []
        self._parts: list[Response] = []
        for m in range(_WORKLOADS):
            optimum = np.clip(middle + rng.normal(0.0, 0.08, d), 0.03, 0.97)
            if rng.random() < 0.5:
                # One knob of those shared is wanted the other way by this workload.
                j = int(rng.choice(common))
                optimum[j] = np.clip(2 * origin[j] - optimum[j], 0.03, 0.97)
            knobs = [int(j) for j in (*common, *own[m])]
            part = _response(family, knobs, discrete, origin, optimum, rng)
            start = origin.copy()
            start[knobs] = optimum[knobs]
            self.optima.append(start)
            self._parts.append(_normalised(part, origin, start, float(rng.uniform(0.25, 0.5))))
        self._decoys = np.where(np.isin(np.arange(d), self.important), 0.0, rng.normal(0.0, 0.01, d))
        self._memory = np.zeros(d)
        self._memory[rng.choice(d, max(2, d // 5), replace=False)] = 1.0
        self._memory[list(discrete)] = 0.0
        room = self._memory.sum()
        # The reference and the optima fit; far corners do not.
        needed = max(float(self._memory @ point) for point in (origin, *self.optima))
        self.limit = needed + 0.35 * max(0.3, room - needed)
        self._pockets = _pockets(self.important, discrete, origin, self.optima, rng)

    def memory(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x @ self._memory

    def __call__(self, x: NDArray[np.float64], load: Load) -> NDArray[np.float64]:
        gain = sum((share * part(x) for share, part in zip(load.mix, self._parts, strict=True)), start=np.zeros(len(x)))
        gain = gain * (0.8 + 0.2 * load.rate) + x @ self._decoys
        excess = (self.memory(x) + 0.15 * (load.size - 1.0) - self.limit) / 0.05
        gain = gain + _SWAPPING / (1.0 + np.exp(-np.clip(excess, -50.0, 50.0)))
        for columns, centre, width in self._pockets:
            gain = gain + _POCKET * np.exp(-np.square((x[:, columns] - centre) / width).sum(axis=1))
        return np.asarray(gain)


def _response(
    family: Family,
    knobs: Sequence[int],
    discrete: set[int],
    origin: NDArray[np.float64],
    optimum: NDArray[np.float64],
    rng: np.random.Generator,
) -> Response:
    """One workload's response to its important knobs."""
    weights = {j: float(rng.uniform(0.3, 1.0)) for j in knobs}
    widths = {j: float(rng.uniform(0.1, 0.3)) for j in knobs}
    pairs = [(knobs[i], knobs[i + 1]) for i in range(0, len(knobs) - 1, 2)]
    signs = {j: float(np.sign(optimum[j] - origin[j]) or 1.0) for j in knobs}

    def bowl(x: NDArray[np.float64], j: int) -> NDArray[np.float64]:
        return np.asarray(-np.square(x[:, j] - optimum[j]))

    def ramp(x: NDArray[np.float64], j: int) -> NDArray[np.float64]:
        # Rises, levels off past the optimum and falls slowly from there.
        way = signs[j] * (x[:, j] - origin[j])
        goal = abs(optimum[j] - origin[j])
        return np.asarray(np.tanh(1.5 * way / max(goal, 0.1)) - 0.5 * np.maximum(0.0, way - goal))

    def flip(x: NDArray[np.float64], j: int) -> NDArray[np.float64]:
        # A planner that changes its mind somewhere on the way.
        turn = 0.5 * (origin[j] + optimum[j])
        flipped = 1.0 / (1.0 + np.exp(-np.clip(signs[j] * (x[:, j] - turn) / 0.04, -50, 50)))
        return np.asarray(flipped - 0.8 * np.square(x[:, j] - optimum[j]))

    def terrace(x: NDArray[np.float64], j: int) -> NDArray[np.float64]:
        steps = np.round(np.abs(x[:, j] - optimum[j]) / widths[j])
        return np.asarray(-steps * widths[j])

    def ridge(x: NDArray[np.float64], i: int, j: int) -> NDArray[np.float64]:
        # Two knobs only pay together: a valley wall across, a gentle climb along.
        a, b = x[:, i] - optimum[i], x[:, j] - optimum[j]
        apart = np.square(a - signs[i] * signs[j] * b)
        return np.asarray(-2.0 * apart - 0.4 * np.square(a + signs[i] * signs[j] * b))

    single: Mapping[Family, Callable[[NDArray[np.float64], int], NDArray[np.float64]]] = {
        "bowls": bowl,
        "ramps": ramp,
        "flips": flip,
        "ridges": bowl,
        "terraces": terrace,
    }

    def response(x: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(len(x))
        for j in knobs:
            if j in discrete:
                total += 0.3 * weights[j] * ((x[:, j] > 0.5) == (optimum[j] > 0.5))
            elif family != "ridges":
                total += weights[j] * single[family](x, j)
        for i, j in pairs:
            if i in discrete or j in discrete:
                continue
            if family == "ridges":
                total += weights[i] * ridge(x, i, j)
            else:
                total += 0.4 * (x[:, i] - optimum[i]) * (x[:, j] - optimum[j])
        return total

    return response


def _normalised(part: Response, origin: NDArray[np.float64], best: NDArray[np.float64], gain: float) -> Response:
    """A response scaled so that going from the reference to its optimum gains as much as is said."""
    low, high = (float(part(point[None])[0]) for point in (origin, best))
    factor = gain / max(high - low, 0.05)
    return lambda x: factor * (part(x) - low)


def _away(origin: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A point whose coordinates lie 0.2 to 0.45 from the reference's, on the side where there is room."""
    step = rng.uniform(0.2, 0.45, len(origin)) * np.where(rng.random(len(origin)) < 0.75, 1.0, -1.0)
    inside = (origin + step > 0.03) & (origin + step < 0.97)
    return np.asarray(np.where(inside, origin + step, origin - step))


def _pockets(
    important: Sequence[int],
    discrete: set[int],
    origin: NDArray[np.float64],
    optima: Sequence[NDArray[np.float64]],
    rng: np.random.Generator,
) -> list[tuple[NDArray[np.int64], NDArray[np.float64], float]]:
    """Regions of two knobs where performance collapses; neither the reference nor an optimum lies in one."""
    free = [j for j in important if j not in discrete]
    found: list[tuple[NDArray[np.int64], NDArray[np.float64], float]] = []
    for _ in range(40):
        columns = np.sort(rng.choice(free, 2, replace=False))
        centre, width = rng.random(2), float(rng.uniform(0.08, 0.16))
        clear = all(np.linalg.norm(point[columns] - centre) > 2.5 * width for point in (origin, *optima))
        if clear:
            found.append((columns, centre, width))
        if len(found) == 3:
            break
    return found


def _rules(space: SearchSpace, surface: _Surface, origin: NDArray[np.float64], rng: np.random.Generator) -> list[Rule]:
    """Advice as experts give it: right for most knobs that matter, wrong for some, and about some that do not."""
    middle = np.mean(surface.optima, axis=0)
    rules = []
    harmless = [j for j in range(space.dimension) if j not in surface.important]
    for j in [*surface.important, *harmless[:3]]:
        if rng.random() >= 0.6:
            continue
        goal = float(middle[j]) if rng.random() >= 0.2 else float(2 * origin[j] - middle[j])
        parameter = space.parameters[j]
        name = f"rule for {parameter.name}"
        if isinstance(parameter, Categorical):
            rules.append(Rule(name, among={parameter.name: [parameter.decode(min(max(goal, 0.0), 1.0))]}))
            continue
        low, high = (parameter.decode(min(max(goal + side, 0.0), 1.0)) for side in (-0.15, 0.15))
        assert isinstance(low, (int, float))
        assert isinstance(high, (int, float))
        rules.append(Rule(name, low={parameter.name: low}, high={parameter.name: high}, text="from an expert"))
    return rules


def _loads(schedule: Schedule, intervals: int, rng: np.random.Generator) -> list[Load]:
    """The whole schedule."""
    t = np.arange(intervals)
    corners = rng.dirichlet(np.full(_WORKLOADS, 0.6), size=6)
    if schedule == "steady":
        mixes = np.repeat(corners[:1], intervals, axis=0)
        rates, sizes = np.full(intervals, 1.0), np.full(intervals, 1.0)
    elif schedule == "switch":
        ends = np.cumsum(rng.integers(25, 60, size=intervals // 20 + 2))
        # Earlier loads come back, as day and night jobs do.
        which = rng.integers(3, size=len(ends))
        stage = which[np.searchsorted(ends, t, side="right")]
        mixes, rates = corners[stage], np.array([0.7, 1.0, 1.4])[stage]
        sizes = np.array([1.0, 1.0, 1.2])[stage]
    elif schedule == "cycle":
        period = float(rng.uniform(40, 100))
        phase = 0.5 - 0.5 * np.cos(2 * np.pi * t / period)
        mixes = corners[0] + phase[:, None] * (corners[1] - corners[0])
        rates, sizes = 0.6 + 0.8 * phase, np.full(intervals, 1.0)
    else:
        path = np.linspace(0.0, 2.0, intervals)
        left = np.minimum(path.astype(int), 1)
        share = (path - left)[:, None]
        mixes = corners[left] * (1 - share) + corners[left + 1] * share
        rates, sizes = 1.0 + 0.3 * np.sin(t / 25.0), 1.0 + 0.6 * t / intervals
    mixes = np.maximum(mixes + 0.01 * rng.standard_normal(mixes.shape), 0.0)
    mixes /= mixes.sum(axis=1, keepdims=True)
    rates = rates * np.exp(0.03 * rng.standard_normal(intervals))
    drift = lfilter([1.0], [1.0, -0.97], 0.006 * rng.standard_normal(intervals))
    return [Load(mixes[i], float(rates[i]), float(sizes[i]), float(drift[i])) for i in range(intervals)]


def _knob(j: int, rng: np.random.Generator) -> Parameter:
    """One of the kinds that servers have, with a default below the middle, as servers have them."""
    name, u = f"knob{j:02d}", float(rng.uniform(0.12, 0.55))
    kind = rng.random()
    if kind < 0.35:
        low, high = 1.0, float(10 ** rng.uniform(1.0, 3.0))
        return Float(name, low, high, log=True, default=low * (high / low) ** u)
    if kind < 0.65:
        return Float(name, 0.0, 10.0, default=10.0 * u)
    if kind < 0.85:
        integer = Int(name, 64, 65_536, log=True)
        return Int(name, 64, 65_536, log=True, default=integer.decode(u))
    if kind < 0.93:
        return Int(name, 0, 20, default=int(20 * u))
    return Categorical(name, ["off", "on"], default="off")
