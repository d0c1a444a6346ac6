"""Attached databases in the store; each function that takes an engine is one transaction."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from db_knobs.address import Address, Password
from db_knobs.catalog import Host
from service.store import cursors, request_keys, storable
from service.store.engine import writing
from service.store.errors import Conflict, NotFound
from service.store.request_keys import RequestKey
from service.store.rows import utc
from service.store.tables import DatabaseRow, SessionRow, SessionStatusRow
from tunewright.session import SessionState
from tunewright.session_views import DatabaseView, ProbeView
from tunewright.views import Page

OPEN_STATES = [state for state in SessionState if not state.final]
_DATABASES = DatabaseRow.__table__


@dataclass(frozen=True)
class NewDatabase:
    """A database that was looked at and is to be kept.

    Attributes:
        password_from, password: see the table; the password itself is not in `address` any more.
        server: where its server is, in one spelling.
    """

    id: str
    name: str
    project: str
    address: Address
    password_from: str
    password: str | None = field(repr=False)
    host: Host
    server: str
    probe: ProbeView


def add(engine: Engine, new: NewDatabase, key: RequestKey | None = None) -> DatabaseView:
    """Keep a database.

    Args:
        key: the same key with the same digest gives the database attached the first time, for a day.
    Raises:
        Conflict: there is one of its name in its project, or the key was used for another request.
    """
    try:
        with writing(engine) as connection:
            earlier = request_keys.earlier(connection, key)
            if earlier is not None:
                return _view(connection, _row(connection, earlier.study_id))
            connection.execute(insert(DatabaseRow).values(**_columns(new)))
            request_keys.note(connection, key, new.id)
            return _view(connection, _row(connection, new.id))
    except IntegrityError:
        raise Conflict(
            f'project "{new.project}" has a database "{new.name}" already; take another name, or detach that one'
        ) from None


def page(
    engine: Engine, *, limit: int, cursor: str | None = None, project: str | None = None, name: str | None = None
) -> Page[DatabaseView]:
    """Databases, newest first.

    Raises:
        BadCursor: the cursor is not this list's.
    """
    statement, kind = cursors.newest_first(select(_DATABASES), DatabaseRow, limit=limit, cursor=cursor, project=project)
    if name is not None:
        statement = statement.where(DatabaseRow.name == name)
    with engine.connect() as connection:
        items = [_view(connection, row) for row in connection.execute(statement).all()]
    return cursors.page(items, limit, kind, lambda database: database.id)


def view(engine: Engine, database_id: str) -> DatabaseView:
    """One database.

    Raises:
        NotFound: there is none.
    """
    with engine.connect() as connection:
        return _view(connection, _row(connection, database_id))


def row(engine: Engine, database_id: str) -> Row[Any]:
    """A database's row.

    Raises:
        NotFound: there is none.
    """
    with engine.connect() as connection:
        return _row(connection, database_id)


def named(engine: Engine, which: str, project: str | None) -> list[Row[Any]]:
    """Databases of this id or name; at most one in a project.

    Args:
        project: only of this one; None: of all.
    """
    statement = select(_DATABASES).where((DatabaseRow.id == which) | (DatabaseRow.name == which))
    if project is not None:
        statement = statement.where(DatabaseRow.project == project)
    with engine.connect() as connection:
        found = list(connection.execute(statement).all())
    # An id is one, whatever a name looks like.
    return [row for row in found if row.id == which] or found


def project_of(engine: Engine, database_id: str) -> str | None:
    """The project of a database; None if there is no such database."""
    if not cursors.ID.fullmatch(database_id):
        return None
    with engine.connect() as connection:
        return connection.scalar(select(DatabaseRow.project).where(DatabaseRow.id == database_id))


def note_probe(engine: Engine, database_id: str, probe: ProbeView) -> None:
    """Keep what was found when it was looked at."""
    with writing(engine) as connection:
        connection.execute(
            update(DatabaseRow)
            .where(DatabaseRow.id == database_id)
            .values(probe=storable.json(probe.model_dump(mode="json")))
        )


def replace_password(engine: Engine, database_id: str, password_from: str, password: str | None) -> DatabaseView:
    """Keep another password; runners that start from now on are given it.

    Args:
        password_from, password: see the table.
    Raises:
        NotFound: there is no such database.
    """
    with writing(engine) as connection:
        hold(connection, database_id)
        connection.execute(
            update(DatabaseRow)
            .where(DatabaseRow.id == database_id)
            .values(password_from=password_from, password=password)
        )
        return _view(connection, _row(connection, database_id))


def remove(engine: Engine, database_id: str) -> None:
    """Forget a database, its password included; what its sessions have done is kept.

    Raises:
        NotFound: there is none.
        Conflict: a session on it is not over.
    """
    with writing(engine) as connection:
        found = hold(connection, database_id)
        session = open_session(connection, database_id)
        if session is not None:
            raise Conflict(f'session {session} on database "{found.name}" is not over; stop it before detaching')
        connection.execute(delete(DatabaseRow).where(DatabaseRow.id == database_id))
        request_keys.forget(connection, database_id)


def hold(connection: Connection, database_id: str) -> Row[Any]:
    """A database's row, held so that no session begins on it, and it is not removed, until the transaction ends.

    Raises:
        NotFound: there is none.
    """
    return _row(connection, database_id, held=True)


def open_session(connection: Connection, database_id: str) -> str | None:
    """Id of the session on a database that is not over."""
    return connection.scalar(
        select(SessionRow.id)
        .join(SessionStatusRow, SessionStatusRow.session_id == SessionRow.id)
        .where(SessionRow.database_id == database_id, SessionStatusRow.state.in_(OPEN_STATES))
        .limit(1)
    )


def address_of(row: Row[Any], password: Password) -> Address:
    """Where a database is, with the password."""
    return Address(
        kind=row.kind,
        host=row.host,
        port=row.port,
        user=row.login,
        password=password,
        database=row.dbname,
        tls=row.tls,
        ca=row.ca,
    )


def host_of(row: Row[Any]) -> Host:
    """Its server's machine, as declared."""
    return Host(row.ram_bytes, row.cores)


def _row(connection: Connection, database_id: str, *, held: bool = False) -> Row[Any]:
    found = None
    if cursors.ID.fullmatch(database_id):
        statement = select(_DATABASES).where(DatabaseRow.id == database_id)
        found = connection.execute(statement.with_for_update() if held else statement).one_or_none()
    if found is None:
        raise NotFound(f"database {database_id[:100]} does not exist")
    return found


def _columns(new: NewDatabase) -> dict[str, Any]:
    return {
        "id": new.id,
        "project": new.project,
        "name": new.name,
        "kind": new.probe.kind,
        "host": new.address.host,
        "port": new.address.port,
        "login": new.address.user,
        "dbname": new.address.database,
        "tls": new.address.tls,
        "ca": new.address.ca,
        "password_from": new.password_from,
        "password": new.password,
        "ram_bytes": new.host.ram_bytes,
        "cores": new.host.cores,
        "server": new.server,
        "probe": storable.json(new.probe.model_dump(mode="json")),
        "created_at": time.time(),
    }


def _view(connection: Connection, row: Row[Any]) -> DatabaseView:
    named = f"{row.password_from} {row.password}" if row.password_from in ("env", "file") else row.password_from
    return DatabaseView(
        id=row.id,
        name=row.name,
        project=row.project,
        kind=row.kind,
        host=row.host,
        port=row.port,
        user=row.login,
        database=row.dbname,
        tls=row.tls,
        ca=row.ca,
        password=named,
        ram_bytes=row.ram_bytes,
        cores=row.cores,
        created_at=utc(row.created_at),
        probe=row.probe,
        session=open_session(connection, row.id),
    )
