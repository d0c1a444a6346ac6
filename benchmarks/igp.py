"""Does information gain propagation learn more from the same budget than other ways to choose what to label?

    python -m benchmarks.igp [--quick] [--json FILE]

Every method teaches the same student (logistic regression on features propagated twice, with soft labels) from a cold
start, in batches of as many nodes as there are classes, on the same pool: four fifths, drawn by the seed, of all nodes
but the validation and test ones, since most methods would do the same with each seed.
IGP asks for a yes or no to the likeliest class, or for the class where that is expected to tell more for its price;
the baselines buy exact labels. Budgets are 2 C to 20 C exact labels, for C classes, in two accounts: in `questions` an
exact label costs C - 1 yes-or-no answers, and IGP never wants one; in `bits` log2 C.

auc_gain_vs_best_baseline  mean test accuracy over the budgets, in points: IGP's less that of the baseline whose mean
                           over all seeds is highest
..._low, ..._high          its 95% interval over the seeds, by Student's t
queries_to_95_percent      what 95% of the test accuracy that labels of the whole pool give costs in the account (the
                           median of the seeds; the largest budget where it is not reached), by IGP and by the best
                           baseline

Some rows are no baselines but show where the gain comes from: `entropy, relaxed` and `random, relaxed` put relaxed
questions to nodes that other criteria choose; `igp, relaxed` never buys an exact label, and `igp, exact` nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks._harness import Cell, Result, arguments, interval, publish
from models.active.campaign import Campaign, Query, exact_price
from models.active.criteria import criterion
from models.active.learner import terrain
from models.active.oracle import SimulatedOracle
from models.active.situation import Terrain
from models.active.student import Student
from models.data.graphs import load

NAME = "igp"
ACCOUNTS = ("questions", "bits")
BUDGETS = np.arange(2, 21)
STEPS = 2
ENOUGH = 0.95
POOL = 0.8
BASELINES = ("random", "degree", "pagerank", "entropy", "age", "featprop", "grain")
Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """A criterion, and what it asks."""

    criterion: str
    query: Query

    @property
    def name(self) -> str:
        return f"{self.criterion}, {self.query}"


IGP = Method("igp", "either")
RIVALS = tuple(Method(name, "exact") for name in BASELINES)
ABLATIONS = (
    Method("igp", "relaxed"),
    Method("igp", "exact"),
    Method("entropy", "relaxed"),
    Method("random", "relaxed"),
)


@dataclass(frozen=True)
class Scale:
    """How much is run."""

    seeds: int
    ablations: bool = True
    datasets: Sequence[str] = ("cora", "citeseer", "pubmed")


FULL, QUICK = Scale(10), Scale(2, ablations=False)


@dataclass(frozen=True)
class Trace:
    """A campaign as it went.

    Attributes:
        spent: (rounds + 1,) by the end of each round, from 0.
        accuracy: (rounds + 1,) on the test nodes.
        exact: what one exact label for each class would have cost.
    """

    spent: Curve
    accuracy: Curve
    exact: float

    def at(self) -> Curve:
        """(budgets,) accuracy where each of BUDGETS is spent as far as whole batches go."""
        budgets = BUDGETS * self.exact
        return self.accuracy[np.searchsorted(self.spent, budgets + 1e-6, side="right") - 1]

    def until(self, accuracy: float) -> float:
        """What it cost to get so far; the largest budget where it never did within it."""
        most = float(BUDGETS[-1] * self.exact)
        there = np.flatnonzero(self.accuracy >= accuracy)
        return min(most, float(self.spent[there[0]])) if len(there) else most


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    found = arguments(NAME, "Does IGP learn more from the same budget than other ways to choose?", argv)
    scale = scale or (QUICK if found.quick else FULL)
    result = Result(NAME, found.command)
    for name in scale.datasets:
        _compare(name, scale, result)
    publish(result, found.json)


def _compare(dataset: str, scale: Scale, result: Result) -> None:
    """One data set: all methods, and IGP against the best of the baselines."""
    ground = terrain(load(dataset), STEPS)
    graph, student = ground.graph, Student(ground.features)
    everything = student.fit(ground.pool, np.eye(graph.n_classes)[graph.labels[ground.pool]])
    full = float(np.mean(everything[graph.test].argmax(axis=1) == graph.labels[graph.test]))
    methods = (IGP, *RIVALS, *(ABLATIONS if scale.ablations else ()))
    grounds = [_drawn(ground, seed) for seed in range(scale.seeds)]
    for account in ACCOUNTS:
        traces = {
            method: [_trace(drawn, student, method, account, seed) for seed, drawn in enumerate(grounds)]
            for method in methods
        }
        result.rows += [_row(dataset, account, method, traces[method], full) for method in methods]
        best = max(RIVALS, key=lambda method: _area(traces[method]).mean())
        gains = 100 * (_area(traces[IGP]) - _area(traces[best]))
        gain = "auc_gain_vs_best_baseline"
        figures = dict(zip((gain, f"{gain}_low", f"{gain}_high"), interval(gains.tolist()), strict=True))
        for label, method in (("igp", IGP), ("best_baseline", best)):
            figures[f"queries_to_95_percent_{label}"] = _median_cost(traces[method], full)
        result.headline |= {f"{dataset}_{account}_{figure}": value for figure, value in figures.items()}


def _drawn(ground: Terrain, seed: int) -> Terrain:
    """A seed's part of the pool."""
    count = round(POOL * len(ground.pool))
    return ground.within(np.sort(np.random.default_rng(seed).choice(ground.pool, count, replace=False)))


def _trace(ground: Terrain, student: Student, method: Method, account: str, seed: int) -> Trace:
    """Run one campaign up to the largest budget."""
    graph = ground.graph
    campaign = Campaign(
        ground,
        criterion(method.criterion),
        student,
        SimulatedOracle(graph.labels, graph.n_classes),
        method.query,
        batch=graph.n_classes,
        account=account,
        seed=seed,
    )
    exact = graph.n_classes * exact_price(account, graph.n_classes)
    spent, accuracy = [0.0], [campaign.accuracy(graph.test)]
    # Who can pay a batch of the dearest and buys none has nothing left to ask.
    while spent[-1] < BUDGETS[-1] * exact and campaign.purse < exact:
        campaign.earn(campaign.batch)
        if campaign.spent > spent[-1]:
            spent.append(campaign.spent)
            accuracy.append(campaign.accuracy(graph.test))
    return Trace(np.array(spent), np.array(accuracy), exact)


def _area(traces: Sequence[Trace]) -> Curve:
    """(seeds,) mean accuracy over the budgets."""
    return np.array([trace.at().mean() for trace in traces])


def _median_cost(traces: Sequence[Trace], full: float) -> float:
    return float(np.median([trace.until(ENOUGH * full) for trace in traces]))


def _row(dataset: str, account: str, method: Method, traces: Sequence[Trace], full: float) -> dict[str, Cell]:
    area = _area(traces)
    curve = np.mean([trace.at() for trace in traces], axis=0)
    shown = {f"at {budget}C": float(curve[budget - BUDGETS[0]]) for budget in (2, 5, 10, 20)}
    return {
        "data": dataset,
        "account": account,
        "method": method.name,
        "AUC": float(area.mean()),
        "deviation": float(area.std()),
        **shown,
        "to 95%": _median_cost(traces, full),
        "full": full,
    }


if __name__ == "__main__":
    main()
