"""BOHB: Hyperband whose configurations come from kernel densities (Falkner et al., ICML 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from optimizers.evidence import Evidence, figure
from optimizers.protocol import Earlier, Job, JobEnd, Problem, Trial
from optimizers.synchronous import Hyperband, HyperbandSettings
from tunewright.space import Config

# Log density below which points are equally unlikely; 1e-32, as in the authors' code.
_FLOOR = math.log(1e-32)


class BohbSettings(HyperbandSettings):
    """Settings of BOHB."""

    random_share: float = Field(default=1 / 3, ge=0, le=1, description="Share of trials drawn at random, as insurance.")
    good_share: float = Field(default=0.15, gt=0, lt=1, description="Share of a rung's trials that count as good.")
    candidates: int = Field(default=64, ge=1, le=1000, description="Draws from the good, of which the best is tried.")
    stretch: float = Field(default=3.0, ge=1, le=100, description="By how much draws are spread wider than the model.")


class Bohb(Hyperband):
    """Hyperband that learns: new configurations are drawn where the good ones of the highest rung with enough results
    lie and the bad ones do not. Rungs are compared once all their trials have ended, as in Hyperband. The baseline of
    multi-fidelity search.
    """

    name: ClassVar[str] = "bohb"
    settings_model: ClassVar[type[BohbSettings]] = BohbSettings

    def __init__(self, problem: Problem, settings: BohbSettings | None = None) -> None:
        self._own = settings or BohbSettings()
        super().__init__(problem, self._own)
        self._evidence = [Evidence(problem) for _ in self.levels]
        # A mixture needs more points than there are dimensions (section 4.1).
        self._least = problem.space.dimension + 1

    def _start(self) -> Job | None:
        if not self.may_start_trial:
            return None
        config, why = self._choose(self.rng(1, len(self.jobs)))
        if config is None and not self.queue:
            return None
        number, first = self._open_bracket()
        return self._new_trial(
            config or {}, self.levels[first], rung=first, bracket=first, why={**why, "iteration": number}
        )

    def _choose(self, rng: np.random.Generator) -> tuple[Config | None, dict[str, Any]]:
        """Of some draws from the good the one with the largest density ratio (algorithm 2)."""
        from optimizers.kde import Kernels, Mixture, best_draw, reference_width, sample_size

        index = len(self.trials)
        rung = self._informed_rung()
        if rung is None or self._starts.default_waits:
            return self._starts.propose(index, self.rng(0, len(self.jobs))), {"rule": "new trial", "number": index}
        if rng.random() < self._own.random_share:
            return self._starts.draw(rng), {"rule": "random share"}
        evidence = self._evidence[rung]
        rows, weights = evidence.ranked(rng)
        room = sample_size(self.problem.space.dimension)
        count = max(self._least, math.floor(self._own.good_share * evidence.measured))
        bad = rows[-max(self._least, len(rows) - count) :]
        # HpBandSter's model grows with the study instead, and with it the time of every decision.
        good, bad = (
            rng.choice(part, room, replace=False) if len(part) > room else part for part in (rows[:count], bad)
        )
        kernels = Kernels(self.problem.space)
        likely, unlikely = (
            Mixture(kernels, points, active, reference_width(kernels, points, active), prior=0.0)
            for points, active in ((evidence.points[r], evidence.active[r]) for r in (good, bad))
        )
        drawn = likely.draw(self._own.candidates, True, rng, self._own.stretch)
        best = best_draw(
            self.problem.space,
            drawn,
            lambda x, on: np.maximum(likely.log_joint(x, on), _FLOOR) - np.maximum(unlikely.log_joint(x, on), _FLOOR),
            self._starts.tried,
        )
        if best is None:
            return self._starts.draw(rng), {"rule": "no new candidate"}
        config, ratio = best
        why = {"rule": "density ratio", "log_ratio": figure(ratio), "model_rung": rung}
        return config, {**why, "good": count, "of": len(rows), **weights}

    def _informed_rung(self) -> int | None:
        """The highest rung with enough results for a model of the good and one of the bad."""
        enough = self._least + 2
        return next((k for k in reversed(range(len(self.levels))) if self._evidence[k].measured >= enough), None)

    def _on_warm_start(self, earlier: Sequence[Earlier]) -> None:
        for trial in earlier:
            for level, evidence in zip(self.levels, self._evidence, strict=True):
                if level in trial.reports and not trial.failed:
                    evidence.add(trial.config, trial.reports[level])
        self._starts.learn(trial.config for trial in earlier)

    def _on_finish(self, job: Job, trial: Trial, end: JobEnd) -> None:
        super()._on_finish(job, trial, end)
        if trial.failed and job.rung is not None:
            self._evidence[job.rung].add(trial.config, None)

    def _measure(self, trial: Trial, k: int) -> None:
        super()._measure(trial, k)
        metrics = trial.reports.get(self.levels[k])
        if metrics is not None:
            self._evidence[k].add(trial.config, metrics)
