"""Databases for tests of the service: one that answers from memory, knobs by the real catalogue."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from db_knobs.address import Address
from db_knobs.catalog import Host, Reported, entries, join
from db_knobs.database import Allowed, Capability, Probe, chosen
from db_knobs.errors import DatabaseError
from db_knobs.knob import Applies, Knob
from db_knobs.restart import RestartCommand
from service.databases import Databases
from tests.service.conftest import Service

REPORTED = {
    reported.name: reported
    for reported in (
        Reported("work_mem", 4096, "integer", "kB", 64, 2**31 - 1),
        Reported("random_page_cost", 4.0, "real", "", 0.0, 1e10),
        Reported("jit", True, "bool"),
        Reported("fsync", True, "bool"),
        Reported("synchronous_commit", "on", "enum", choices=("local", "remote_write", "remote_apply", "on", "off")),
        Reported("ssl", False, "bool"),
        Reported("port", 5432, "integer", "", 1, 65535),
        Reported("shared_buffers", 16384, "integer", "8kB", 16, 2**30, applies=Applies.RESTART),
        Reported("max_connections", 100, "integer", "", 1, 262143, applies=Applies.RESTART),
    )
}
GRANT = 'GRANT ALTER SYSTEM ON PARAMETER work_mem TO "tuner";'


@dataclass
class FakeServer:
    """What every database of a test finds.

    Attributes:
        refuses: what connecting raises; None lets everybody in.
        hangs: connecting waits for it; None answers at once.
        grants: whether settings may be set.
        percentiles: whether statements are counted.
        met: addresses that were connected to.
    """

    refuses: DatabaseError | None = None
    hangs: threading.Event | None = None
    grants: bool = True
    percentiles: bool = True
    met: list[Address] = field(default_factory=list)

    def open(self, address: Address, host: Host) -> Any:
        return FakeDatabase(self, address, host)


class FakeDatabase:
    """As much of a `Database` as the service asks for."""

    files_settings = True

    def __init__(self, server: FakeServer, address: Address, host: Host) -> None:
        self._server = server
        self._address = address
        self._host = host

    def connect(self) -> None:
        self._server.met.append(self._address)
        if self._server.hangs is not None:
            self._server.hangs.wait(10)
        if self._server.refuses is not None:
            raise self._server.refuses

    def close(self) -> None:
        pass

    def probe(self, allowed: Allowed = Allowed()) -> Probe:  # noqa: B008
        server = self._server
        return Probe(
            kind="postgresql",
            version=(15, 6),
            version_text="15.6",
            role=self._address.user,
            read_only=False,
            replica=False,
            capabilities=(
                Capability("apply", server.grants, *(() if server.grants else ("nothing can be set", GRANT))),
                Capability("latency", True),
                Capability("percentiles", server.percentiles, "" if server.percentiles else "latency percentiles"),
                Capability("statements", server.percentiles, remedy="CREATE EXTENSION pg_stat_statements;"),
            ),
            missing=() if server.grants else (GRANT,),
            pending_restart=(),
            host=self._host,
            max_connections=100,
            connections=3,
            notes=("a note",),
        )

    def knobs(self, allowed: Allowed = Allowed()) -> list[Knob]:  # noqa: B008
        catalog = entries("postgresql")
        found = [join(catalog[name], REPORTED[name], self._host) for name in chosen(catalog, REPORTED, allowed)]
        return [knob for knob in found if knob is not None]


def use(service: Service, server: FakeServer) -> None:
    """Let a service meet this server wherever it connects to."""
    commands = {"prod": RestartCommand(server="db.example:5432", restart=["/bin/true"], recover=["/bin/true"])}
    hosts = ["localhost", "db.example", "*.internal"]
    settings = service.settings.model_copy(update={"database_hosts": hosts, "restart_commands": commands})
    vars(service.services)["databases"] = Databases(settings, service.repository.engine, server.open)


def attachment(**fields: Any) -> dict[str, Any]:
    """The body of an attachment; `fields` replace parts of it, None leaves one out."""
    body: Mapping[str, Any] = {
        "name": "prod",
        "kind": "postgresql",
        "host": "db.example",
        "user": "tuner",
        "database": "shop",
        "ram_bytes": 2**33,
        "cores": 4,
        **fields,
    }
    return {name: value for name, value in body.items() if value is not None}


def attach(service: Service, **fields: Any) -> dict[str, Any]:
    answer = service.client.post("/v1/databases", json=attachment(**fields))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def begin(service: Service, **fields: Any) -> dict[str, Any]:
    answer = service.client.post("/v1/sessions", json={"database": "prod", **fields})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def problems_of(answer: Any) -> Sequence[tuple[str, str]]:
    """Fields and messages of a refusal."""
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [(problem["field"], problem["message"]) for problem in answer.json()["errors"]]


def everything_stored(service: Service) -> Iterator[str]:
    """All that the store holds, as text."""
    from sqlalchemy import select

    from service.store.tables import Base

    with service.repository.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            yield from (f"{table.name}: {tuple(row)}" for row in connection.execute(select(table)))
