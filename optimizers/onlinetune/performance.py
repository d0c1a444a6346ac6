"""What a session has measured, and what it believes from it: the reference's performance, and improvements over it.

Hyper-parameters belong to a cluster and are learnt anew each time it has a fifth more intervals, from those alone: a
session that replays its journal learns once, when it is next asked, and comes to the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from optimizers.onlinetune.clusters import Clusters
from optimizers.onlinetune.context import Scale, milestone
from optimizers.onlinetune.intervals import Interval, Target
from optimizers.onlinetune.process import Form, Knobs, Posterior, Prior, Rows, fit

# Intervals of its own below which a cluster still thinks what the whole session thinks.
_OWN = 15
# Intervals that a decision is conditioned on, and that hyper-parameters are learnt from, at most.
_CONDITIONED, _FITTED = 500, 140
# Discoveries travel to other clusters when they are among the best tenth and over 10% (the authors' values).
_GOOD_SHARE, _GOOD_GAIN = 0.1, 0.1
# Settings under which nothing could be measured count as half the reference's performance, and so do worse ones: how
# deep a cliff falls says nothing of the slopes beside it.
_DEAD = float(np.log(0.5))
_LEAST_SCALE, _MOST_SCALE = 0.2, 60.0
_WHOLE = -1


class Performance:
    """The measured intervals as arrays, and the models of them.

    Attributes:
        points: (n, d) what was really set; contexts: (n, q); gains: (n,) logarithms of performance;
        relative: (n,) the same against the reference's expectation when they were suggested;
        reference: (n,) bool, whether these were the reference's settings.
    """

    def __init__(self, target: Target, categories: Mapping[int, int], form: Form) -> None:
        self._target, self._form = target, form
        self._reference = target.space.encode(target.reference)
        self._knobs = Knobs(self._reference, categories)
        self._points: list[NDArray[np.float64]] = []
        self._contexts: list[tuple[float, ...]] = []
        self._rest: list[tuple[float, float, float, bool, int]] = []
        self._priors: dict[tuple[int, int, int], Prior] = {}
        self._scales: dict[int, Scale] = {}
        self._count = 0
        self._rows: list[int] = []

    def __len__(self) -> int:
        return len(self._points)

    def add(self, interval: Interval, number: int) -> None:
        """The session's `number`-th interval; one without a measurement and without a suggestion teaches nothing."""
        point = self._target.space.encode(interval.config)
        is_reference = bool(np.abs(point - self._reference).max() < 1e-9)
        base, doubt = self._base(interval)
        if interval.performance is not None:
            gain = self._target.gain(interval.performance)
            # The reference has no cliffs: where it does far less than was expected, the load has changed.
            if base is not None and not is_reference:
                gain = max(gain, base + _DEAD - 2.0 * doubt)
        elif base is not None:
            gain = base + _DEAD
        else:
            return
        scale = min(max(self._target.seconds / interval.seconds, _LEAST_SCALE), _MOST_SCALE)
        self._points.append(point)
        self._contexts.append(interval.context)
        self._rest.append((gain, 0.0 if base is None else gain - base, scale, is_reference, number))
        self._rows.append(number)

    def _base(self, interval: Interval) -> tuple[float | None, float]:
        """Logarithm of what was expected of the reference in an interval's context, and its doubt."""
        if interval.expected is not None:
            return self._target.gain(interval.expected.reference), interval.expected.doubt
        suggestion = interval.suggestion
        if suggestion is None or suggestion.reference_performance is None:
            return None, 0.0
        return self._target.gain(suggestion.reference_performance), suggestion.doubt or 0.0

    @property
    def points(self) -> NDArray[np.float64]:
        return np.array(self._points).reshape(-1, len(self._reference))

    @property
    def contexts(self) -> NDArray[np.float64]:
        return np.array(self._contexts).reshape(-1, len(self._target.features))

    def column(self, index: int) -> NDArray[np.float64]:
        return np.array([row[index] for row in self._rest], dtype=np.float64)

    @property
    def references(self) -> int:
        return sum(row[3] for row in self._rest)

    def scale(self, rows: int | None = None) -> Scale:
        """Of contexts, as of the last milestone among the first rows; among all where their number is not given."""
        seen = len(self) if rows is None else rows
        count = milestone(seen) or seen
        if count not in self._scales:
            self._scales = {count: Scale.of(self.contexts[:count])}
        return self._scales[count]

    def members(self, labels: NDArray[np.int64], cluster: int) -> NDArray[np.int64]:
        """Rows of a cluster, whose labels are given for every interval; all rows while it has few."""
        own = np.flatnonzero(labels[self._rows] == cluster)
        return own if len(own) >= _OWN else np.arange(len(self))

    def posterior(self, clusters: Clusters, cluster: int, context: tuple[float, ...], age: int) -> Posterior:
        """What is believed in a context; needs at least one interval."""
        labels = np.array(clusters.labels)
        own = self.members(labels, cluster)
        whole = len(own) == len(self)
        here = self.scale()(np.array(context))
        prior = self._prior(own, _WHOLE if whole else cluster, 0 if whole else clusters.version)
        rows = self._conditioned(own, here)
        return Posterior(prior, self._as_rows(rows), here, float(age))

    def _conditioned(self, own: NDArray[np.int64], here: NDArray[np.float64]) -> NDArray[np.int64]:
        """A cluster's rows and what travels from others; of too many the newest half and those in nearest contexts."""
        others = np.setdiff1d(np.arange(len(self)), own)
        if len(others):
            relative, reference = self.column(1), self.column(3) > 0
            bar = max(np.log1p(_GOOD_GAIN), float(np.quantile(relative, 1.0 - _GOOD_SHARE)))
            own = np.sort(np.concatenate([own, others[reference[others] | (relative[others] > bar)]]))
        if len(own) <= _CONDITIONED:
            return own
        newest, older = own[-_CONDITIONED // 2 :], own[: -_CONDITIONED // 2]
        distance = np.square(self.scale()(self.contexts[older]) - here).sum(axis=1)
        near = older[np.argsort(distance, kind="stable")[: _CONDITIONED - len(newest)]]
        return np.sort(np.concatenate([near, newest]))

    def _prior(self, own: NDArray[np.int64], name: int, version: int) -> Prior:
        count = milestone(len(own))
        if not count:
            return Prior.median(self._knobs, len(self._target.features), self._form)
        key = (name, version, count)
        if key not in self._priors:
            first = own[:count]
            if count > _FITTED:
                rng = np.random.default_rng([self._target.seed, 0xF17, name + 1, version, count])
                older = rng.choice(first[: -_FITTED // 2], _FITTED // 2, replace=False)
                first = np.sort(np.concatenate([older, first[-_FITTED // 2 :]]))
            self._priors = {k: v for k, v in self._priors.items() if k[0] != name}
            # On the scale of the time when there were so many: what other clusters have seen by the time that somebody
            # asks must not count.
            self._priors[key] = fit(self._as_rows(first, int(own[count - 1]) + 1), self._knobs, self._form)
        return self._priors[key]

    def _as_rows(self, rows: NDArray[np.int64], scaled: int | None = None) -> Rows:
        contexts = self.scale(scaled)(self.contexts[rows])
        return Rows(self.points[rows], contexts, self.column(4)[rows], self.column(0)[rows], self.column(2)[rows])
