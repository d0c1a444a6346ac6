"""Gates by name. Each is a class behind `Gate`: tokens in, a `Routing` out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from models.moe.gates.balanced import Base, Hash, LossFree
from models.moe.gates.base import Gate, Place
from models.moe.gates.dense_to_sparse import DenseToSparse
from models.moe.gates.expert_choice import ExpertChoice
from models.moe.gates.token_choice import SAM, GShard, KTop1, Switch, TopK
from tunewright.errors import WorkloadError

__all__ = ["GATES", "Gate", "Place", "create"]

GATES: Mapping[str, Callable[..., Gate]] = {
    "switch": Switch,
    "gshard": GShard,
    "topk": TopK,
    "ktop1": KTop1,
    "sam": SAM,
    "base": Base,
    "hash": Hash,
    "dense_to_sparse": DenseToSparse,
    "expert_choice": ExpertChoice,
    "loss_free": LossFree,
}


def create(name: str, place: Place, settings: Mapping[str, Any] | None = None) -> Gate:
    """Make a gate.

    Raises:
        WorkloadError: no gate has this name, or a setting is unknown or wrong.
    """
    if name not in GATES:
        raise WorkloadError(f"gate: {name!r} is unknown; known: {', '.join(GATES)}")
    try:
        return GATES[name](place, **(settings or {}))
    except TypeError as error:
        raise WorkloadError(f"gate {name}: {error}; see models.moe.gates for its settings") from error
