"""What OnlineTune is compared with: the same verbs, the same intervals, nothing of its safety.

Every baseline follows from the target with its seed and the intervals told, as `OnlineTune` does; `suggest` changes
nothing. They heed the guard, or a real server would not live long enough to be compared, and no rules but `Fixed`.
A suggestion's `kind` says only whether it is the reference: what is called `safe` here nobody has shown to be.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from optimizers.candidates import around, canonical
from optimizers.onlinetune.actor_critic import ActorCritic
from optimizers.onlinetune.context import Scale, milestone
from optimizers.onlinetune.intervals import Interval, Suggestion, Target, checked
from optimizers.onlinetune.rules import Rule, RuleBook
from optimizers.surrogates import categorical_columns
from optimizers.surrogates.gp import GrowingProcess
from tunewright.space import Config

_SALT = 0xBA5E
# Candidates everywhere, and around the best settings measured so far.
_EVERYWHERE, _AROUND, _BEST = 600, 400, 20
# Deviations between a mean and its bounds: the value of both methods' own experiments (beta = 2).
_WIDTH = 2.0
# First intervals that the safe baseline spends on the reference, and the loss against it that counts as none: as ours.
_WARMUP, _MARGIN = 4, 0.05
# What an interval counts that could not be measured: so much below the worst, as a logarithm.
_DEAD = float(np.log(2.0))
# Deviation of the noise with which actions are explored: at first, at last, and what is left of it each time. A server
# that was nearly dead in the first interval must not make rewards endless.
_NOISE, _LEAST_NOISE, _QUIETER, _MOST_REWARD = 0.15, 0.03, 0.99, 10.0


class History:
    """The intervals told, as arrays.

    Attributes:
        points: n x (d,) what was really set; contexts: n x (q,); gains: n logarithms of performance.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.points: list[NDArray[np.float64]] = []
        self.contexts: list[tuple[float, ...]] = []
        self.gains: list[float] = []

    def __len__(self) -> int:
        return len(self.gains)

    def add(self, interval: Interval) -> None:
        if interval.performance is not None:
            gain = self._target.gain(interval.performance)
        else:
            gain = min(self.gains, default=0.0) - _DEAD
        self.points.append(self._target.space.encode(interval.config))
        self.contexts.append(interval.context)
        self.gains.append(gain)

    def scale(self, count: int) -> Scale:
        """Of contexts, as of the last milestone among the first `count` intervals."""
        return Scale.of(np.array(self.contexts[: milestone(count) or count]))

    def inputs(self, count: int) -> NDArray[np.float64]:
        """(count, d + q) settings and standardised contexts of the first intervals."""
        contexts = self.scale(count)(np.array(self.contexts[:count]))
        return np.concatenate([np.array(self.points[:count]), contexts], axis=1)


class Baseline(ABC):
    """Base of all: checks, draws and records.

    Args:
        guard: as `OnlineTune`'s.
    """

    def __init__(self, target: Target, guard: Callable[[Config], str | None] | None = None) -> None:
        self.target = target
        self._guard = guard
        self._reference = target.space.encode(target.reference)
        self._book = RuleBook(target.space, target.reference)
        self._history = History(target)
        self._count = 0

    def suggest(self, context: Sequence[float], rules: Sequence[Rule] = ()) -> Suggestion:
        """See `OnlineTune.suggest`."""
        seen = self.target.context(context)
        self._book.check(rules)
        rng = np.random.default_rng([self.target.seed, _SALT, self._count])
        candidates = (point for point in self._ordered(seen, rules, rng) if self._permitted(point))
        point = next(candidates, self._reference)
        reference = bool(np.array_equal(point, self._reference))
        return Suggestion(
            number=self._count,
            kind="reference" if reference else "safe",
            config=self.target.reference if reference else self.target.space.decode(point),
            point=tuple(float(value) for value in point),
            centre=tuple(float(value) for value in self._reference),
            why={"rule": type(self).__name__},
        )

    def tell(self, interval: Interval) -> None:
        """See `OnlineTune.tell`."""
        self._history.add(checked(interval, self.target, self._count))
        self._count += 1

    @abstractmethod
    def _ordered(
        self, context: tuple[float, ...], rules: Sequence[Rule], rng: np.random.Generator
    ) -> Iterable[NDArray[np.float64]]:
        """(d,) points, the one to run first; those that the guard refuses are passed over, the reference comes last."""

    def _permitted(self, point: NDArray[np.float64]) -> bool:
        return self._guard is None or self._guard(self.target.space.decode(point)) is None


class Default(Baseline):
    """The reference, whatever happens."""

    def _ordered(
        self, context: tuple[float, ...], rules: Sequence[Rule], rng: np.random.Generator
    ) -> Iterable[NDArray[np.float64]]:
        return [self._reference]


class Fixed(Baseline):
    """Where the rules' advice leads from the reference, as a DBA follows a tuning script; once, and for good.

    Where the guard refuses that, part of the way.
    """

    def __init__(self, target: Target, guard: Callable[[Config], str | None] | None = None) -> None:
        super().__init__(target, guard)
        self._settings: NDArray[np.float64] | None = None

    def _ordered(
        self, context: tuple[float, ...], rules: Sequence[Rule], rng: np.random.Generator
    ) -> Iterable[NDArray[np.float64]]:
        if self._settings is not None:
            return [self._settings]
        goal = self._book.advice(rules, self._reference)
        part = np.array([1.0, 0.75, 0.5, 0.25])[:, None]
        return canonical(self.target.space, self._reference + part * (goal - self._reference))

    def tell(self, interval: Interval) -> None:
        super().tell(interval)
        if self._settings is None and interval.suggestion is not None:
            self._settings = np.array(interval.suggestion.point)


class Random(Baseline):
    """Uniform draws from the whole space."""

    def _ordered(
        self, context: tuple[float, ...], rules: Sequence[Rule], rng: np.random.Generator
    ) -> Iterable[NDArray[np.float64]]:
        return canonical(self.target.space, rng.random((100, self.target.space.dimension)))


class _WithProcess(Baseline):
    """One plain Gaussian process over settings and context; its losses are negative logarithms of performance."""

    def __init__(self, target: Target, guard: Callable[[Config], str | None] | None = None) -> None:
        super().__init__(target, guard)
        self._process = GrowingProcess([target.seed, _SALT], categorical_columns(target.space))

    def _candidates(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """(n, d) the reference, draws from everywhere, and changes of the best settings measured."""
        space, history = self.target.space, self._history
        order = np.argsort(-np.array(history.gains), kind="stable")[:_BEST]
        centres = np.array([self._reference, *(history.points[row] for row in order)])
        near = around(space, centres, _AROUND, rng)
        far = canonical(space, rng.random((_EVERYWHERE, space.dimension)))
        return np.concatenate([self._reference[None], far, near])

    def _predicted(
        self, x: NDArray[np.float64], context: tuple[float, ...]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) means and deviations of the logarithm of performance in a context, larger being better."""
        history, count = self._history, self._count
        losses = -np.array(history.gains)
        process = self._process.grown(count, lambda n: (history.inputs(n), losses[:n]))
        process.condition(history.inputs(count), losses, np.random.default_rng([self.target.seed, _SALT, count, 1]))
        here = history.scale(count)(np.array(context))
        mean, variance = process.predict(np.concatenate([x, np.tile(here, (len(x), 1))], axis=1))
        return -mean, np.sqrt(variance)


class GpUcb(_WithProcess):
    """Contextual GP-UCB (Krause and Ong, NeurIPS 2011): the largest upper bound, wherever it lies."""

    def _ordered(
        self, context: tuple[float, ...], rules: Sequence[Rule], rng: np.random.Generator
    ) -> Iterable[NDArray[np.float64]]:
        if self._count < 2:
            return [self._reference] if not self._count else canonical(self.target.space, rng.random((50, self._d)))
        x = self._candidates(rng)
        mean, deviation = self._predicted(x, context)
        return x[np.argsort(-(mean + _WIDTH * deviation), kind="stable")]

    @property
    def _d(self) -> int:
        return self.target.space.dimension


class GlobalSafe(_WithProcess):
    """SafeOpt (Sui et al., ICML 2015), in contexts (Berkenkamp et al., 2021), over the whole space.

    Safe is what at its lower bound is no worse than what the reference is expected to do here, less the margin. Of the
    safe candidates that may be the best, or at which the safe set might grow, the one in most doubt is run. Which ones
    let it grow is said by neighbourhood: those nearest to a candidate that is not safe.
    """

    def _ordered(
        self, context: tuple[float, ...], rules: Sequence[Rule], rng: np.random.Generator
    ) -> Iterable[NDArray[np.float64]]:
        if self._count < _WARMUP:
            return [self._reference]
        x = self._candidates(rng)
        mean, deviation = self._predicted(x, context)
        lower, upper = mean - _WIDTH * deviation, mean + _WIDTH * deviation
        is_safe = lower >= mean[0] + np.log1p(-_MARGIN)
        safe, other = np.flatnonzero(is_safe), np.flatnonzero(~is_safe)
        if not len(safe):
            return [self._reference]
        wanted = upper[safe] >= lower[safe].max()
        if len(other):
            wanted[cdist(x[other], x[safe]).argmin(axis=1)] = True
        return x[safe[np.argsort(-np.where(wanted, deviation[safe], -1.0), kind="stable")]]


class Ddpg(Baseline):
    """CDBTune (Zhang et al., SIGMOD 2019): an actor and a critic that learn from every interval.

    Its state is the context. Its reward is CDBTune's: what became of performance since the first interval, and since
    the one before. It begins at the reference, which is kinder to it than the draws that the paper begins with; the
    noise with which it explores wears off.
    """

    def __init__(self, target: Target, guard: Callable[[Config], str | None] | None = None) -> None:
        super().__init__(target, guard)
        self._networks = ActorCritic(len(target.features), self._reference, target.seed)

    def tell(self, interval: Interval) -> None:
        super().tell(interval)
        history, last = self._history, len(self._history) - 1
        if last:
            state, following = (self._state(history.contexts[row]) for row in (last - 1, last))
            reward = cdbtune_reward(*(history.gains[row] for row in (0, last - 1, last)))
            self._networks.remember(state, history.points[last], reward, following)
            self._networks.learn()

    def _ordered(
        self, context: tuple[float, ...], rules: Sequence[Rule], rng: np.random.Generator
    ) -> Iterable[NDArray[np.float64]]:
        if not self._count:
            return [self._reference]
        noise = max(_LEAST_NOISE, _NOISE * _QUIETER**self._count)
        action = self._networks.act(self._state(context))
        return canonical(self.target.space, action + noise * rng.standard_normal((50, len(action))))

    def _state(self, context: tuple[float, ...]) -> NDArray[np.float64]:
        return self._history.scale(len(self._history))(np.array(context))


def cdbtune_reward(first: float, before: float, now: float) -> float:
    """CDBTune's reward, from logarithms of performance in the first, the last and this interval."""
    since_first, since_last = float(np.expm1(now - first)), float(np.expm1(now - before))
    if since_first > 0 > since_last:
        return 0.0
    if since_first > 0:
        return min(_MOST_REWARD, ((1.0 + since_first) ** 2 - 1.0) * abs(1.0 + since_last))
    return max(-_MOST_REWARD, -((1.0 - since_first) ** 2 - 1.0) * abs(1.0 - since_last))


BASELINES: Mapping[str, Callable[..., Baseline]] = {
    "default": Default,
    "rules": Fixed,
    "random": Random,
    "gp_ucb": GpUcb,
    "global_safe": GlobalSafe,
    "ddpg": Ddpg,
}
