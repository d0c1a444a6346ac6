"""A first look at a PostgreSQL database: what it is, what this role may do there, and what is lost otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from db_knobs import postgres_rights as rights
from db_knobs.address import Address
from db_knobs.catalog import Host, Reported, entries, join
from db_knobs.database import UNKNOWN_HOST, Capability, Probe
from db_knobs.postgres_connection import Connection
from db_knobs.postgres_statistics import Sees

# Settings from these sources win over anything that ALTER SYSTEM writes. "override" does not: PostgreSQL 13 and 14
# say that of what they chose for wal_buffers themselves.
_OVERRIDING = {"command line", "environment variable", "global"}
_ROLE = """
SELECT current_user, current_setting('server_version'), pg_is_in_recovery(),
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())
"""
# Who was granted a right may have to SET ROLE to use it.
_MONITORS = """
SELECT rolinherit, pg_has_role('pg_read_all_stats', 'MEMBER') FROM pg_roles WHERE rolname = current_user
"""
# What the command line sets is flagged for ever where a file says something else.
_PENDING = "SELECT name FROM pg_settings WHERE pending_restart AND source <> 'command line' ORDER BY name"
_DENIED = """
SELECT name FROM unnest(%s::text[]) AS name WHERE NOT has_parameter_privilege(name, 'ALTER SYSTEM') ORDER BY name
"""
_READABLE = "SELECT coalesce(bool_and(has_table_privilege(relid, 'SELECT')), true) FROM pg_stat_user_tables"
_OWN_SETTINGS = """
SELECT DISTINCT split_part(entry, '=', 1) FROM pg_db_role_setting AS s, unnest(s.setconfig) AS entry
WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
# Base backups pass.
_STANDBYS = (
    "SELECT pg_is_in_recovery() OR EXISTS (SELECT FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup')"
)
# A standby with fewer than its primary does not start, and one that runs stops replaying when the primary has more.
_OF_STANDBYS = "max_worker_processes"


@dataclass(frozen=True)
class Server:
    """The server as the adapter knows it.

    Attributes:
        reported: all its settings.
    """

    address: Address
    host: Host
    version: tuple[int, int]
    reported: Mapping[str, Reported]


def probed(connection: Connection, server: Server, names: Sequence[str], sees: Sees) -> Probe:
    """What the server is and what the role may do, for these knobs; reads only."""
    (found,) = connection.execute(_ROLE).fetchall()
    role, version_text, standby, superuser, connections = found
    seeing = _missing_to_see(connection, server.version[0], role, sees)
    setting = () if superuser else _missing_to_set(connection, server.version[0], role, names)
    return Probe(
        kind="postgresql",
        version=server.version,
        version_text=version_text,
        role=role,
        read_only=standby,
        replica=standby,
        capabilities=(
            rights.apply_capability(
                server.version[0],
                is_superuser=superuser,
                # Who cannot see where a setting comes from cannot put it back.
                missing=setting if sees.others else (*seeing, *setting),
                read_only=standby,
                forbidden=forbidden(server.reported),
            ),
            *_reading_capabilities(connection, server, role, sees, seeing),
        ),
        missing=(*seeing, *setting),
        pending_restart=tuple(name for (name,) in connection.execute(_PENDING).fetchall()),
        host=server.host,
        max_connections=int(server.reported["max_connections"].current),
        connections=int(connections),
        notes=tuple(_notes(connection, server, names, sees, role)),
    )


def forbidden(reported: Mapping[str, Reported]) -> bool:
    """Whether the server lets nobody use ALTER SYSTEM; PostgreSQL 17 and later can be told so."""
    setting = reported.get("allow_alter_system")
    return setting is not None and setting.current is False


def left_out(connection: Connection, reported: Mapping[str, Reported]) -> dict[str, str]:
    """Settings that ALTER SYSTEM would not change for everybody, or that would stop a standby, and why."""
    found = {
        name: f"it is set by {setting.source}, which no later setting can change"
        for name, setting in reported.items()
        if setting.source in _OVERRIDING and name in entries("postgresql")
    }
    for (name,) in connection.execute(_OWN_SETTINGS).fetchall():
        found[name] = "it is set for a role or this database (ALTER ROLE or ALTER DATABASE), which wins"
    ((replicated,),) = connection.execute(_STANDBYS).fetchall()
    if replicated:
        found[_OF_STANDBYS] = "a standby needs at least as many as its primary; set it by hand, on standbys first"
    return found


def _missing_to_see(connection: Connection, major: int, role: str, sees: Sees) -> tuple[str, ...]:
    """Grants without which others' activity, or where a setting comes from, cannot be seen."""
    missing: list[str] = []
    if not sees.others:
        ((inherits, member),) = connection.execute(_MONITORS).fetchall()
        missing = rights.use_monitor(major, role, inherits=inherits, member=member)
    return (*missing,) if sees.usable or not sees.schema else (*missing, rights.grant_schema(sees.schema, role))


def _missing_to_set(connection: Connection, major: int, role: str, names: Sequence[str]) -> tuple[str, ...]:
    if major < rights.GRANTABLE:
        return (rights.grant_parameters(major, names, role),)
    denied = [name for (name,) in connection.execute(_DENIED, [list(names)]).fetchall()]
    missing = [rights.grant_parameters(major, denied, role)] if denied else []
    ((reloads,),) = connection.execute("SELECT has_function_privilege('pg_reload_conf()', 'EXECUTE')").fetchall()
    return (*missing,) if reloads else (*missing, rights.grant_reload(role))


def _reading_capabilities(
    connection: Connection, server: Server, role: str, sees: Sees, seeing: Sequence[str]
) -> tuple[Capability, ...]:
    ((readable,),) = connection.execute(_READABLE).fetchall()
    timed = sees.statements or server.version[0] >= 14
    return (
        rights.statements_capability(server.address.database, works=sees.statements, missing=seeing),
        Capability("latency", timed, "" if timed else "mean latency"),
        Capability("percentiles", sees.statements, "" if sees.statements else "latency percentiles"),
        Capability("throughput", True),
        rights.estimates_capability(role, works=readable and sees.statements),
    )


def _notes(connection: Connection, server: Server, names: Sequence[str], sees: Sees, role: str) -> Iterator[str]:
    for name, reason in sorted(left_out(connection, server.reported).items()):
        if name in names:
            yield f"{name} is left out: {reason}"
    catalog = entries("postgresql")
    unknown = [name for name in names if join(catalog[name], server.reported[name], server.host) is None]
    if unknown:
        yield f"{', '.join(unknown)}: left out, {UNKNOWN_HOST}"
    if sees.shared:
        yield f'others use "{role}" too, so the statements of this service are counted with theirs'
    if not server.address.local:
        yield "backups and standbys keep what is set here only where they take postgresql.auto.conf along"
