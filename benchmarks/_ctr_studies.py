"""Studies of click-through models in this process: Hyper-Tune decides, real models train, one leg after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks._legs import run_legs
from models.data._click_table import Clicks
from models.recsys.ctr.learner import CtrLearner
from models.recsys.ctr.measures import auc
from models.recsys.ctr.space import ctr_space, joined, restricted
from optimizers import registry
from optimizers.protocol import Job, Problem
from tunewright.space import Config
from tunewright.study import Fidelity, Objective

AUC = Objective(metric="auc", direction="maximize")


@dataclass(frozen=True, eq=False)
class Found:
    """A whole training.

    Attributes:
        valid_auc: what it was chosen by.
        test: (n,) log-odds of the test rows.
    """

    config: Config
    valid_auc: float
    test_auc: float
    parameters: float
    latency_ms: float
    test: NDArray[np.float32]


@dataclass(frozen=True)
class Course:
    """What all studies of a table share.

    Attributes:
        chunks: of a whole training.
        chunk_rows: rows of a chunk.
        budget: chunks of each study; the legs that are running when it is spent are finished.
    """

    table: Clicks
    chunks: int
    chunk_rows: int
    budget: int

    def study(
        self, fixed: Config, seed: int, starts: Sequence[Config] = (), objectives: Sequence[Objective] = (AUC,)
    ) -> list[Found]:
        """Search what `fixed` leaves open; whole trainings, the one that is best on the validation rows first.

        Args:
            starts: whole configurations to be tried first; their fixed parameters are left out.
            objectives: AUC, and constraints.
        """
        whole = ctr_space(self.table.fields)
        space = restricted(whole, fixed)
        fidelity = Fidelity(name="chunks", max=self.chunks)
        optimizer = registry.create("hypertune", {}, Problem(space, objectives, fidelity, seed=seed))
        for start in starts:
            optimizer.enqueue({name: value for name, value in start.items() if name in space.names})
        learners: dict[int, CtrLearner] = {}
        measured: dict[int, Mapping[str, float]] = {}
        spent = 0

        def step(job: Job, resource: int) -> Mapping[str, float] | None:
            nonlocal spent
            if job.trial not in learners:
                learners[job.trial] = self.learner(joined(whole, fixed, job.config), seed)
            spent += 1
            metrics = learners[job.trial].step(resource)
            if not np.isfinite([metrics["auc"], metrics["log_loss"]]).all():
                return None
            if resource == self.chunks:
                measured[job.trial] = metrics
            return metrics

        run_legs(optimizer, step, lambda: spent < self.budget)
        found = [
            self._found(joined(whole, fixed, optimizer.trials[t].config), learners[t], measured[t]) for t in measured
        ]
        return sorted(found, key=lambda one: -one.valid_auc)

    def learner(self, config: Config, seed: int) -> CtrLearner:
        """A new training."""
        return CtrLearner(config, self.table, seed=seed, chunk_rows=self.chunk_rows)

    def trained(self, config: Config, seed: int, pairs: Sequence[tuple[int, int]] | None = None) -> Found:
        """One whole training of a configuration."""
        learner = CtrLearner(config, self.table, seed=seed, chunk_rows=self.chunk_rows, pairs=pairs)
        for chunk in range(1, self.chunks):
            learner.learn(chunk)
        return self._found(config, learner, learner.step(self.chunks))

    def _found(self, config: Config, learner: CtrLearner, metrics: Mapping[str, float]) -> Found:
        odds = learner.scores("test")
        judged = auc(odds, self.table.labels[self.table.rows("test")])
        return Found(config, metrics["auc"], judged, metrics["parameters"], metrics["latency_ms"], odds)


def difference(
    table: Clicks, ours: Sequence[Found], theirs: Sequence[Found], resamples: int = 300
) -> tuple[float, float, float]:
    """Mean test AUC of ours less that of theirs, and its 95% interval over seeds and test rows (paired bootstrap).

    Args:
        ours, theirs: one whole training for each seed, in the same order.
    """
    rng = np.random.default_rng(0)
    labels = table.labels[table.rows("test")]
    drawn: list[float] = []
    while len(drawn) < resamples:
        rows = rng.integers(len(labels), size=len(labels))
        if 0 < labels[rows].sum() < len(rows):
            seeds = rng.integers(len(ours), size=len(ours))
            gains = [
                auc(ours[seed].test[rows], labels[rows]) - auc(theirs[seed].test[rows], labels[rows]) for seed in seeds
            ]
            drawn.append(float(np.mean(gains)))
    mean = float(np.mean([a.test_auc - b.test_auc for a, b in zip(ours, theirs, strict=True)]))
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return mean, low, high
