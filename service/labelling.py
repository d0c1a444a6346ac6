"""Labellings: what to ask people next. Graphs are read and models fitted here, so none of it on the event loop."""

from __future__ import annotations

from sqlalchemy import Engine

from models.active import human
from models.active.human import Answer, Plan, Question
from models.data.graphs import Graph, load
from service.store import labelling as store
from service.store.errors import WrongField
from service.store.request_keys import RequestKey
from tunewright.errors import WorkloadError
from tunewright.labelling_views import (
    FeatureView,
    LabellingSpec,
    LabellingView,
    LabelsView,
    NeighbourView,
    NextQuestion,
    NodeLabel,
    QuestionView,
)


def begin(engine: Engine, project: str, spec: LabellingSpec, key: RequestKey | None) -> LabellingView:
    """Check a labelling against its graph, and keep it.

    Raises:
        WrongField: the graph cannot be had, or has another number of classes than were named.
        Conflict: the key was used for another request.
    """
    graph = _graph(spec)
    if spec.classes and len(spec.classes) != graph.n_classes:
        raise WrongField(
            "classes",
            f"classes: {len(spec.classes)} names for the {graph.n_classes} classes of {graph.name}; "
            "give one for each, or none",
        )
    if len(set(spec.classes)) < len(spec.classes):
        raise WrongField("classes", "classes: a name stands twice; give each class a name of its own")
    classes = spec.classes or [f"class {number}" for number in range(graph.n_classes)]
    return store.create(engine, project, spec, classes, key)


def following(engine: Engine, labelling_id: str) -> NextQuestion:
    """The first open question; a new batch is chosen when there is none.

    Raises:
        NotFound: there is no such labelling.
        WrongField: the graph cannot be had any more.
    """
    labelling = store.view(engine, labelling_id)
    graph, plan = _graph(labelling.spec), _plan(labelling.spec)
    asked = store.questions(engine, labelling_id)
    if all(question.answer is not None for question in asked):
        # Where somebody else was faster, their batch is the same, or was chosen from more answers.
        store.add(engine, labelling_id, len(asked), human.following(graph, plan, asked))
        asked = store.questions(engine, labelling_id)
    number = next((place for place, question in enumerate(asked) if question.answer is None), None)
    shown = None if number is None else _shown(graph, plan, labelling.classes, asked, number)
    return NextQuestion(labelling=store.view(engine, labelling_id), question=shown)


def answer(engine: Engine, labelling_id: str, number: int, said: Answer, *, replace: bool) -> NextQuestion:
    """Keep an answer, and give the next question.

    Raises:
        NotFound, WrongField, Conflict: as the store's `answer`.
    """
    store.answer(engine, labelling_id, number, said, replace=replace)
    return following(engine, labelling_id)


def labels(engine: Engine, labelling_id: str) -> LabelsView:
    """What the answers have made known.

    Raises:
        NotFound: there is no such labelling.
        WrongField: the graph cannot be had any more.
    """
    labelling = store.view(engine, labelling_id)
    graph, plan = _graph(labelling.spec), _plan(labelling.spec)
    known = human.knowledge(graph, plan, store.questions(engine, labelling_id))
    items = [
        NodeLabel(node=node, class_name=labelling.classes[label])
        for node, label in enumerate(known.label)
        if label >= 0
    ]
    return LabelsView(items=items, contradictions=known.contradictions)


def _graph(spec: LabellingSpec) -> Graph:
    try:
        return load(spec.dataset, classes=len(spec.classes) or None)
    except WorkloadError as error:
        raise WrongField("dataset", str(error).removeprefix("data.")) from error


def _plan(spec: LabellingSpec) -> Plan:
    return Plan(spec.criterion, spec.batch, spec.steps, spec.penalty, spec.from_train, spec.seed)


def _shown(graph: Graph, plan: Plan, classes: list[str], asked: list[Question], number: int) -> QuestionView:
    question = asked[number]
    known = human.knowledge(graph, plan, asked)
    return QuestionView(
        number=number,
        node=question.node,
        class_name=classes[question.label],
        likelihood=question.belief[question.label],
        features=[FeatureView(column=column, value=value) for column, value in human.features_of(graph, question.node)],
        neighbours=[
            NeighbourView(node=node, class_name=None if label is None else classes[label])
            for node, label in human.neighbours_of(graph, question.node, known)
        ],
    )
