"""Settings of each kind of recommender, chosen by Hyper-Tune on validation rows within the same processor time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from benchmarks._legs import run_legs
from benchmarks._zoomer_runs import Field
from models.recsys.attention import Levels
from models.recsys.learner import Recipe, ZoomerLearner
from models.recsys.ranking import auc
from models.recsys.zoomer import ZoomerWorkload, recipe
from optimizers import registry
from optimizers.protocol import Job, Problem
from tunewright.space import Config, SearchSpace
from tunewright.study import Fidelity, Objective

AUC = Objective(metric="auc", direction="maximize")
LEARNING = ("dimensions", "loss", "gamma", "temperature", "learning_rate", "embedding_rate", "decay", "batch_size")
LEVELS = ("feature_level", "edge_level", "semantic_level")
# What ZOOMER's workload space leaves out of the baselines; one hop for all.
PLAIN: Config = {"hops": 1, **dict.fromkeys(LEVELS, False)}


@dataclass(frozen=True)
class Family:
    """One kind of recommender.

    Attributes:
        free: parameters of the workload's space that are searched.
        fixed: those that make it what it is.
        of: the recipe of a whole configuration.
    """

    free: tuple[str, ...]
    fixed: Config
    of: Callable[[Config], Recipe] = recipe

    @property
    def space(self) -> SearchSpace:
        return SearchSpace([one for one in ZoomerWorkload.space.parameters if one.name in self.free])

    def recipe(self, config: Config) -> Recipe:
        return self.of({**self.fixed, **config})


def families(reach: int) -> Mapping[str, Family]:
    """ZOOMER and what it is compared with; `reach`: neighbours that HAN takes all of."""

    def han(config: Config) -> Recipe:
        return replace(recipe(config), method="full", scale=(reach,), levels=Levels(feature=False, focal=False))

    return {
        "zoomer": Family((*LEARNING, *LEVELS, "near"), {"sampler": "roi", "hops": 1}),
        "graphsage": Family((*LEARNING, "near"), {"sampler": "uniform", **PLAIN}),
        "pinsage": Family((*LEARNING, "near"), {"sampler": "importance", **PLAIN}),
        "han": Family(LEARNING, {"sampler": "uniform", "near": 1, **PLAIN}, han),
    }


@dataclass
class _Trial:
    learner: ZoomerLearner
    recipe: Recipe
    best: float = 0.0


def tuned(place: Field, family: Family, *, unit: int, units: int, seconds: float, seed: int) -> tuple[Recipe, int]:
    """The whole training with the best AUC on validation rows at any moment, and how many there were.

    Args:
        unit, units: as in `train`; units are the fidelity.
        seconds: of processor time for learning; who learns slowly tries less. The leg that runs then is finished, and
            the search goes on until one training is whole.
    """
    fidelity = Fidelity(name="units", max=units)
    optimizer = registry.create("hypertune", {}, Problem(family.space, (AUC,), fidelity, seed=seed))
    trials: dict[int, _Trial] = {}
    whole: dict[int, _Trial] = {}
    spent = 0.0

    def step(job: Job, resource: int) -> Mapping[str, float] | None:
        nonlocal spent
        if job.trial not in trials:
            chosen = family.recipe(job.config)
            learner = ZoomerLearner(chosen, place.train, place.test, unit=unit, seed=seed, graph=place.graph)
            trials[job.trial] = _Trial(learner, chosen)
        trial = trials[job.trial]
        began = time.process_time()
        trial.learner.learn(resource)
        spent += time.process_time() - began
        scores = trial.learner.score(place.valid.rows)
        if not np.isfinite(scores).all():
            return None
        found = auc(scores, place.valid.rows.clicked)
        trial.best = max(trial.best, found)
        if resource == units:
            whole[job.trial] = trial
        return {"auc": found}

    run_legs(optimizer, step, lambda: spent < seconds or not whole)
    if not whole:
        raise RuntimeError("the search ended without a whole training")
    return max(whole.values(), key=lambda trial: trial.best).recipe, len(whole)
