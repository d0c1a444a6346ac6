"""What studies claim of the cluster, and how many legs each may have: the runners' side and the conductor's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from service.shares import Claim
from service.store.tables import ClaimRow, RoomRow, StudyRow
from tunewright.study import EXTERNAL, Priority

# Ray's names of what a leg takes.
_NEEDS = {"cpus": "CPU", "gpus": "GPU"}


def claim(connection: Connection, study_id: str, running: float, wanted: int) -> None:
    """Note what a study's runner says of its legs."""
    _put(connection, ClaimRow, study_id, running=running, wanted=wanted)


def room(connection: Connection, study_id: str) -> int | None:
    """How many legs a study may have; None while nobody has said so."""
    return connection.execute(select(RoomRow.legs).where(RoomRow.study_id == study_id)).scalar_one_or_none()


def grant(connection: Connection, rooms: Mapping[str, int]) -> None:
    """Say how many legs some studies may have."""
    present = set(connection.execute(select(StudyRow.id).where(StudyRow.id.in_(rooms))).scalars())
    for study_id in present:
        _put(connection, RoomRow, study_id, legs=rooms[study_id])


def forget(connection: Connection, study_id: str) -> None:
    """Drop what an earlier runner claimed, before the next one begins."""
    connection.execute(delete(ClaimRow).where(ClaimRow.study_id == study_id))


def claims(connection: Connection, studies: Collection[str]) -> list[Claim]:
    """The claims of these studies: higher priorities first, then the older; a new one claims all that it may have."""
    spec = StudyRow.spec
    found = connection.execute(
        select(
            StudyRow.id,
            StudyRow.workload,
            StudyRow.priority,
            spec["parallel"].as_integer().label("parallel"),
            *(spec["resources", name].as_float().label(name) for name in _NEEDS),
            ClaimRow.running,
            ClaimRow.wanted,
        )
        .outerjoin(ClaimRow, ClaimRow.study_id == StudyRow.id)
        .where(StudyRow.id.in_(studies))
    ).all()
    asked = [
        Claim(
            study=row.id,
            weight=Priority(row.priority).weight,
            # Jobs that are asked for from outside run elsewhere.
            needs={} if row.workload == EXTERNAL else {_NEEDS[name]: getattr(row, name) or 0.0 for name in _NEEDS},
            running=row.running or 0.0,
            wanted=row.parallel if row.wanted is None else min(row.wanted, row.parallel),
            most=row.parallel,
        )
        for row in found
    ]
    return sorted(asked, key=lambda asking: (-asking.weight, asking.study))


def _put(connection: Connection, table: Any, study_id: str, **values: Any) -> None:
    changed = connection.execute(update(table).where(table.study_id == study_id).values(**values))
    if changed.rowcount == 0:
        connection.execute(insert(table).values(study_id=study_id, **values))
