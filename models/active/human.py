"""Active learning with people who answer in their own time: what to ask next, given all that was asked so far.

There is no campaign in memory here. Each question is kept with the model's opinion at the time, so that everything
that is known can be made again from the list of questions: whoever keeps that list loses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

from models.active.campaign import likeliest
from models.active.criteria import criterion
from models.active.knowledge import Knowledge
from models.active.situation import Situation, Terrain
from models.active.student import Student
from models.data.graph import UNKNOWN, Graph
from tunewright.errors import WorkloadError

# Of a node so many features and neighbours are shown.
SHOWN = 12


class Answer(StrEnum):
    """What somebody says to "is this node of this class?"."""

    YES = "yes"
    NO = "no"
    SKIP = "skip"


@dataclass(frozen=True)
class Question:
    """A question about one node.

    Attributes:
        label: the class that it is asked to be of.
        belief: the model's distribution over the classes when it was put.
        answer: None while it is open.
    """

    node: int
    label: int
    belief: tuple[float, ...]
    answer: Answer | None = None


@dataclass(frozen=True)
class Plan:
    """How a labelling chooses what to ask.

    Attributes:
        criterion: see `models.active.criteria`.
        batch: questions chosen together, before the model learns again.
        steps: of propagation.
        penalty: of the student.
        from_train: whether the classes of the graph's training nodes are known from the start.
        seed: of what is drawn.
    """

    criterion: str = "igp"
    batch: int = 8
    steps: int = 2
    penalty: float = 0.2
    from_train: bool = False
    seed: int = 0


def knowledge(graph: Graph, plan: Plan, asked: Sequence[Question]) -> Knowledge:
    """All that the answers amount to; a node that was skipped is set aside."""
    known = Knowledge(graph.n, graph.n_classes)
    if plan.from_train:
        for node in graph.train:
            known.reveal(int(node), int(graph.labels[node]))
    for question in asked:
        if question.answer is Answer.SKIP:
            known.set_aside(question.node)
        elif question.answer is not None:
            known.tell(question.node, question.label, question.answer is Answer.YES, np.array(question.belief))
    return known


def following(graph: Graph, plan: Plan, asked: Sequence[Question]) -> list[Question]:
    """The next batch: the same for the same list of questions; empty when there is nothing left to ask.

    Raises:
        WorkloadError: a question is about a node or class that the graph does not have, or the plan's criterion is
            unknown.
    """
    for question in asked:
        if not 0 <= question.node < graph.n or len(question.belief) != graph.n_classes:
            raise WorkloadError(
                f"data.dataset: {graph.name} is not the graph that was asked about, it has {graph.n} nodes of "
                f"{graph.n_classes} classes; put the former one back"
            )
    known = knowledge(graph, plan, asked)
    terrain = _terrain(graph, plan.steps)
    raw = Student(terrain.features, plan.penalty).fit(*known.targets())
    belief, random = known.narrowed(raw), np.random.default_rng([plan.seed, len(asked)])
    chosen = criterion(plan.criterion)(Situation(terrain, known, belief, len(asked) // plan.batch, random), plan.batch)
    labels = likeliest(belief[chosen], random)
    return [
        Question(int(node), int(label), tuple(float(share) for share in raw[node]))
        for node, label in zip(chosen, labels, strict=True)
    ]


@lru_cache(maxsize=2)
def _terrain(graph: Graph, steps: int) -> Terrain:
    """All nodes may be asked about; kept between batches, for propagation takes longer than to choose one."""
    return Terrain(graph, np.arange(graph.n), steps)


def features_of(graph: Graph, node: int) -> list[tuple[int, float]]:
    """The node's features of the largest size, at most SHOWN: their columns and values."""
    row = graph.features[node]
    largest = np.argsort(-np.abs(row), kind="stable")[:SHOWN]
    return [(int(column), float(row[column])) for column in largest if row[column] != 0]


def neighbours_of(graph: Graph, node: int, known: Knowledge) -> list[tuple[int, int | None]]:
    """Neighbours, at most SHOWN, those of known class first: the node, and its class if it is known."""
    around = graph.indices[graph.indptr[node] : graph.indptr[node + 1]]
    found = [(int(other), int(known.label[other])) for other in around]
    found.sort(key=lambda pair: pair[1] == UNKNOWN)
    return [(other, None if label == UNKNOWN else label) for other, label in found[:SHOWN]]
