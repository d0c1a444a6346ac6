"""Baselines by name: those that pass messages while they train, and those that are points of PaSca's space."""

from __future__ import annotations

from models.data.graph import Graph
from models.gnn.designs import Training, gbp, s2gc, sgc, sign
from models.gnn.full_batch import MODELS, Architecture, FullBatchLearner
from models.gnn.learner import NodeLearner
from models.gnn.sgap import SgapLearner


def baseline(
    model: str,
    graph: Graph,
    training: Training,
    *,
    layers: int,
    width: int = 64,
    dropout: float = 0.5,
    alpha: float = 0.1,
    seed: int = 0,
    threads: int = 1,
) -> NodeLearner:
    """A baseline in training.

    Args:
        model: gcn, jknet, appnp, sage, sgc, sign, s2gc or gbp.
        layers: that pass messages, or steps of propagation.
        width: of hidden layers; sgc and s2gc have none.
        alpha: of appnp.
    Raises:
        KeyError: no baseline has this name.
    """
    if model in MODELS:
        how = Architecture(model, layers, width, dropout, alpha)
        return FullBatchLearner(how, training, graph, seed=seed, threads=threads)
    designs = {
        "sgc": lambda: sgc(layers, dropout),
        "s2gc": lambda: s2gc(layers, dropout),
        "sign": lambda: sign(layers, width, dropout),
        "gbp": lambda: gbp(layers, width, dropout),
    }
    return SgapLearner(designs[model](), training, graph, seed=seed, threads=threads)
