"""Training runs of the language model under each gate, for `benchmarks.dts`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from models.moe.options import TextOptions
from models.moe.workload import learner_of
from tunewright.space import Config


@dataclass
class Curve:
    """One run, at the end of each unit of the fidelity.

    Attributes:
        steps: optimizer steps so far.
        loss: on the validation windows.
        flops: of all training so far.
        seconds: of processor time, training and measuring.
    """

    steps: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    flops: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        return min(self.loss)

    def reaches(self, loss: float, cost: Sequence[float]) -> float | None:
        """The cost at which the loss is first reached, straight between measurements; None: never."""
        for index, found in enumerate(self.loss):
            if found <= loss:
                if index == 0:
                    return cost[0]
                share = (self.loss[index - 1] - loss) / (self.loss[index - 1] - found)
                return cost[index - 1] + share * (cost[index] - cost[index - 1])
        return None


def train(config: Config, options: TextOptions, units: int, seed: int) -> Curve:
    """Train a configuration of `moe.lm`."""
    learner = learner_of(config, options, seed)
    curve = Curve()
    n_tokens = options.batch * options.context
    began = time.process_time()
    for unit in range(1, units + 1):
        metrics = learner.step(unit)
        steps = unit * options.steps
        curve.steps.append(steps)
        curve.loss.append(metrics["loss"])
        curve.flops.append(metrics["flops_per_token"] * n_tokens * steps)
        curve.seconds.append(time.process_time() - began)
    return curve


def speedup(ours: Curve, theirs: Curve, cost: str) -> float:
    """How much less ours costs to reach the best loss of theirs.

    Where ours never gets there: how much less theirs costs to reach the best loss of ours, upside down; below 1.

    Args:
        cost: "steps", "flops" or "seconds".
    """
    mine, other = getattr(ours, cost), getattr(theirs, cost)
    reached = ours.reaches(theirs.best, mine)
    if reached is not None:
        needed = theirs.reaches(theirs.best, other)
    else:
        reached, needed = ours.reaches(ours.best, mine), theirs.reaches(ours.best, other)
    assert reached is not None
    assert needed is not None
    return needed / reached
