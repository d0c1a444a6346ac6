"""Labellings in the store: what was asked, and what was answered; each function is one transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select, update

from models.active.human import Answer, Question
from service.store import cursors, request_keys
from service.store.engine import writing
from service.store.errors import Conflict, NotFound, WrongField
from service.store.repository import new_id
from service.store.request_keys import RequestKey
from service.store.rows import utc
from service.store.tables import LabellingQuestionRow, LabellingRow
from tunewright.labelling_views import LabellingSpec, LabellingView
from tunewright.views import Page

_LABELLINGS, _QUESTIONS = LabellingRow.__table__, LabellingQuestionRow.__table__


def create(
    engine: Engine, project: str, spec: LabellingSpec, classes: Sequence[str], key: RequestKey | None = None
) -> LabellingView:
    """Keep a new labelling.

    Args:
        key: the same key with the same digest gives the labelling that was created the first time, for a day.
    Raises:
        Conflict: the key was used for another request.
    """
    with writing(engine) as connection:
        earlier = request_keys.earlier(connection, key)
        if earlier is not None:
            return _view(connection, _row(connection, earlier.study_id))
        made = new_id()
        connection.execute(
            insert(LabellingRow).values(
                id=made,
                project=project,
                spec=spec.model_dump(mode="json"),
                classes=list(classes),
                created_at=time.time(),
            )
        )
        request_keys.note(connection, key, made)
        return _view(connection, _row(connection, made))


def page(engine: Engine, *, limit: int, cursor: str | None = None, project: str | None = None) -> Page[LabellingView]:
    """Labellings, newest first.

    Raises:
        BadCursor: the cursor is not this list's.
    """
    statement, kind = cursors.newest_first(
        select(_LABELLINGS), LabellingRow, limit=limit, cursor=cursor, project=project
    )
    with engine.connect() as connection:
        items = [_view(connection, row) for row in connection.execute(statement).all()]
    return cursors.page(items, limit, kind, lambda labelling: labelling.id)


def view(engine: Engine, labelling_id: str) -> LabellingView:
    """One labelling.

    Raises:
        NotFound: there is none.
    """
    with engine.connect() as connection:
        return _view(connection, _row(connection, labelling_id))


def project_of(engine: Engine, labelling_id: str) -> str | None:
    """The project of a labelling; None if there is no such labelling."""
    if not cursors.ID.fullmatch(labelling_id):
        return None
    with engine.connect() as connection:
        return connection.scalar(select(LabellingRow.project).where(LabellingRow.id == labelling_id))


def questions(engine: Engine, labelling_id: str) -> list[Question]:
    """All that was asked, in order of their numbers, which count from 0.

    Raises:
        NotFound: there is no such labelling.
    """
    with engine.connect() as connection:
        _row(connection, labelling_id)
        rows = connection.execute(
            select(_QUESTIONS)
            .where(LabellingQuestionRow.labelling_id == labelling_id)
            .order_by(LabellingQuestionRow.number)
        ).all()
    return [
        Question(row.node, row.label, tuple(row.belief), None if row.answer is None else Answer(row.answer))
        for row in rows
    ]


def add(engine: Engine, labelling_id: str, after: int, batch: Sequence[Question]) -> bool:
    """Put a batch of questions, if no others were put since there were `after` of them.

    Returns:
        Whether they were put.
    Raises:
        NotFound: there is no such labelling any more.
    """
    with writing(engine) as connection:
        _row(connection, labelling_id, held=True)
        count = connection.scalar(
            select(func.count())
            .select_from(LabellingQuestionRow)
            .where(LabellingQuestionRow.labelling_id == labelling_id)
        )
        if count != after:
            return False
        if batch:
            connection.execute(
                insert(LabellingQuestionRow),
                [
                    {
                        "labelling_id": labelling_id,
                        "number": after + place,
                        "node": question.node,
                        "label": question.label,
                        "belief": list(question.belief),
                    }
                    for place, question in enumerate(batch)
                ],
            )
        return True


def answer(engine: Engine, labelling_id: str, number: int, said: Answer, *, replace: bool = False) -> None:
    """Keep an answer; the same one again changes nothing.

    Raises:
        NotFound: there is no such labelling.
        WrongField: there is no such question.
        Conflict: it has another answer already, which is not to be replaced.
    """
    which = (LabellingQuestionRow.labelling_id == labelling_id) & (LabellingQuestionRow.number == number)
    with writing(engine) as connection:
        _row(connection, labelling_id, held=True)
        found = connection.execute(select(_QUESTIONS).where(which)).one_or_none()
        if found is None:
            raise WrongField(
                "question", f"question: {number} was not asked in this labelling; answer one that `next` gives"
            )
        if found.answer == said:
            return
        if found.answer is not None and not replace:
            raise Conflict(f"question {number} was answered {found.answer} already; send replace to change that")
        connection.execute(update(LabellingQuestionRow).where(which).values(answer=said, answered_at=time.time()))


def remove(engine: Engine, labelling_id: str) -> None:
    """Delete a labelling with all its answers.

    Raises:
        NotFound: there is none.
    """
    with writing(engine) as connection:
        _row(connection, labelling_id, held=True)
        request_keys.forget(connection, labelling_id)
        connection.execute(delete(LabellingRow).where(LabellingRow.id == labelling_id))


def _row(connection: Connection, labelling_id: str, *, held: bool = False) -> Row[Any]:
    found = None
    if cursors.ID.fullmatch(labelling_id):
        statement = select(_LABELLINGS).where(LabellingRow.id == labelling_id)
        found = connection.execute(statement.with_for_update() if held else statement).one_or_none()
    if found is None:
        raise NotFound(f"labelling {labelling_id[:100]} does not exist")
    return found


def _view(connection: Connection, row: Row[Any]) -> LabellingView:
    counted = connection.execute(
        select(LabellingQuestionRow.answer, func.count().label("count"))
        .where(LabellingQuestionRow.labelling_id == row.id, LabellingQuestionRow.answer.is_not(None))
        .group_by(LabellingQuestionRow.answer)
    ).all()
    return LabellingView(
        id=row.id,
        project=row.project,
        spec=LabellingSpec.model_validate(row.spec),
        classes=row.classes,
        answers={"yes": 0, "no": 0, "skip": 0} | {said: int(number) for said, number in counted},
        created_at=utc(row.created_at),
    )
