"""Imports: a document as `tunewright.document` describes it becomes a study that is over."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, TextIO, TypeVar

from pydantic import BaseModel, ValidationError
from sqlalchemy import Engine

from optimizers.errors import OptimizerError
from optimizers.protocol import Job, JobEnd, Report
from service import json_stream
from service.problems import field_problems
from service.store.imports import StudyImport
from service.store.repository import new_id
from service.workload_catalog import ONE_STEP
from tunewright.document import (
    LISTS,
    DocumentEarlier,
    DocumentHead,
    DocumentImprovement,
    DocumentQueued,
    DocumentTrial,
)
from tunewright.errors import SpecError
from tunewright.study import EXTERNAL, Resources, StudySpec
from workers.study_runner import make_optimizer

M = TypeVar("M", bound=BaseModel)

_ITEMS: dict[str, type[DocumentEarlier] | type[DocumentQueued] | type[DocumentImprovement] | type[DocumentTrial]] = {
    "earlier": DocumentEarlier,
    "queue": DocumentQueued,
    "improvements": DocumentImprovement,
    "trials": DocumentTrial,
}


def import_document(engine: Engine, source: TextIO, project: str) -> str:
    """Store the study that a document describes; returns its new id. Memory does not grow with the document.

    Raises:
        SpecError: the document is wrong; names the place and what to do. Nothing of it is stored.
        BadBody: it is not strict JSON.
    """
    parts = json_stream.members(source, LISTS)
    head, first = _head(parts)
    spec = _complete(head.study.spec).model_copy(update={"project": project})
    study = StudyImport(engine, new_id(), spec, project)
    study.begin()
    try:
        for name, place, value in _items(chain(first, parts)):
            item = _read(_ITEMS[name], value, f"{name}.{place}")
            study.add(item)
            # Afterwards: it is one of the space by now, with all objectives, as the optimizer takes for granted.
            if isinstance(item, DocumentTrial) and place == 0:
                _require_continuable(spec, item)
        study.finish(head.study)
    except BaseException:
        study.abandon()
        raise
    return study.study_id


def _head(parts: Iterator[tuple[str, Any]]) -> tuple[DocumentHead, list[tuple[str, Any]]]:
    """What stands before the lists, and the first item of them, if there is one."""
    found: dict[str, Any] = {}
    first = []
    for name, value in parts:
        if name in LISTS:
            first = [(name, value)]
            break
        if name not in DocumentHead.model_fields:
            # From a newer release. It is not kept: it may be large.
            continue
        if name in found:
            raise SpecError(f"{name}: it stands twice; remove one")
        found[name] = value
    if found.get("format") != "tunewright-study":
        raise SpecError(
            'format: this is no exported study, which begins with "format": "tunewright-study"; '
            "format, version and study stand before the lists"
        )
    if found.get("version") != 1:
        raise SpecError(f"version: {found.get('version')!r} is not known here, 1 is; use a newer release")
    return _read(DocumentHead, found, ""), first


def _items(parts: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, int, Any]]:
    """Lists' items with their places; whatever else there is comes from a newer release."""
    counted = dict.fromkeys(LISTS, 0)
    last = ""
    for name, value in parts:
        if name not in LISTS:
            continue
        if name != last and counted[name]:
            raise SpecError(f"{name}: the list stands twice; make one of them")
        yield name, counted[name], value
        counted[name] += 1
        last = name


def _read(model: type[M], value: Any, where: str) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problem = field_problems(error)[0]
        place = ".".join(part for part in (where, problem.field) if part)
        raise SpecError(f"{place}: {problem.message}") from None


def _complete(spec: StudySpec) -> StudySpec:
    """The specification as it is kept: nothing is asked of the workload, which need not be here."""
    external = spec.workload == EXTERNAL
    spec = spec.model_copy(
        update={
            "warm_start": [],
            "fidelity": spec.fidelity or (ONE_STEP if external else None),
            "resources": None if external else spec.resources or Resources(),
        }
    )
    for name in ("space", "objectives", "fidelity"):
        if not getattr(spec, name):
            raise SpecError(f"study.spec.{name}: it is missing; an imported study says what it searched")
    make_optimizer(spec)
    return spec


def _require_continuable(spec: StudySpec, trial: DocumentTrial) -> None:
    """Refuse an optimizer that cannot go on from a trial that says nothing of its jobs, before anybody extends it."""
    if trial.jobs:
        return
    assert spec.fidelity is not None
    optimizer = make_optimizer(spec)
    try:
        optimizer.replay(Job(0, 0, dict(trial.config), 0.0, spec.fidelity.max))
        for report in trial.reports:
            optimizer.observe(Report(0, 0, report.resource, report.metrics))
        optimizer.finish(0, JobEnd.COMPLETED)
    except (OptimizerError, AssertionError) as error:
        raise SpecError(
            f"study.spec.optimizer: {spec.optimizer.name} cannot go on from trials whose jobs it did not plan; "
            "choose random, tpe or bayes, or nsga2 for several objectives"
        ) from error
