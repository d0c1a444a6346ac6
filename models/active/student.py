"""What learns from the answers: logistic regression on propagated features, SGC (Wu et al., 2019), with soft labels.

The problem is convex and solved anew from zero each time, so that a student depends on what is known now and not on
the order in which it came to be known; a campaign that stops and resumes needs no weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.active.gain import certainty
from models.active.knowledge import Distributions, Nodes
from models.data.graph import Graph
from models.gnn.operators import normalised, propagate

COMPONENTS = 256
# Labels that the prior is worth; without one a class that nobody has met yet is held to be impossible, and no question
# is ever worth asking about it.
PRIOR = 1.0


@dataclass(frozen=True)
class Student:
    """Fits a distribution over classes to nodes' features, with an even label at their mean for a prior.

    Attributes:
        features: (n, d) float32, see `propagated`.
        penalty: weight of the squared norm of the weights against the sum over labelled nodes.
        soft_weight: weight of a soft label against a hard one, besides how much it knows of the class: 1 - H / log C.
            The rest of it is what the model thought, and would teach it nothing else.
        iterations: of L-BFGS at most.
    """

    features: NDArray[np.float32]
    penalty: float = 0.05
    soft_weight: float = 1.0
    iterations: int = 50

    def fit(self, nodes: Nodes, targets: Distributions) -> Distributions:
        """Learn and predict.

        Args:
            nodes: (m,) to learn from.
            targets: (m, C) their hard or soft labels; the loss is the cross-entropy against them.
        Returns:
            (n, C) distributions over the classes; even ones where m is 0.
        """
        n_classes = targets.shape[1]
        if len(nodes) == 0:
            return np.full((len(self.features), n_classes), 1.0 / n_classes)
        from scipy.optimize import minimize

        x = np.concatenate([self.features[nodes], self.features.mean(axis=0, keepdims=True)])
        certain = targets.max(axis=1) == 1.0
        weights = np.append(np.where(certain, 1.0, self.soft_weight * certainty(targets)), PRIOR)[:, None]
        targets = np.concatenate([targets, np.full((1, n_classes), 1.0 / n_classes)])
        size = x.shape[1] * n_classes

        def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            w, bias = flat[:size].reshape(-1, n_classes), flat[size:]
            logs = _log_softmax(x @ w.astype(np.float32) + bias)
            wrong = weights * (np.exp(logs) - targets)
            slope = (x.T @ wrong.astype(np.float32)).astype(np.float64) + self.penalty * w
            value = -np.sum(weights * targets * logs) + 0.5 * self.penalty * np.sum(w * w)
            return float(value), np.concatenate([slope.ravel(), wrong.sum(axis=0)])

        start = np.zeros(size + n_classes)
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": self.iterations, "gtol": 1e-4})
        w, bias = found.x[:size].reshape(-1, n_classes), found.x[size:]
        return np.exp(_log_softmax(self.features @ w.astype(np.float32) + bias))


def propagated(graph: Graph, steps: int) -> NDArray[np.float32]:
    """(n, up to COMPONENTS) principal components of the features after so many steps of GCN's operator.

    Propagation leaves little outside of the first components, and fitting takes a tenth of the time with them. They
    are scaled to the mean norm 1 of all rows, so that a penalty means the same for every graph.
    """
    x = propagate(normalised(graph, "symmetric"), graph.features, steps)[-1]
    from sklearn.decomposition import TruncatedSVD

    x = TruncatedSVD(min(COMPONENTS, *x.shape), n_iter=3, random_state=0).fit_transform(x).astype(np.float32)
    return np.ascontiguousarray(
        x / np.float32(max(1e-12, float(np.sqrt(np.mean(np.square(x, dtype=np.float64).sum(axis=1))))))
    )


def _log_softmax(outputs: NDArray[np.floating]) -> NDArray[np.float64]:
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float64)
