"""OnlineTune: settings for a live database's next interval, never knowingly below its reference (SIGMOD 2022).

    suggest(context, rules) -> Suggestion      decides, and changes nothing
    tell(Interval)                             what came of it; the only thing that changes state

Decisions follow from the target with its seed, the settings, and the intervals told, in their order. A session that
starts again tells the recorded intervals to a new tuner, which is cheap where what was expected of them was recorded
too (`OnlineTune.expecting`), for then models are only learnt when a suggestion needs them; from there on every
suggestion is the one that the old tuner would have made, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from optimizers.candidates import canonical
from optimizers.evidence import figure
from optimizers.onlinetune import subspace
from optimizers.onlinetune.choice import pick, promising
from optimizers.onlinetune.clusters import Clusters
from optimizers.onlinetune.intervals import Expected, Interval, Kind, Suggestion, Target, checked
from optimizers.onlinetune.performance import Performance
from optimizers.onlinetune.process import Form, Posterior
from optimizers.onlinetune.rules import Rule, RuleBook
from optimizers.onlinetune.safety import Bounds, Caution, bounds
from optimizers.onlinetune.subspace import Subspace
from optimizers.protocol import Settings
from optimizers.surrogates import categorical_columns
from tunewright.space import Config, config_key

# Contexts whose standardised features differ by less than this on average are the same for "already tried here".
_SAME_CONTEXT = 0.5
# Deviations below the mean by which settings are compared that may become the centre.
_DOUBT = 0.5
# Settings whose bounds differ by no more, as logarithms, do much the same: rules choose among them.
_MUCH_THE_SAME = 0.02
# Deviations of the difference by which others must be better than settings that follow more rules to take their place.
_PROOF = 2.0
# So far from what was expected of it, as a logarithm and beyond the doubt about the reference, an interval is a riddle.
_RIDDLE = 0.3
# How precisely the reference's answer is to be known: to a third of what is asked, for nothing is gained meanwhile.
_ANSWER = _RIDDLE / 3.0
# Intervals that the reference is left alone at most after it was measured, however many riddles follow.
_RIDDLE_REST = 10
_SUGGEST = 0x0117


class OnlineTuneSettings(Settings):
    """Settings of OnlineTune; the parts may be switched off one by one, for ablation."""

    margin: float = Field(
        default=0.05, ge=0, lt=1, description="Loss against the reference that counts as none: what noise hides."
    )
    delta: float = Field(default=0.05, gt=0, lt=1, description="Probability with which theoretical bounds may fail.")
    caution: float = Field(default=1.5, ge=0, le=20, description="Deviations that bounds are wide at the start.")
    least_caution: float = Field(default=0.6, ge=0, le=20, description="Width that this may wear off to.")
    optimism: float = Field(default=1.0, ge=0, le=20, description="Deviations that a candidate's promise counts.")
    warmup: int = Field(default=4, ge=1, le=100, description="First intervals, spent on the reference.")
    recheck: int = Field(default=40, ge=2, le=10_000, description="Intervals after which the reference is re-measured.")
    form: Form = Field(default="product", description="Whether improvements depend on the context within a cluster.")
    clustering: bool = Field(default=True, description="One model per cluster of contexts.")
    subspace: bool = Field(default=True, description="Search near the centre only; off: everywhere.")
    white_box: bool = Field(default=True, description="Heed rules.")
    advice: bool = Field(
        default=True, description="Take each rule's advice once, watched, before the model can vouch for it."
    )
    black_box: bool = Field(default=True, description="Heed the model's pessimistic bounds.")


class OnlineTune:
    """Safe contextual Bayesian optimisation of one server.

    What may be relied on:
        - a suggestion is the reference itself, or settings that no rule and no guard forbids and, with the black box
          on, whose pessimistic bound is at most `margin` below the reference; but for `advice`: what a rule of low risk
          wants of settings outside of its bounds, each once, and none any more when that did harm twice;
        - the reference is always a candidate for the centre, and what is suggested when nothing else is safe;
        - `suggest` changes nothing: asked again, it answers the same;
        - intervals of other people's settings (`suggestion=None`) are learnt from too.

    Args:
        guard: whether a configuration would endanger the server, in words; None where it would not. It is a fact and
            never relaxed. Must be a pure function.
    """

    def __init__(
        self,
        target: Target,
        settings: OnlineTuneSettings | None = None,
        guard: Callable[[Config], str | None] | None = None,
    ) -> None:
        self.target = target
        self.settings = settings or OnlineTuneSettings()
        self._guard = guard
        self._reference = target.space.encode(target.reference)
        self._performance = Performance(target, categorical_columns(target.space), self.settings.form)
        self._clusters = Clusters(self.settings.clustering)
        self._book = RuleBook(target.space, target.reference)
        self._caution = Caution(self.settings.caution, self.settings.least_caution, 2 * self.settings.caution)
        self._subspaces: dict[int, Subspace] = {}
        self._count = 0
        self._last_reference = -1
        self._last_riddle = -1
        self._last_urgent = -1
        self._riddles_asked = 0
        self._cut: _Cut | None = None
        self._last_kind: Kind | None = None
        self._dead: set[str] = set()

    @property
    def count(self) -> int:
        """Intervals told so far."""
        return self._count

    def suggest(self, context: Sequence[float], rules: Sequence[Rule] = ()) -> Suggestion:
        """Settings for the next interval.

        Args:
            context: the newest known, of the target's features.
            rules: that hold now.
        Raises:
            OptimizerError: the context or a rule does not fit the session.
        """
        seen = self.target.context(context)
        self._book.check(rules)
        cluster = self._clusters.of(seen)
        if self._performance.references < self.settings.warmup:
            return self._on_reference(cluster, None, "start: measuring the reference", self.settings.margin)
        posterior = self._performance.posterior(self._clusters, cluster, seen, self._count)
        decision = _Decision(self, posterior, seen, cluster, list(rules) if self.settings.white_box else [])
        return decision.made()

    def tell(self, interval: Interval) -> None:
        """Learn from the next interval, after working out what was to be expected of it unless that is told.

        Raises:
            OptimizerError: it does not fit the session, or is out of order; nothing was learnt from it.
        """
        checked(interval, self.target, self._count)
        interval = self.expecting(interval)
        self._performance.add(interval, self._count)
        self._clusters.add(interval.context)
        suggestion = interval.suggestion
        if suggestion is not None:
            self._judge(suggestion, interval)
            self._last_kind = suggestion.kind
        if interval.performance is None:
            self._dead.add(config_key(interval.config))
        if config_key(interval.config) == config_key(self.target.reference):
            if self._riddle_open():
                self._riddles_asked += 1
            self._last_reference = self._count
            self._review(interval)
        self._count += 1

    def expecting(self, interval: Interval) -> Interval:
        """The next interval, with what was to be expected in the context that it turned out to have.

        Suggestions expect the context that was seen last. When the load changes meanwhile, settings are not to blame
        for what it does, nor to praise. Nothing is expected before there is a model, or where it is told already.
        """
        suggestion = interval.suggestion
        if interval.expected is not None or suggestion is None or suggestion.reference_performance is None:
            return interval
        context = self.target.context(interval.context)
        cluster = self._clusters.of(context)
        posterior = self._performance.posterior(self._clusters, cluster, context, self._count)
        gain = posterior.improvement(self.target.space.encode(interval.config)[None])[0][0]
        expected = Expected(
            reference=self.target.performance(posterior.reference),
            doubt=float(posterior.reference_variance**0.5),
            gain=float(np.expm1(gain)),
        )
        return interval.model_copy(update={"expected": expected})

    def unsafe(self, interval: Interval) -> bool:
        """Whether the next interval was seen to fall below the margin, or could not be measured."""
        if interval.performance is None:
            return True
        interval = self.expecting(interval)
        if interval.expected is None:
            return interval.aborted
        return self._relative(interval) < float(np.log1p(-self.settings.margin))

    def state(self) -> dict[str, Any]:
        """Where the session stands, for people: clusters, radii, caution, rules (JSON values)."""
        return {
            "intervals": self._count,
            "clusters": len(set(self._clusters.labels)),
            "caution": figure(self._caution.width),
            "radius": {str(name): figure(each.radius) for name, each in sorted(self._subspaces.items())},
            "rules": self._book.state(),
        }

    def _riddle_open(self) -> bool:
        """Whether the reference should be asked about a riddle: at once for the first, later the less the more it was.

        The first ones tell settings that matter from the load. Later ones are mostly loads not seen before, each of
        which would cost an interval on the reference. Always asked about is advice, which is meant to be far from what
        was tried, and what was ended early: while more is expected of the reference than it does, every interval ends
        so, whatever its settings.
        """
        if self._last_urgent > self._last_reference:
            return True
        rest = min((1 << self._riddles_asked) - 1, _RIDDLE_REST)
        return self._last_riddle > self._last_reference + rest

    def _judge(self, suggestion: Suggestion, interval: Interval) -> None:
        unsafe = self.unsafe(interval)
        self._book.learn(suggestion.contradicted, suggestion.testing, unsafe, suggestion.advised)
        if suggestion.kind == "reference":
            return
        self._caution.learn(unsafe)
        gain = -np.inf if interval.performance is None else self._relative(interval)
        if interval.expected is not None and np.isfinite(gain):
            off = abs(gain - float(np.log1p(interval.expected.gain)))
            if off > _RIDDLE + 2.0 * interval.expected.doubt:
                self._last_riddle = self._count
                if suggestion.kind == "advice":
                    self._last_urgent = self._count
        if interval.aborted:
            self._last_urgent = self._count
            if suggestion.advised is not None and interval.performance is not None:
                self._cut = _Cut(suggestion.advised, unsafe, self.target.gain(interval.performance))
        self._subspaces.setdefault(suggestion.cluster, Subspace()).learn(suggestion, gain, unsafe)

    def _review(self, reference: Interval) -> None:
        """Advice that was ended early is compared with the reference, which is measured right after it.

        A server that is slow for a while is slow under all settings, and its advice would not be taken again.
        """
        cut, self._cut = self._cut, None
        if cut is None or reference.performance is None:
            return
        if cut.gain - self.target.gain(reference.performance) >= float(np.log1p(-self.settings.margin)):
            self._book.absolve(cut.rule, cut.unsafe)

    def _relative(self, interval: Interval) -> float:
        """Logarithm of an interval's performance against the reference's expectation."""
        assert interval.performance is not None
        if interval.expected is None:
            return 0.0
        return self.target.gain(interval.performance) - self.target.gain(interval.expected.reference)

    def _on_reference(self, cluster: int, posterior: Posterior | None, rule: str, precision: float) -> Suggestion:
        return Suggestion(
            number=self._count,
            kind="reference",
            config=self.target.reference,
            point=tuple(float(value) for value in self._reference),
            cluster=cluster,
            centre=tuple(float(value) for value in self._reference),
            reference_performance=None if posterior is None else self.target.performance(posterior.reference),
            doubt=None if posterior is None else float(posterior.reference_variance**0.5),
            precision=precision,
            why={"rule": rule, "cluster": cluster},
        )


@dataclass(frozen=True)
class _Cut:
    """A rule's advice that was ended early: whether it was taken for unsafe, and the logarithm of what it did."""

    rule: str
    unsafe: bool
    gain: float


class _Decision:
    """One suggestion in the making."""

    def __init__(
        self,
        tuner: OnlineTune,
        posterior: Posterior,
        context: tuple[float, ...],
        cluster: int,
        rules: list[Rule],
    ) -> None:
        self._tuner, self._posterior, self._context, self._cluster, self._rules = (
            tuner,
            posterior,
            context,
            cluster,
            rules,
        )
        self._settings, self._space = tuner.settings, tuner.target.space
        self._rng = np.random.default_rng([tuner.target.seed, _SUGGEST, tuner._count])
        self._least = float(np.log1p(-self._settings.margin))
        self._subspace = tuner._subspaces.get(cluster, Subspace())

    def made(self) -> Suggestion:
        tuner = self._tuner
        centre, mean, deviation = self._centre()
        if (recheck := self._recheck(centre, deviation)) is not None:
            return tuner._on_reference(self._cluster, self._posterior, *recheck)
        if (advice := self._advice(centre, mean)) is not None:
            return advice
        testing = tuner._book.testable(self._rules, self._rng)
        x, direction, where = self._candidates(centre)
        vetoes = tuner._book.forbidden(self._rules, x, testing)
        fresh = self._untried(x)
        allowed = fresh & ~vetoes.any(axis=0)
        found = bounds(self._posterior, x, allowed, tuner._caution.width, self._least, self._settings.delta)
        if not self._settings.black_box:
            found = Bounds(found.mean, found.deviation, found.width, allowed)
        weight = self._settings.optimism
        chosen: int | None = None
        kind: Kind = "centre"
        may_expand = tuner._last_kind != "expander"
        while allowed.any():
            picked = pick(found, x, centre, allowed, weight, tuner._count, may_expand, self._rng)
            if picked is None or self._guarded(x[picked.row]) is None:
                chosen, kind = (None, "centre") if picked is None else (picked.row, picked.kind)
                break
            allowed[picked.row] = False
        if chosen is not None and kind == "safe" and promising(found, weight)[chosen] < mean:
            # What is safe and new promises less than what stands: production is not there to satisfy curiosity.
            chosen, kind = None, "centre"
        contradicted = self._contradicted(found, fresh, vetoes)
        if chosen is None:
            point, gain, spread = centre, mean, deviation
        else:
            point, gain, spread = x[chosen], float(found.mean[chosen]), float(found.deviation[chosen])
        tested = self._tested(testing, point)
        lower = gain - found.width * spread
        return self._suggestion(
            kind, point, centre, mean, gain, lower, direction, tested, contradicted, where, found, len(x)
        )

    def _centre(self) -> tuple[NDArray[np.float64], float, float]:
        """The best safe settings of those measured in this cluster, and what is believed of them here.

        Best by a bound nearer to the mean than the one of safety, or a session would only ever move where it has
        measured the same settings many times over. The reference is always among them, with a bound of exactly 0. Of
        those that do much the same here, or are not told from the best by two deviations, it is the one that follows
        most rules: one noisy interval is no reason to drop advice for good, and another load may need it.
        """
        tuner = self._tuner
        performance = tuner._performance
        rows = performance.members(np.array(tuner._clusters.labels), self._cluster)
        points = np.unique(performance.points[rows], axis=0)
        points = points[~self._dead(points)]
        if self._rules and len(points):
            points = points[~tuner._book.forbidden([r for r in self._rules if r.hard], points).any(axis=0)]
        points = np.concatenate([tuner._reference[None], points])
        mean, deviation = self._posterior.improvement(points)
        value = np.where(mean - tuner._caution.width * deviation >= self._least, mean - _DOUBT * deviation, -np.inf)
        followed, top = tuner._book.followed(self._rules, points), int(np.argmax(value))
        apart = np.full(len(points), _MUCH_THE_SAME)
        # No others can take its place.
        rivals = np.flatnonzero((followed > followed[top]) & np.isfinite(value))
        apart[rivals] = np.maximum(apart[rivals], _PROOF * self._posterior.doubt_against(points[rivals], points[top]))
        order = np.lexsort((-value, -np.where(value >= value[top] - apart, followed, -1)))
        best = next(int(row) for row in order if row == 0 or self._guarded(points[row]) is None)
        return points[best], float(mean[best]), float(deviation[best])

    def _recheck(self, centre: NDArray[np.float64], deviation: float) -> tuple[str, float] | None:
        """Why the reference should be measured again now, and how precisely; None where it need not be."""
        margin = self._settings.margin
        since = self._tuner._count - self._tuner._last_reference
        if since >= self._settings.recheck:
            return f"re-check: the reference was last measured {since} intervals ago", margin
        if self._tuner._riddle_open():
            # What is seen next may be as far off, and the model would take it for a change of the load.
            reason = "re-check: the last interval was far from what was expected, by its settings or by the load"
            return reason, max(margin, _ANSWER)
        if deviation <= 0 or since < self._settings.recheck // 4:
            return None
        shared = self._posterior.shared_variance(centre) / deviation**2
        if deviation > 0.5 * margin and shared > 0.5:
            return "re-check: most doubt about the centre is doubt about the reference", margin
        return None

    def _advice(self, centre: NDArray[np.float64], centre_mean: float) -> Suggestion | None:
        """What a rule wants changed at the centre, whatever the model thinks; None where no rule wants anything.

        Small steps do not find what experts know: a plan that changes only far from the defaults. That they are mostly
        right is known; that this one is will be, for the interval is watched and ended early.
        """
        tuner = self._tuner
        for rule in tuner._book.untaken(self._rules) if self._settings.advice else ():
            point = canonical(self._space, tuner._book.advice([rule], centre)[None])
            away = np.abs(point[0] - centre).max() > 1e-6
            free = not tuner._book.forbidden(self._rules, point).any() and self._guarded(point[0]) is None
            if away and free and self._untried(point)[0]:
                found = bounds(
                    self._posterior, point, np.array([True]), tuner._caution.width, self._least, self._settings.delta
                )
                gain, lower = float(found.mean[0]), float(found.lower[0])
                return self._suggestion(
                    "advice", point[0], centre, centre_mean, gain, lower, None, None, (), "", found, 1, rule.id
                )
        return None

    def _candidates(self, centre: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[float, ...] | None, str]:
        """(n, d) where to look, a line's direction, and words for it."""
        if not self._settings.subspace:
            points = self._rng.random((subspace.REGION_POINTS * 2, self._space.dimension))
            return canonical(self._space, points), None, "everywhere"
        if self._subspace.shape == "region":
            return (
                subspace.region(self._space, centre, self._subspace.radius, self._rng),
                None,
                f"region of radius {self._subspace.radius:.3g}",
            )
        if self._subspace.direction is not None:
            direction, origin = np.array(self._subspace.direction), "the line begun before"
        else:
            direction, origin = self._direction(centre)
        points = subspace.line(self._space, centre, direction)
        return points, tuple(float(value) for value in direction), f"line: {origin}"

    def _direction(self, centre: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
        """Towards what rules advise while they advise anything, every second time; else as the paper has it."""
        if self._rules and self._rng.random() < 0.5:
            some = [rule for rule in self._rules if self._rng.random() < 0.5] or self._rules
            for rules in (some, self._rules):
                way = self._tuner._book.advice(rules, centre) - centre
                if np.abs(way).max() > 1e-6:
                    return way, "advice of rules"
        importance = 1.0 / self._posterior.prior.knob_lengths
        return subspace.draw_direction(self._space, self._subspace.ascent, importance, self._rng)

    def _untried(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n,) whether the point was not measured yet in a context like this, and did not kill the server in any."""
        performance = self._tuner._performance
        distance = performance.scale()(performance.contexts) - performance.scale()(np.array(self._context))
        near = np.sqrt(np.mean(np.square(distance), axis=1)) < _SAME_CONTEXT
        tried = {point.tobytes() for point in np.round(performance.points[near], 9) + 0.0}
        new = np.array([point.tobytes() not in tried for point in np.round(x, 9) + 0.0])
        return new & ~self._dead(x)

    def _dead(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        if not self._tuner._dead:
            return np.zeros(len(x), dtype=bool)
        return np.array([config_key(self._space.decode(point)) in self._tuner._dead for point in x], dtype=bool)

    def _guarded(self, point: NDArray[np.float64]) -> str | None:
        guard = self._tuner._guard
        return None if guard is None else guard(self._space.decode(point))

    def _contradicted(self, found: Bounds, fresh: NDArray[np.bool_], vetoes: NDArray[np.bool_]) -> tuple[str, ...]:
        """The rule that alone forbids what the model likes best."""
        if not len(vetoes) or not fresh.any():
            return ()
        score = np.where(fresh, promising(found, self._settings.optimism), -np.inf)
        against = np.flatnonzero(vetoes[:, int(np.argmax(score))])
        return (self._rules[against[0]].id,) if len(against) == 1 else ()

    def _tested(self, testing: str | None, point: NDArray[np.float64]) -> str | None:
        """The rule that these settings really test: without the test it would forbid them."""
        if testing is None:
            return None
        rules = [rule for rule in self._rules if rule.id == testing]
        return testing if self._tuner._book.forbidden(rules, point[None])[0, 0] else None

    def _suggestion(
        self,
        kind: Kind,
        point: NDArray[np.float64],
        centre: NDArray[np.float64],
        centre_mean: float,
        gain: float,
        lower: float,
        direction: tuple[float, ...] | None,
        testing: str | None,
        contradicted: tuple[str, ...],
        where: str,
        found: Bounds,
        candidates: int,
        advised: str | None = None,
    ) -> Suggestion:
        tuner, posterior = self._tuner, self._posterior
        reference = tuner.target.performance(posterior.reference)
        doubt = float(posterior.reference_variance**0.5)
        searched = self._settings.subspace and kind != "advice"
        shape: Literal["region", "line"] | None = self._subspace.shape if searched else None
        return Suggestion(
            number=tuner._count,
            kind=kind,
            config=self._space.decode(point),
            point=tuple(float(value) for value in point),
            cluster=self._cluster,
            shape=shape,
            direction=direction,
            centre=tuple(float(value) for value in centre),
            centre_gain=float(np.expm1(centre_mean)),
            reference_performance=reference,
            doubt=doubt,
            gain=float(np.expm1(gain)),
            lower=float(np.expm1(lower)),
            abort_below=tuner.target.performance(posterior.reference + self._least - 2.0 * doubt),
            testing=testing,
            contradicted=contradicted,
            advised=advised,
            why={
                "rule": _WORDS[kind],
                **({"searched": where} if where else {}),
                "cluster": self._cluster,
                "centre": figure(np.expm1(centre_mean)),
                "gain": figure(np.expm1(gain)),
                "lower": figure(np.expm1(lower)),
                "allowed down to": -self._settings.margin,
                "width": figure(found.width),
                "safe": f"{int(found.safe.sum())} of {candidates}",
                "reference": figure(reference),
                **({"advised by rule": advised} if advised else {}),
                **({"tests rule": testing} if testing else {}),
                **({"against rules": list(contradicted)} if contradicted else {}),
            },
        )


_WORDS = {
    "reference": "reference",
    "centre": "nothing else that is safe promises more: best settings known",
    "safe": "most promising of the safe settings",
    "expander": "border of the safe set",
    "advice": "advice, taken once to see",
}
