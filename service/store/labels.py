"""What people say of studies and trials: names, tags, notes, priorities. They may change it at any time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from service.store.tables import StudyRow, TagRow, TrialNoteRow
from tunewright.study import StudySpec


def columns(spec: StudySpec) -> dict[str, Any]:
    """Columns of a study's row that repeat what its specification says, for lists."""
    return {"name": spec.name, "priority": spec.priority, "tags": list(spec.tags)}


def tag(connection: Connection, study_id: str, spec: StudySpec) -> None:
    """Make a study be found by its tags, and by no others."""
    connection.execute(delete(TagRow).where(TagRow.study_id == study_id))
    if spec.tags:
        connection.execute(insert(TagRow), [{"study_id": study_id, "tag": tag} for tag in spec.tags])


def tagged(tag: str) -> ColumnElement[bool]:
    """Whether a study has a tag."""
    return StudyRow.id.in_(select(TagRow.study_id).where(TagRow.tag == tag))


def change(connection: Connection, study: Row[Any], changes: Mapping[str, Any]) -> list[str]:
    """Change fields of a study that the caller holds; returns which of them are different now."""
    before = StudySpec.model_validate(study.spec)
    after = before.model_copy(update=dict(changes))
    different = [name for name in changes if getattr(before, name) != getattr(after, name)]
    if different:
        connection.execute(
            update(StudyRow)
            .where(StudyRow.id == study.id)
            .values(spec=after.model_dump(mode="json"), revision=StudyRow.revision + 1, **columns(after))
        )
        tag(connection, study.id, after)
    return different


def trial_notes(connection: Connection, study_id: str, trial: int) -> str:
    """What is noted about a trial; empty when nothing is."""
    noted = select(TrialNoteRow.text).where(TrialNoteRow.study_id == study_id, TrialNoteRow.trial == trial)
    return connection.execute(noted).scalar_one_or_none() or ""


def note_trial(connection: Connection, study_id: str, trial: int, text: str) -> None:
    """Replace what is noted about a trial, of a study that the caller holds."""
    connection.execute(delete(TrialNoteRow).where(TrialNoteRow.study_id == study_id, TrialNoteRow.trial == trial))
    if text:
        connection.execute(insert(TrialNoteRow).values(study_id=study_id, trial=trial, text=text))
