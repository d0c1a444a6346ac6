"""Designs of scalable graph learning: which stages a model has (PaSca, tables 1 and 2), and those that have names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from models.gnn.cache import Operator
from tunewright.errors import WorkloadError

# How a node's features under 0 to K steps become one vector; the last three have weights that are learned.
MESSAGES = ("last", "concat", "mean", "sum", "max", "min", "geometric", "simple", "gate", "adaptive")
LEARNED = ("simple", "gate", "adaptive")
POST_MESSAGES = ("last", "mean", "sum", "max", "min", "geometric")

# The operators of the search space, by name.
OPERATORS: Mapping[str, Operator] = {
    "symmetric": Operator("symmetric"),
    "random_walk": Operator("random_walk"),
    "ppr_0.1": Operator("ppr", alpha=0.1),
    "ppr_0.2": Operator("ppr", alpha=0.2),
    "ppr_0.3": Operator("ppr", alpha=0.3),
    "triangle": Operator("triangle"),
}


@dataclass(frozen=True)
class Design:
    """One point of the design space, SGAP (PaSca, section 4).

    Attributes:
        operator, steps, message: before training: features under 0 to `steps` steps, and how they are put together.
        depth, width: of the perceptron in the middle; depth 1 is logistic regression.
        dropout: share of inputs and of hidden units that are left out while training.
        post_operator, post_steps, post_message: after training, of the soft predictions; 0 steps: not at all.
    """

    operator: Operator = OPERATORS["symmetric"]
    steps: int = 3
    message: str = "last"
    depth: int = 2
    width: int = 64
    dropout: float = 0.5
    post_operator: Operator = OPERATORS["ppr_0.3"]
    post_steps: int = 0
    post_message: str = "last"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise WorkloadError(f"pre_steps: {self.steps}; propagate 1 step or more")
        if self.depth < 1 or self.width < 1 or self.post_steps < 0:
            raise WorkloadError(
                f"design: depth {self.depth}, width {self.width}, post_steps {self.post_steps}; "
                "give at least 1 layer of 1 unit, and 0 steps or more"
            )
        if not 0 <= self.dropout < 1:
            raise WorkloadError(f"dropout: {self.dropout} must be from 0 to below 1")
        for field, value, known in (
            ("message", self.message, MESSAGES),
            ("post_message", self.post_message, POST_MESSAGES),
        ):
            if value not in known:
                raise WorkloadError(f"{field}: {value!r} is unknown; known: {', '.join(known)}")


@dataclass(frozen=True)
class Training:
    """How a model is trained: Adam, with an L2 penalty."""

    learning_rate: float = 0.05
    weight_decay: float = 1e-3


# PaSca's three, from the fastest to the most accurate (its section 6.1), with this house's widths and steps.
V2 = Design(OPERATORS["symmetric"], steps=6, message="gate", width=128, dropout=0.8)
V1 = replace(V2, operator=OPERATORS["ppr_0.1"], message="simple")
V3 = replace(V2, post_operator=OPERATORS["ppr_0.3"], post_steps=1)


def sgc(steps: int = 2, dropout: float = 0.0) -> Design:
    """Logistic regression on the features of the last step (Wu et al., ICML 2019)."""
    return Design(OPERATORS["symmetric"], steps=steps, message="last", depth=1, dropout=dropout)


def sign(steps: int = 2, width: int = 64, dropout: float = 0.5) -> Design:
    """A perceptron on the features of all steps side by side (Frasca et al., 2020)."""
    return Design(OPERATORS["symmetric"], steps=steps, message="concat", depth=2, width=width, dropout=dropout)


def s2gc(steps: int = 8, dropout: float = 0.0) -> Design:
    """Logistic regression on the mean over all steps (Zhu and Koniusz, ICLR 2021)."""
    return Design(OPERATORS["symmetric"], steps=steps, message="mean", depth=1, dropout=dropout)


def gbp(steps: int = 4, width: int = 64, dropout: float = 0.5) -> Design:
    """A perceptron on a sum over all steps with falling weights (Chen et al., NeurIPS 2020)."""
    return Design(OPERATORS["symmetric"], steps=steps, message="geometric", depth=2, width=width, dropout=dropout)
