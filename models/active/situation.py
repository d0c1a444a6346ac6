"""What a criterion may look at when it chooses what to ask next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.active.influence import influence
from models.active.knowledge import Distributions, Knowledge, Nodes
from models.active.student import propagated
from models.data.graph import Graph


@dataclass(frozen=True, eq=False)
class Terrain:
    """What stays the same during a campaign; costly parts are computed when they are first looked at.

    Attributes:
        pool: nodes that may be asked about, ascending.
        steps: of propagation, for features and influence.
    """

    graph: Graph
    pool: Nodes
    steps: int

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """(n, d) propagated features."""
        return propagated(self.graph, self.steps)

    @cached_property
    def influence(self) -> Any:
        """(n, n) sparse by columns: influence of each column's node on each row's."""
        return influence(self.graph, self.steps)

    def within(self, pool: Nodes) -> Terrain:
        """The same ground with another pool; what is costly is shared."""
        other = replace(self, pool=pool)
        vars(other).update(features=self.features, influence=self.influence)
        return other


@dataclass(frozen=True, eq=False)
class Situation:
    """Where a campaign stands.

    Attributes:
        belief: (n, C) the model's distributions with all answers put in.
        round: batches bought so far.
        random: for this choice alone.
        exact: (n,) of which nodes the class would be asked for, and no yes or no to the likeliest one; None: of none.
        price: what a class costs where a yes or no costs 1.
    """

    terrain: Terrain
    knowledge: Knowledge
    belief: Distributions
    round: int
    random: np.random.Generator
    exact: NDArray[np.bool_] | None = None
    price: float = 1.0

    @cached_property
    def candidates(self) -> Nodes:
        """Nodes of the pool that are open, ascending."""
        pool = self.terrain.pool
        return pool[self.knowledge.open[pool]]


class Criterion(Protocol):
    """Chooses what to ask about."""

    def __call__(self, situation: Situation, count: int) -> Nodes:
        """So many of the candidates, different ones; all of them where there are fewer."""
