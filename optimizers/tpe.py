"""TPE: the tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011)."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from optimizers.evidence import figure
from optimizers.protocol import Problem
from optimizers.whole_trials import Choice, WholeTrials, WholeTrialsSettings

# Good trials are never more, so that the model stays sharp in a long study.
_MAX_GOOD = 25


class TpeSettings(WholeTrialsSettings):
    """Settings of TPE."""

    good_share: float = Field(default=0.1, gt=0, lt=1, description="Share of trials that count as good; 25 at most.")
    candidates: int = Field(default=24, ge=1, le=1000, description="Draws from the good, of which the best is tried.")
    multivariate: bool = Field(default=True, description="Model parameters together rather than one by one.")
    prior_weight: float = Field(default=1.0, gt=0, le=100, description="Weight of the uniform prior, in trials.")


class Tpe(WholeTrials):
    """Divides the trials into good and bad ones, models where each kind lies, and trains whole the configuration that
    is most typical of the good and least of the bad. Decides in milliseconds however many trials there are, and takes
    categorical and conditional parameters as they come. Running trials count as bad, so that parallel ones spread out.
    """

    name: ClassVar[str] = "tpe"
    settings_model: ClassVar[type[TpeSettings]] = TpeSettings

    def __init__(self, problem: Problem, settings: TpeSettings | None = None) -> None:
        self._own = settings or TpeSettings()
        super().__init__(problem, self._own)

    def _choose(self, rng: np.random.Generator) -> Choice | None:
        """Of some draws from the good the one with the largest density ratio (section 4, equation 5)."""
        from optimizers.kde import Kernels, Mixture, best_draw, even_width, gap_width

        rows, weights = self._evidence.ranked(rng)
        count = min(math.ceil(self._own.good_share * self._evidence.measured), _MAX_GOOD)
        points, active = self._bad(rows[count:], rng)
        good, good_active = self._evidence.points[rows[:count]], self._evidence.active[rows[:count]]
        kernels, prior, joint = Kernels(self.problem.space), self._own.prior_weight, self._own.multivariate

        def mixture(points: NDArray[np.float64], active: NDArray[np.bool_]) -> Mixture:
            even = even_width(kernels, len(points), 0.2, prior)
            return Mixture(kernels, points, active, even if joint else gap_width(kernels, points, active, prior), prior)

        likely, unlikely = mixture(good, good_active), mixture(points, active)

        def log_ratio(x: NDArray[np.float64], on: NDArray[np.bool_]) -> NDArray[np.float64]:
            if joint:
                return likely.log_joint(x, on) - unlikely.log_joint(x, on)
            return np.asarray((likely.log_marginals(x, on) - unlikely.log_marginals(x, on)).sum(axis=1))

        drawn = likely.draw(self._own.candidates, joint, rng)
        best = best_draw(self.problem.space, drawn, log_ratio, self._starts.tried)
        if best is None:
            return self._draw(rng, "no new candidate")
        config, ratio = best
        why = {"rule": "density ratio", "log_ratio": figure(ratio), "good": count, "of": len(rows)}
        return Choice(config, {**why, **weights})

    def _bad(self, rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Points, and which coordinates count, of a sample of the bad trials and of all that run."""
        from optimizers.kde import sample_size

        room = sample_size(self.problem.space.dimension)
        if len(rows) > room:
            rows = rng.choice(rows, room, replace=False)
        points, active = self._pending()
        return (
            np.concatenate([self._evidence.points[rows], points]),
            np.concatenate([self._evidence.active[rows], active]),
        )
