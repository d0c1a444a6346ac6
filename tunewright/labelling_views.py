"""Labellings, in which people answer a model's questions about a graph's nodes: the JSON of the REST API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tunewright._view import View
from tunewright.access import ProjectName
from tunewright.errors import SpecError

Answered = Literal["yes", "no", "skip"]


def _plain(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise SpecError("it holds control characters, or blanks around it; write it plainly")
    return name


ClassName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_plain)]


class LabellingSpec(BaseModel):
    """A labelling as it is asked for.

    Attributes:
        dataset: a graph of the catalogue, or `file:/path/graph.npz` on the service's machine.
        classes: a name for each of the graph's classes, in order; none to call them by number, where its labels tell
            how many there are.
        criterion: how nodes are chosen: igp, or one of what it is compared with.
        batch: questions chosen together, before the model learns from the answers.
        steps: of propagation along edges.
        penalty: how strongly the model is kept simple.
        from_train: whether the classes of the graph's training nodes are known from the start.
        seed: of what is drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(min_length=1, max_length=1000)
    classes: list[ClassName] = Field(default=[], max_length=1000)
    criterion: Literal["igp", "random", "degree", "pagerank", "entropy", "age", "featprop", "grain"] = "igp"
    batch: int = Field(default=8, ge=1, le=100)
    steps: int = Field(default=2, ge=1, le=3)
    penalty: float = Field(default=0.2, ge=1e-4, le=100.0)
    from_train: bool = False
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    project: ProjectName | None = None


class AnswerSent(BaseModel):
    """An answer on its way in.

    Attributes:
        question: its number.
        replace: whether an answer that was given before may be changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: int = Field(ge=0, le=2**31 - 1)
    answer: Answered
    replace: bool = False


class LabellingView(View):
    """A labelling and how far it is.

    Attributes:
        answers: how many of each kind were given.
    """

    id: str
    project: str
    spec: LabellingSpec
    classes: list[str]
    answers: dict[Answered, int]
    created_at: datetime


class FeatureView(View):
    """One of the node's largest features: its column and value."""

    column: int
    value: float


class NeighbourView(View):
    """A node beside the one that is asked about, and its class where that is known."""

    node: int
    class_name: str | None


class QuestionView(View):
    """Is this node of this class?

    Attributes:
        likelihood: how likely the model held it to be when it chose the question.
    """

    number: int
    node: int
    class_name: str
    likelihood: float
    features: list[FeatureView]
    neighbours: list[NeighbourView]


class NextQuestion(View):
    """The first question without an answer; None when there is nothing left to ask."""

    labelling: LabellingView
    question: QuestionView | None


class NodeLabel(View):
    node: int
    class_name: str


class LabelsView(View):
    """The nodes whose class the answers have made known, by number.

    Attributes:
        contradictions: nodes left out because answers about them cannot all be true.
    """

    items: list[NodeLabel]
    contradictions: int
