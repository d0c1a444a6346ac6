"""Rungs, brackets, and who may climb: what the whole Hyperband family shares.

Successive halving trains many configurations a little and the best of them more. A rung is a resource at which
they are compared; bracket b starts its configurations at rung b. Levels, sizes and rules are pure functions; a
`Rung` keeps its measurements in rank order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

from optimizers.errors import OptimizerError
from optimizers.rankings import Candidate, ParetoRanking, Ranking, ScalarRanking
from tunewright.study import Fidelity

PromotionRule: TypeAlias = Literal["eager", "delayed"]

# Below this, rungs lie so close that nearly all would be at one resource.
MIN_ETA = 1.1


def rung_levels(fidelity: Fidelity, eta: float) -> tuple[float, ...]:
    """Resources of the rungs, r_k = R * eta^-(K-1-k), lowest first (Li et al., Hyperband, JMLR 2018, section 3).

    No level lies below `fidelity.min`, the last is `fidelity.max`, and each is above the one before it, also after
    rounding to whole resources. One level alone is left where max is less than eta times min.

    Raises:
        OptimizerError: eta is below 1.1.
    """
    if not (math.isfinite(eta) and eta >= MIN_ETA):
        raise OptimizerError(f"optimizer.settings.eta: {eta} must be a finite number of at least {MIN_ETA}, such as 3")
    levels = [float(fidelity.max)]
    exponent = 1
    # The margin keeps 243 / 3**5 a whole rung in floating point.
    while (level := fidelity.max * eta**-exponent) >= fidelity.min * (1 - 1e-9):
        level = max(float(round(level)) if fidelity.integer else level, float(fidelity.min))
        if level < levels[-1]:
            levels.append(level)
        exponent += 1
    return tuple(reversed(levels))


def asha_promotes(rank: int, measured: int, eta: float) -> bool:
    """ASHA's rule: is this rank among the top 1/eta of its rung? (Li et al., ASHA, MLSys 2020, algorithm 2)

    Args:
        rank: 0 is the best of the rung, promoted ones counted.
        measured: configurations that have a result on the rung, failed ones included.
    """
    return rank < math.floor(measured / eta + 1e-9)


def asha_continues(rank: int, measured: int, eta: float) -> bool:
    """The rule of ASHA's stopping form, asked as a trial passes a rung: is it in the top 1/eta of those before it?

    The first of a rung has nobody to be worse than and goes on; so does the best of any number.

    Args:
        rank: 0 is the best of the rung.
        measured: configurations that have a result on the rung, this one included.
    """
    return rank * eta < measured * (1 - 1e-9)


def delayed_promotes(rank: int, measured: int, promoted: int, needed: float, eta: float) -> bool:
    """D-ASHA's rule (Hyper-Tune, section 4.2): ASHA's, and two bounds that make it wait.

    ASHA promotes as soon as someone is in the top 1/eta of a half-empty rung, and while later results push promoted
    ones out of the top it goes on promoting others: more than one in eta climbs. (P + 1) / C <= 1 / eta holds that
    share. C >= `needed` keeps a rung shut until its ranks mean something.

    Args:
        rank, measured: as in `asha_promotes`.
        promoted: how many have climbed from this rung.
        needed: see `rung_quorum`.
    """
    within = (promoted + 1) * eta <= measured * (1 + 1e-9)
    return within and measured >= needed * (1 - 1e-9) and asha_promotes(rank, measured, eta)


def rung_quorum(rung: int, rungs: int, eta: float) -> float:
    """Results that D-ASHA waits for on a rung: R * eta^-k, with R counted in resources of the lowest rung.

    That is eta^(K-1-k): as many as it takes for one of them to reach the top rung, if one in eta climbs each time.
    Written with K, it means the same for resources that do not start at 1.
    """
    return float(eta ** (rungs - 1 - rung))


def bracket_sizes(rungs: int, eta: float) -> tuple[int, ...]:
    """Configurations that Hyperband starts in each bracket, n_b = ceil(K / (K - b) * eta^(K-1-b)), b = 0 first.

    Every bracket then costs about the same: what it saves on early resource it has in fewer configurations
    (Li et al., Hyperband, JMLR 2018, algorithm 1).
    """
    return tuple(math.ceil(rungs / (rungs - b) * eta ** (rungs - 1 - b) * (1 - 1e-9)) for b in range(rungs))


def bracket_in_turn(number: int, sizes: Sequence[int]) -> int:
    """The bracket of the `number`-th new configuration when brackets are filled one after the other, for ever."""
    place = number % sum(sizes)
    for bracket, size in enumerate(sizes):
        if place < size:
            return bracket
        place -= size
    raise AssertionError("unreachable")


class Rung:
    """One resource level and what was measured there.

    Attributes:
        level: the resource.
        measured: trials with a result here, failed ones included: they count as the worst.
        failed: those among them that failed on their way here.
        promoted: trials that went on from here.
    """

    def __init__(self, level: float, objectives: int) -> None:
        self.level = level
        self.measured = 0
        self.failed = 0
        self.promoted = 0
        self._ranking: Ranking = ScalarRanking() if objectives == 1 else ParetoRanking()

    def add(self, trial: int, violation: float, losses: Sequence[float]) -> None:
        """A trial was measured; it waits for promotion."""
        self.measured += 1
        self._ranking.add(trial, violation, losses)

    def add_failed(self) -> None:
        """A trial failed on its way here; it ranks last and is never promoted."""
        self.measured += 1
        self.failed += 1

    def promote(self, trial: int) -> None:
        """A trial that waited goes on to the next rung."""
        self.promoted += 1
        self._ranking.remove_waiting(trial)

    def best_waiting(self) -> Candidate | None:
        """Whom to promote next, if the rule allows it."""
        return self._ranking.best_waiting()

    def rank(self, trial: int) -> int:
        """How many of those measured here, and not failed, stand before the trial."""
        return self._ranking.rank(trial)
