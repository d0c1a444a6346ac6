"""One recipe trained on one data set, its AUC against the processor seconds it took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.data.interactions import Interactions, Split
from models.recsys.graph import Graph, build_graph
from models.recsys.learner import Judged, Recipe, ZoomerLearner, judged
from models.recsys.ranking import auc
from models.recsys.sampler import Method, Sampler

BOOTSTRAPS = 400
DRAWN_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Field:
    """A data set to compare on: its graph, and the rows that choose a moment to stop and those that count."""

    name: str
    train: Interactions
    graph: Graph
    valid: Judged
    test: Judged

    @classmethod
    def of(cls, name: str, split: Split, rows: int, ranked: int) -> Field:
        return cls(
            name, split.train, build_graph(split.train), judged(split.valid, rows, 1), judged(split.test, rows, ranked)
        )


@dataclass
class Run:
    """What a recipe came to.

    Attributes:
        seconds: of processor time for learning, after each unit.
        valid, test: AUC after each unit.
        scores: of the test rows, at the unit whose AUC on the validation rows is best.
        ranking: hit rates and gain at the last unit.
    """

    seconds: list[float] = field(default_factory=list)
    valid: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    ranking: dict[str, float] = field(default_factory=dict)

    @property
    def best(self) -> int:
        return int(np.argmax(self.valid))

    def seconds_to(self, target: float) -> float | None:
        """Processor seconds until the test AUC reached a target; None if it never did."""
        return next((s for s, a in zip(self.seconds, self.test, strict=True) if a >= target), None)


def train(place: Field, recipe: Recipe, *, unit: int, units: int, seed: int) -> Run:
    """Train a recipe and look at it after every unit; the sampler's preparation counts as learning."""
    began = time.process_time()
    learner = ZoomerLearner(recipe, place.train, place.test, unit=unit, seed=seed, graph=place.graph)
    run, spent = Run(), time.process_time() - began
    for resource in range(1, units + 1):
        began = time.process_time()
        learner.learn(resource)
        spent += time.process_time() - began
        items = learner.model.item_vectors()
        scores = learner.score(place.test.rows, items)
        run.seconds.append(spent)
        run.valid.append(auc(learner.score(place.valid.rows, items), place.valid.rows.clicked))
        run.test.append(auc(scores, place.test.rows.clicked))
        if run.best == resource - 1:
            run.scores = scores
    found = learner.measure()
    run.ranking = {name: found[name] for name in ("hit_rate_at_10", "hit_rate_at_50", "ndcg_at_10")}
    return run


def draws_per_second(place: Field, method: Method, scale: tuple[int, ...], seconds: float) -> float:
    """Neighbourhoods of training requests that a sampler draws in a second of processor time, batch by batch."""
    sampler, rows = Sampler(place.graph, method, scale), np.arange(DRAWN_AT_ONCE) % len(place.train)
    users, queries = place.graph.user_nodes(place.train.user), place.graph.query_nodes(place.train.query)
    # The first draw compiles the kernel.
    sampler.draw(users[rows], queries[rows])
    began, drawn = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        rows = (rows + DRAWN_AT_ONCE) % len(place.train)
        sampler.draw(users[rows], queries[rows], turn=drawn)
        drawn += DRAWN_AT_ONCE
    return drawn / spent


def standard_error(value: float, clicked: NDArray[np.bool_]) -> float:
    """Of an AUC over these rows (Hanley and McNeil 1982)."""
    n, m = int(clicked.sum()), int((~clicked).sum())
    one, two = value / (2 - value), 2 * value**2 / (1 + value)
    variance = (value * (1 - value) + (n - 1) * (one - value**2) + (m - 1) * (two - value**2)) / (n * m)
    return float(np.sqrt(variance))


def difference(
    ours: list[NDArray[np.float32]], theirs: list[NDArray[np.float32]], clicked: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Mean difference of the AUCs over seeds, and its 95% interval over seeds and test rows drawn with replacement."""

    def mean(rows: NDArray[np.int64], seeds: NDArray[np.int64]) -> float:
        return float(np.mean([auc(ours[s][rows], clicked[rows]) - auc(theirs[s][rows], clicked[rows]) for s in seeds]))

    rng, n, seeds = np.random.default_rng(0), len(clicked), len(ours)
    drawn = [mean(rng.integers(n, size=n), rng.integers(seeds, size=seeds)) for _ in range(BOOTSTRAPS)]
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return mean(np.arange(n), np.arange(seeds)), low, high
