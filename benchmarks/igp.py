"""Does information gain propagation learn more from the same budget than other ways to choose what to label?

    python -m benchmarks.igp [--quick] [--json FILE]

Every method teaches the same student (logistic regression on features propagated twice, with soft labels) from a cold
start, in batches of as many nodes as there are classes, on the same pool: all nodes but the validation and test ones.
IGP asks for a yes or no to the likeliest class; the baselines buy exact labels. Budgets are 2 C to 20 C exact labels,
for C classes, in two accounts: in `questions` an exact label costs C - 1 yes-or-no answers, in `bits` log2 C.

auc_gain_vs_best_baseline  mean test accuracy over the budgets, in points: IGP's less that of the baseline whose mean
                           over all seeds is highest
..._low, ..._high          its 95% interval over the seeds, by Student's t
queries_to_95_percent      yes-or-no answers to 95% of the test accuracy that labels of the whole pool give (the
                           median of the seeds; the largest budget where it is not reached), by IGP and by the best
                           baseline in the account

Two rows are no baselines but show where the gain comes from: `entropy, relaxed` and `random, relaxed` put relaxed
questions to nodes that other criteria choose; `igp, exact` buys exact labels of the nodes that IGP would ask about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks._harness import Cell, Result, arguments, interval, publish
from models.active.campaign import Campaign, exact_price
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
BASELINES = ("random", "degree", "pagerank", "entropy", "age", "featprop", "grain")
Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """A criterion, and whether it puts relaxed questions."""

    criterion: str
    relaxed: bool

    @property
    def name(self) -> str:
        return f"{self.criterion}, {'relaxed' if self.relaxed else 'exact'}"


IGP = Method("igp", relaxed=True)
RIVALS = tuple(Method(name, relaxed=False) for name in BASELINES)
ABLATIONS = (Method("igp", relaxed=False), Method("entropy", relaxed=True), Method("random", relaxed=True))


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
        answers: (rounds + 1,) answers bought by the end of each round, from 0.
        accuracy: (rounds + 1,) on the test nodes.
        relaxed: whether the answers are a yes or no.
    """

    answers: Curve
    accuracy: Curve
    relaxed: bool

    def cost(self, account: str, n_classes: int) -> Curve:
        """(rounds + 1,) what had been spent by the end of each round."""
        return self.answers * (1.0 if self.relaxed else exact_price(account, n_classes))

    def at(self, account: str, n_classes: int) -> Curve:
        """(budgets,) accuracy where each of BUDGETS, in exact labels per class, is spent as far as whole batches go."""
        budgets = BUDGETS * n_classes * exact_price(account, n_classes)
        return self.accuracy[np.searchsorted(self.cost(account, n_classes), budgets + 1e-6, side="right") - 1]

    def until(self, accuracy: float, account: str, n_classes: int) -> float:
        """What it cost to get so far; the largest budget where it never did within it."""
        most = float(BUDGETS[-1] * n_classes * exact_price(account, n_classes))
        there = np.flatnonzero(self.accuracy >= accuracy)
        return min(most, float(self.cost(account, n_classes)[there[0]])) if len(there) else most


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
    traces = {method: [_trace(ground, student, method, seed) for seed in range(scale.seeds)] for method in methods}
    for account in ACCOUNTS:
        rows = {method: _row(dataset, account, method, traces[method], full, graph.n_classes) for method in methods}
        result.rows += rows.values()
        best = max(RIVALS, key=lambda method: _area(traces[method], account, graph.n_classes).mean())
        gains = 100 * (_area(traces[IGP], account, graph.n_classes) - _area(traces[best], account, graph.n_classes))
        gain = "auc_gain_vs_best_baseline"
        figures = dict(zip((gain, f"{gain}_low", f"{gain}_high"), interval(gains.tolist()), strict=True))
        for label, method in (("igp", IGP), ("best_baseline", best)):
            figures[f"queries_to_95_percent_{label}"] = _median_cost(traces[method], full, account, graph.n_classes)
        result.headline |= {f"{dataset}_{account}_{figure}": value for figure, value in figures.items()}


def _trace(ground: Terrain, student: Student, method: Method, seed: int) -> Trace:
    """Run one campaign up to the largest budget of the account in which it lasts longest."""
    graph = ground.graph
    campaign = Campaign(
        ground,
        criterion(method.criterion),
        student,
        SimulatedOracle(graph.labels, graph.n_classes),
        method.relaxed,
        batch=graph.n_classes,
        seed=seed,
    )
    labels = int(BUDGETS[-1]) * graph.n_classes
    wanted = labels * (graph.n_classes - 1) if method.relaxed else labels
    answers, accuracy = [0], [campaign.accuracy(graph.test)]
    while campaign.answers < wanted:
        campaign.earn(campaign.batch * campaign.price)
        if campaign.answers == answers[-1]:
            # Nothing is left to ask.
            break
        answers.append(campaign.answers)
        accuracy.append(campaign.accuracy(graph.test))
    return Trace(np.array(answers, dtype=np.float64), np.array(accuracy), method.relaxed)


def _area(traces: Sequence[Trace], account: str, n_classes: int) -> Curve:
    """(seeds,) mean accuracy over the budgets."""
    return np.array([trace.at(account, n_classes).mean() for trace in traces])


def _median_cost(traces: Sequence[Trace], full: float, account: str, n_classes: int) -> float:
    return float(np.median([trace.until(ENOUGH * full, account, n_classes) for trace in traces]))


def _row(
    dataset: str, account: str, method: Method, traces: Sequence[Trace], full: float, n_classes: int
) -> dict[str, Cell]:
    area = _area(traces, account, n_classes)
    curve = np.mean([trace.at(account, n_classes) for trace in traces], axis=0)
    shown = {f"at {budget}C": float(curve[budget - BUDGETS[0]]) for budget in (2, 5, 10, 20)}
    return {
        "data": dataset,
        "account": account,
        "method": method.name,
        "AUC": float(area.mean()),
        "deviation": float(area.std()),
        **shown,
        "to 95%": _median_cost(traces, full, account, n_classes),
        "full": full,
    }


if __name__ == "__main__":
    main()
