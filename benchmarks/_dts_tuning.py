"""Hyper-Tune over a method's own settings, in this process, for `benchmarks.dts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks._legs import run_legs
from models.moe.errors import RoutingError
from models.moe.learner import LanguageLearner
from models.moe.options import TextOptions
from models.moe.workload import learner_of
from optimizers import registry
from optimizers.protocol import Job, Problem
from tunewright.space import Config, SearchSpace
from tunewright.study import Fidelity, Objective

SEED = 100


def tuned(
    space: SearchSpace, common: Mapping[str, Any], options: TextOptions, units: int, budget: int
) -> tuple[Config, float]:
    """The best settings that Hyper-Tune finds, and their loss.

    Args:
        space: of the method's own settings.
        units: of one whole trial.
        budget: units of all trials together.
    """
    problem = Problem(space, [Objective(metric="loss")], Fidelity(name="blocks", max=units), seed=SEED)
    optimizer = registry.create("hypertune", {}, problem)
    learners: dict[Any, LanguageLearner] = {}
    best: tuple[Config, float] = ({}, float("inf"))
    spent = 0

    def step(job: Job, unit: int) -> Mapping[str, float] | None:
        nonlocal best, spent
        if job.trial not in learners:
            learners[job.trial] = learner_of({**common, **job.config}, options, SEED)
        spent += 1
        try:
            loss = learners[job.trial].step(unit)["loss"]
        except RoutingError:
            return None
        if unit == units:
            del learners[job.trial]
            if loss < best[1]:
                best = dict(job.config), loss
        return {"loss": loss}

    run_legs(optimizer, step, lambda: spent < budget)
    if not best[0]:
        raise RuntimeError(f"no whole trial of {units} units within {budget}: raise the budget")
    return best
