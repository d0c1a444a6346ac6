"""Attached databases of a service: attach, look at, list what can be tuned, and check what a session asks for.

A database may hang, so whatever connects to one runs in threads of its own, with a time limit, and never on the event
loop. Nothing is stored before the database has answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Engine, Row

from db_knobs.address import PORTS, Address, Password, parse_dsn, server_of
from db_knobs.attach import open_database
from db_knobs.catalog import Host, entries
from db_knobs.database import Allowed, Database, Probe
from db_knobs.errors import (
    AddressError,
    ConnectionLost,
    DatabaseError,
    KnobError,
    LoginRefused,
    StatementTimeout,
    UnknownServer,
)
from db_knobs.knob import Knob
from service.database_hosts import DatabaseHosts
from service.passwords import Kept, Passwords
from service.secrets import SecretError
from service.session_checks import check, check_restarts
from service.settings import ServiceSettings
from service.store import databases
from service.store.databases import NewDatabase
from service.store.errors import DatabaseUnusable, WrongField
from service.store.repository import new_id
from tunewright.session import SessionSpec
from tunewright.session_views import Attachment, CapabilityView, DatabaseView, KnobView, NewPassword, ProbeView

# Several statements, each with a limit of its own; who asked does not wait for all of these to be reached.
REACH_SECONDS = 30.0
# So many databases are spoken to at once; further requests wait, within the same time.
THREADS = 8
Open = Callable[[Address, Host], Database]
T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """A database that is to be attached and has answered."""

    attachment: Attachment
    address: Address
    host: Host
    probe: ProbeView


class Databases:
    """Connects to databases in the service's name.

    Args:
        open: makes a database that is not connected yet.
    """

    def __init__(self, settings: ServiceSettings, engine: Engine, open: Open = open_database) -> None:
        self.engine = engine
        self.passwords = Passwords(settings)
        self._hosts = DatabaseHosts(settings.database_hosts)
        self._restart_commands = settings.restart_commands
        self._open = open
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="databases")

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def look(self, attachment: Attachment) -> Found:
        """Connect to a database that is to be attached, and see what works there; nothing is kept.

        Raises:
            WrongField: its address is wrong or not allowed, or it does not answer, or lets us not in; names the field.
        """
        address = address_of(attachment)
        self._hosts.check(address.host)
        address = replace(address, password=self.passwords.of(attachment, address.password))
        host = Host(attachment.ram_bytes, attachment.cores)

        def probe() -> ProbeView:
            with self._connected(address, host) as database:
                return probe_view(database.probe())

        try:
            return Found(attachment, address, host, await self._reach(probe))
        except DatabaseError as error:
            raise WrongField(_field_of(error, attachment), str(error)) from None

    def new(self, found: Found, project: str) -> NewDatabase:
        """A database as it is to be kept.

        Raises:
            WrongField: there is no key to encrypt its password with.
        """
        database_id = new_id()
        kept = self.passwords.keep(found.attachment, found.address.password, database_id)
        return NewDatabase(
            id=database_id,
            name=found.attachment.name,
            project=project,
            address=replace(found.address, password=Password("")),
            password_from=kept.source,
            password=kept.text,
            host=found.host,
            server=server_of(found.address.host, found.address.port),
            probe=found.probe,
        )

    async def try_password(self, database_id: str, given: NewPassword) -> Kept:
        """Connect to an attached database with another password.

        Returns:
            How that is to be kept.
        Raises:
            NotFound: there is no such database.
            WrongField: the password is not accepted, cannot be read or cannot be kept; names the field.
            DatabaseUnusable: the database does not answer.
        """
        row = await asyncio.to_thread(databases.row, self.engine, database_id)
        self._hosts.check(row.host)
        password = self.passwords.of(given, Password(""))

        def log_in() -> None:
            with self._connected(databases.address_of(row, password), databases.host_of(row)):
                pass

        try:
            await self._reach(log_in)
        except LoginRefused as error:
            raise WrongField("password", str(error)) from None
        except DatabaseError as error:
            raise DatabaseUnusable(f'database "{row.name}": {error}') from None
        return self.passwords.keep(given, password, row.id)

    async def probe(self, database_id: str) -> ProbeView:
        """Look again at an attached database.

        Raises:
            NotFound: there is none.
            DatabaseUnusable: it does not answer, or lets us not in.
        """
        return await self._ask(database_id, lambda database: probe_view(database.probe()))

    async def knobs(self, database_id: str) -> list[KnobView]:
        """Settings of an attached database that may be tuned; those that are not offered by themselves come last.

        Raises:
            NotFound, DatabaseUnusable: as `probe`.
        """
        return await self._ask(database_id, _knobs)

    async def check(self, spec: SessionSpec, row: Row[Any]) -> None:
        """Check a session against what its database is now; one that cannot be reached is not asked.

        Raises:
            WrongField: it cannot be tuned like this; names the field.
        """
        check_restarts(spec, self._restart_commands, row.host, row.port)
        try:
            await self._ask(row.id, lambda database: check(spec, database))
        except DatabaseUnusable:
            # Its runner sees it as soon as it answers, and tries for as long as it does not.
            pass

    async def _ask(self, database_id: str, question: Callable[[Database], T]) -> T:
        row = await asyncio.to_thread(databases.row, self.engine, database_id)
        # The list may have become shorter since it was attached.
        self._hosts.check(row.host)

        def answer() -> T:
            address = databases.address_of(row, self.passwords.open(row))
            with self._connected(address, databases.host_of(row)) as database:
                return question(database)

        try:
            return await self._reach(answer)
        except (DatabaseError, SecretError) as error:
            raise DatabaseUnusable(f'database "{row.name}": {error}') from None

    async def _reach(self, call: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(REACH_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except TimeoutError:
            raise ConnectionLost(
                f"it did not answer within {REACH_SECONDS:g} seconds; see whether it is busy"
            ) from None
        except (OSError, UnicodeError) as error:
            # A host's name that is none, a file of certificates that is not there.
            raise ConnectionLost(f"it cannot be connected to: {error}") from None

    @contextmanager
    def _connected(self, address: Address, host: Host) -> Iterator[Database]:
        database = self._open(address, host)
        try:
            database.connect()
            yield database
        finally:
            database.close()


def address_of(attachment: Attachment) -> Address:
    """Where a database is that is to be attached; the password is the one in the DSN, if there is one.

    Raises:
        WrongField: names the field.
    """
    try:
        address = _parsed(attachment)
    except AddressError as error:
        field, _, message = str(error).removeprefix("address.").partition(": ")
        raise WrongField("dsn" if attachment.dsn is not None else field, f"{field}: {message}") from None
    for field in ("host", "user", "database"):
        if not getattr(address, field).isprintable():
            raise WrongField(field, f"{field}: it holds control characters; write it plainly")
    if "\0" in address.password.secret:
        raise WrongField("password", "password: it holds a null character, which no server takes")
    return address


def probe_view(probe: Probe) -> ProbeView:
    """A probe as the API shows it."""
    return ProbeView(
        at=datetime.now(UTC),
        kind=probe.kind,
        version=probe.version_text,
        role=probe.role,
        read_only=probe.read_only,
        replica=probe.replica,
        capabilities=[
            CapabilityView(name=c.name, works=c.works, loses=c.loses, remedy=c.remedy) for c in probe.capabilities
        ],
        missing=list(probe.missing),
        pending_restart=list(probe.pending_restart),
        ram_bytes=probe.host.ram_bytes,
        cores=probe.host.cores,
        max_connections=probe.max_connections,
        connections=probe.connections,
        notes=list(probe.notes),
    )


def dry_run(found: Found, project: str) -> DatabaseView:
    """What would be attached."""
    attachment, address = found.attachment, found.address
    referred = {"env": attachment.password_env, "file": attachment.password_file}
    source = next((f"{kind} {name}" for kind, name in referred.items() if name), None)
    return DatabaseView(
        id="",
        name=attachment.name,
        project=project,
        kind=found.probe.kind,
        host=address.host,
        port=address.port,
        user=address.user,
        database=address.database,
        tls=address.tls,
        ca=address.ca,
        password=source or ("stored" if address.password.secret else "none"),
        ram_bytes=attachment.ram_bytes,
        cores=attachment.cores,
        created_at=found.probe.at,
        probe=found.probe,
    )


def _parsed(attachment: Attachment) -> Address:
    if attachment.dsn is not None:
        dsn = attachment.dsn.get_secret_value()
        _require_plain_user(dsn)
        return parse_dsn(dsn)
    assert attachment.kind is not None
    return Address(
        kind=attachment.kind,
        host=attachment.host or "",
        port=attachment.port or PORTS[attachment.kind],
        user=attachment.user or "",
        database=attachment.database or "",
        tls=attachment.tls or "prefer",
        ca=attachment.ca,
    )


def _require_plain_user(dsn: str) -> None:
    """Refuse a URL of which a part of the password would be read as something else, and shown."""
    authority = dsn.partition("://")[2]
    for end in "/?#":
        authority = authority.partition(end)[0]
    if "@" not in authority or authority.count("@") > 1:
        raise AddressError(
            "dsn: the user and a password stand before the only @ of the host; write @ in a password as %40, / as %2F, "
            "? as %3F and # as %23, or give the password in `password`"
        )


def _field_of(error: DatabaseError, attachment: Attachment) -> str:
    """The field to look at when a database could not be used."""
    if attachment.dsn is not None:
        return "dsn"
    if isinstance(error, LoginRefused):
        return "user"
    if isinstance(error, UnknownServer):
        return "kind"
    return "host" if isinstance(error, (ConnectionLost, StatementTimeout)) else "database"


def _knobs(database: Database) -> list[KnobView]:
    offered = database.knobs()
    catalog = entries(database.probe().kind)
    names = {knob.name for knob in offered}
    others = [name for name, entry in catalog.items() if name not in names]
    return [_knob(knob, offered=True) for knob in offered] + [
        _knob(knob, offered=False) for name in sorted(others) for knob in _one(database, name, catalog[name].loses)
    ]


def _one(database: Database, name: str, loses: str) -> Sequence[Knob]:
    try:
        return database.knobs(Allowed([name], {name: loses} if loses else {}, restart=database.files_settings))
    except KnobError:
        # This server has none of the name, or it cannot be turned here.
        return ()


def _knob(knob: Knob, *, offered: bool) -> KnobView:
    special = None if knob.special is None else {"value": knob.special.value, "meaning": knob.special.meaning}
    return KnobView(
        name=knob.name,
        type=knob.type,
        doc=knob.doc,
        current=knob.current,
        default=knob.default,
        unit=knob.unit,
        low=knob.low,
        high=knob.high,
        scale=knob.scale,
        special=special,
        choices=list(knob.choices),
        source=knob.source,
        applies=knob.applies,
        danger=knob.danger,
        loses=knob.loses,
        offered=offered,
    )
