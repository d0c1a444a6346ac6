"""Baselines by name: those that pass messages while they train, and those that are points of PaSca's space."""

from __future__ import annotations

from models.data.graph import Graph
from models.gnn.designs import Training, gbp, s2gc, sgc, sign
from models.gnn.full_batch import MODELS, Architecture, FullBatchLearner
from models.gnn.learner import NodeLearner
from models.gnn.sgap import SgapLearner
from tunewright.errors import WorkloadError


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
        WorkloadError: no baseline has this name, or a setting is out of range; names it.
    """
    for field, value, fits, what in (
        ("layers", layers, layers >= 1, "1 or more"),
        ("width", width, width >= 1, "1 or more"),
        ("dropout", dropout, 0 <= dropout < 1, "from 0 to below 1"),
        ("alpha", alpha, 0 <= alpha <= 1, "from 0 to 1"),
    ):
        if not fits:
            raise WorkloadError(f"{field}: {value!r} must be {what}")
    if model in MODELS:
        how = Architecture(model, layers, width, dropout, alpha)
        return FullBatchLearner(how, training, graph, seed=seed, threads=threads)
    designs = {
        "sgc": lambda: sgc(layers, dropout),
        "s2gc": lambda: s2gc(layers, dropout),
        "sign": lambda: sign(layers, width, dropout),
        "gbp": lambda: gbp(layers, width, dropout),
    }
    if model not in designs:
        raise WorkloadError(f"model: {model!r} is unknown; known: {', '.join((*MODELS, *designs))}")
    return SgapLearner(designs[model](), training, graph, seed=seed, threads=threads)
