"""The criteria by name: IGP, and what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.active import baselines
from models.active.gain import certainty, entropy, greedy_cover, information_gain, unexplained
from models.active.knowledge import Nodes
from models.active.situation import Criterion, Situation
from tunewright.errors import WorkloadError


def igp(situation: Situation, count: int) -> Nodes:
    """Information gain propagation (IGP, section 3.3): the batch whose answers remove the most entropy from all nodes.

    Where answers differ in their price, for it: nodes are taken one by one, each the one that removes most for its own.

    Asking node i is expected to remove the share IG_i / H_i of its entropy. It removes that share times i's influence
    from the entropy of each node that i reaches, and what several answers remove of one node adds up as independent
    chances do: sum over u of H_u (1 - prod over i in the batch of (1 - influence_ui IG_i / H_i)). So do the answers
    that there are: as far as a node's class is known, its share of others is explained already, whatever the model
    makes of them yet. Who is told the class has nothing left to learn of the node: IG_i is H_i where that is asked.
    """
    belief, reach = situation.belief, situation.terrain.influence
    entropies = entropy(belief)
    exact = np.zeros(len(belief), np.bool_) if situation.exact is None else situation.exact
    gain = np.where(exact, entropies, information_gain(belief))
    share = np.divide(gain, entropies, out=np.zeros_like(entropies), where=entropies > 0)
    price = np.where(exact, situation.price, 1.0)
    told, _ = situation.knowledge.targets()
    left = entropies * unexplained(reach, told, certainty(belief[told]))
    return greedy_cover(reach, left, np.minimum(share, 1.0), situation.candidates, count, price)


CRITERIA: Mapping[str, Criterion] = {
    "igp": igp,
    "random": baselines.random,
    "degree": baselines.degree,
    "pagerank": baselines.pagerank,
    "entropy": baselines.uncertainty,
    "age": baselines.age,
    "featprop": baselines.featprop,
    "grain": baselines.grain,
}


def criterion(name: str) -> Criterion:
    """The criterion of a name.

    Raises:
        WorkloadError: none has this name.
    """
    if name not in CRITERIA:
        raise WorkloadError(f"criterion: {name!r} is unknown; known: {', '.join(CRITERIA)}")
    return CRITERIA[name]
