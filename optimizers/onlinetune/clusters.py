"""Which contexts belong together: DBSCAN, an SVM as the boundary, and when to cluster anew (section 5.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizers.onlinetune.context import Scale, principal
from optimizers.surrogates.gp import one_thread

# The authors' values: DBSCAN in three principal components, a look at it after so many new contexts, and how alike
# a new clustering may be to the old one and still not be adopted.
_EPS, _MIN_SAMPLES, _EVERY, _ALIKE = 0.7, 8, 10, 0.6
# Distances between all pairs are compared; older contexts keep the label that they have.
_MOST = 1000
_SEED = 0


class Clusters:
    """Labels of the contexts of a session, in their order; all follow from the contexts alone.

    Attributes:
        labels: of every context so far; a cluster keeps its number when its members mostly stay together.
        version: grows when another clustering is adopted.
    """

    def __init__(self, enabled: bool = True) -> None:
        self._enabled = enabled
        self._contexts: list[tuple[float, ...]] = []
        self.labels: list[int] = []
        self.version = 0
        self._count = 1
        self._scale: Scale | None = None
        self._boundary: Any = None

    def of(self, context: tuple[float, ...]) -> int:
        """The cluster on whose side of the boundary a context lies."""
        if self._boundary is None or self._scale is None:
            return 0
        return int(self._boundary.predict(self._scale(np.array([context])))[0])

    def add(self, context: tuple[float, ...]) -> bool:
        """Take in the next context; whether another clustering was adopted."""
        self.labels.append(self.of(context))
        self._contexts.append(context)
        if not self._enabled or len(self._contexts) % _EVERY:
            return False
        return self._look_again()

    def _look_again(self) -> bool:
        from sklearn.metrics import adjusted_mutual_info_score

        recent = np.array(self._contexts[-_MOST:])
        scale = Scale.of(recent)
        points = principal(scale(recent))
        found = _dbscan(points)
        old = np.array(self.labels[-_MOST:])
        # The old clustering is judged on the contexts that there are now, or a lucky early figure would stay for ever.
        if len(np.unique(found)) == 1 or _silhouette(points, found) <= _silhouette(points, old):
            return False
        if adjusted_mutual_info_score(old, found) >= _ALIKE:
            return False
        self._adopt(scale, recent, self._renamed(old, found))
        return True

    def _adopt(self, scale: Scale, recent: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
        from sklearn.svm import SVC

        self.version += 1
        self.labels[-len(labels) :] = [int(label) for label in labels]
        self._scale = scale
        with one_thread():
            self._boundary = SVC(kernel="rbf", gamma="scale", random_state=_SEED).fit(scale(recent), labels)

    def _renamed(self, old: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.int64]:
        """New labels under the numbers of the old clusters that they mostly come from; the largest choose first."""
        names: dict[int, int] = {}
        for label in sorted(np.unique(found), key=lambda label: (-int(np.sum(found == label)), label)):
            before = old[found == label]
            heirs = [name for name in np.unique(before) if name not in names.values()]
            if heirs:
                names[int(label)] = int(max(heirs, key=lambda name: (int(np.sum(before == name)), -int(name))))
            else:
                names[int(label)] = self._count
                self._count += 1
        return np.array([names[int(label)] for label in found])


def _dbscan(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) labels from 0; contexts that DBSCAN calls noise go to the cluster of the nearest one that it does not."""
    from sklearn.cluster import DBSCAN
    from sklearn.neighbors import NearestNeighbors

    labels = np.asarray(DBSCAN(eps=_EPS, min_samples=_MIN_SAMPLES).fit_predict(points))
    noise = labels < 0
    if noise.all():
        return np.zeros(len(labels), dtype=np.int64)
    if noise.any():
        near = NearestNeighbors(n_neighbors=1).fit(points[~noise])
        labels[noise] = labels[~noise][near.kneighbors(points[noise], return_distance=False)[:, 0]]
    return labels


def _silhouette(points: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean silhouette; 0 for a single cluster, which separates nothing."""
    from sklearn.metrics import silhouette_score

    count = len(np.unique(labels))
    return float(silhouette_score(points, labels)) if 1 < count < len(labels) else 0.0
