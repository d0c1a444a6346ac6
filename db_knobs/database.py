"""The Database protocol: a live database as a thing with knobs.

What may be relied on, on every server:

- Nothing but the knobs given to `apply` and `restore` (and what the server moves along, see `Knob.moves`) is changed;
  everything else only reads, each statement under a time limit.
- `former` is taken before `apply` and journaled by whoever applies: `restore(former)` puts back what it tells, from any
  process, also when nothing was applied, or half of it, or the server has restarted in between.
- `apply` is all or nothing while the connection lasts: when the server refuses one setting, those before it are put
  back and the error is raised. After ConnectionLost nobody knows; connect again and `restore`.
- `restore` puts back all that it can before it raises.
- What `apply` returns was read back in a new connection. Servers round and clamp: learn from that.
- An object is used by one thread at a time. A lost connection is made anew by `connect`, or by the next call.
- Errors are those of `errors`, and none holds the password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

from db_knobs.address import Kind
from db_knobs.catalog import Entry, Host, Reported
from db_knobs.errors import KnobRefused, UnknownKnob
from db_knobs.knob import Applies, Knob
from db_knobs.statistics import Snapshot, Statement, Workload
from tunewright.space import Config, Value

# A server may be slow, but not for ever.
CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 10.0
VERIFY_SECONDS = 10.0
# A plan takes a moment to estimate; no more than these are, and none for longer than this.
ESTIMATED_STATEMENTS = 30
ESTIMATE_SECONDS = 1.0
# The lock that one session at a time holds on a server.
LOCK_NAME = "tunewright"
UNKNOWN_HOST = "how far it may go depends on the server's memory and cores; declare them"
# For the message alone: what is not in the catalogue is refused in any case.
_NEVER = re.compile(
    r"archive|auth|binlog_(?!cache)|general_log|gtid|hba_|hot_standby|krb|ldap|log_|logging|max_replication|max_wal_send"
    r"|password|primary_|recovery|relay|replica|restore_|rpl_|secure|server_id|slave|slow_query|ssl|synchronous_standby"
    r"|tls|wal_(keep|level|sender|receiver)"
)


class FormerSetting(TypedDict):
    """A setting to go back to.

    Attributes:
        value: in the knob's own type.
        text: as the server's own file has it, where it stands there by ALTER SYSTEM or SET PERSIST; None where it does
            not. On PostgreSQL going back means to write this, or to remove it from there; MySQL's file is left alone.
    """

    value: Value
    text: str | None


# Knob -> what it stood at; plain data, for a journal.
Former = dict[str, FormerSetting]


@dataclass(frozen=True)
class Allowed:
    """What a DBA allows to be turned.

    Attributes:
        names: the knobs; None means those that the catalogue offers.
        accepted: durability knob -> the sentence in which the catalogue says what it may lose, in the DBA's mouth.
        restart: whether knobs that need a restart may be named.
    """

    names: Sequence[str] | None = None
    accepted: Mapping[str, str] = field(default_factory=dict)
    restart: bool = False


@dataclass(frozen=True)
class Capability:
    """Something that works, or does not.

    Attributes:
        name: statements, latency, percentiles, estimates, apply.
        loses: what is lost without it; empty where it works.
        remedy: what an administrator can do about it.
    """

    name: str
    works: bool
    loses: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Probe:
    """What an attached database is, and what this role may do there.

    Attributes:
        version: (major, minor).
        role: the user, as the server knows it.
        missing: the GRANTs that are missing for what was asked, as statements for an administrator to run; empty when
            everything works.
        pending_restart: settings that somebody changed and that wait for a restart.
        host: the server's machine, as declared, or this one.
        max_connections, connections: that the server allows; that others have open.
        notes: what a DBA should know: knobs left out and why, the memory of the machine unknown.
    """

    kind: Kind
    version: tuple[int, int]
    version_text: str
    role: str
    read_only: bool
    replica: bool
    capabilities: tuple[Capability, ...]
    missing: tuple[str, ...]
    pending_restart: tuple[str, ...]
    host: Host
    max_connections: int
    connections: int
    notes: tuple[str, ...] = ()

    def can(self, name: str) -> bool:
        """Whether a capability works."""
        return any(capability.works for capability in self.capabilities if capability.name == name)


@dataclass(frozen=True)
class Applied:
    """What really stands after `apply` or `restore`.

    Attributes:
        settings: read back in a new connection: of each knob that was set, and each that the server moved along.
        pending_restart: those of them that wait for a restart, and so still stand at what they stood.
    """

    settings: Config
    pending_restart: tuple[str, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """What the planner expects of one statement.

    Attributes:
        rows: read from tables and indexes.
        filtered: share of them that is thrown away.
        indexed: share of accesses that go through an index.
    """

    rows: float
    filtered: float
    indexed: float


class Database(Protocol):
    """One live database; see the module for what may be relied on.

    Attributes:
        files_settings: what is set here outlives a restart of the server; without it no knob that needs one can be set.
    """

    files_settings: bool

    def connect(self) -> None:
        """Connect, or make a lost connection anew.

        Raises:
            LoginRefused: name, password, host or TLS are not accepted.
            ConnectionLost: nobody answers.
            UnknownServer: its kind or version is not known.
        """

    def close(self) -> None:
        """Disconnect; nothing on the server changes."""

    def lock(self, holder: str) -> bool:
        """Take the one lock that sessions take on a server, for the life of this connection.

        Nobody waits. A connection that is lost, or made anew by `connect`, has lost it; see `holds_lock`.

        Args:
            holder: shown to DBAs where the server can.
        Returns:
            False when somebody else holds it, of whatever service.
        """

    def holds_lock(self) -> bool:
        """Whether this connection has the lock.

        Raises:
            ConnectionLost: the connection broke, and the lock is free.
        """

    def probe(self, allowed: Allowed = Allowed()) -> Probe:  # frozen
        """What the server is and what the role may do, for these knobs; reads only."""

    def knobs(self, allowed: Allowed = Allowed()) -> list[Knob]:  # frozen
        """Knobs that may be turned, by name.

        Raises:
            UnknownKnob: a name that neither catalogue nor server have.
            KnobRefused: a name that is never touched, or lacks the words that allow it.
        """

    def read(self, names: Sequence[str]) -> Config:
        """What knobs stand at now, for new connections.

        Raises:
            UnknownKnob: the server has none of this name.
        """

    def reread(self) -> None:
        """Let the server take what its own files hold: what an administrator has written there, and not put in force
        yet, would be overwritten unseen. Where it does not take it within the deadline, what stands stays.
        """

    def hidden(self, names: Sequence[str]) -> set[str]:
        """Those of which new connections of this role see what is set for it or its database, not what the server has
        for everybody else."""

    def former(self, names: Sequence[str]) -> Former:
        """Everything that is needed to put knobs back, with those that the server may move along."""

    def apply(self, settings: Mapping[str, Value]) -> Applied:
        """Set knobs for everybody, and see that they are.

        Raises:
            RightMissing: the role may not set one of them.
            ValueRefused: the server does not take a value.
            NotVerified: it was set and does not show.
            ConnectionLost: whether anything was set is unknown.
        """

    def restore(self, former: Former) -> Applied:
        """Put knobs back; may be called again and again.

        Raises:
            RightMissing, NotVerified, ConnectionLost: as `apply`; call again when the cause is gone.
        """

    def measure(self) -> Snapshot:
        """The server's counters now; compare two with `statistics.between`."""

    def workload(self) -> Workload:
        """Normalised statements, counted since the server began to; kinds of statements where it does not tell more."""

    def estimate(self, statements: Mapping[str, Statement]) -> dict[str, Estimate]:
        """What the planner expects of these reads (EXPLAIN, nothing is run), as far as it and the role allow."""


def chosen(catalog: Mapping[str, Entry], reported: Mapping[str, Reported], allowed: Allowed) -> list[str]:
    """Names of the knobs that may be turned, in alphabetical order.

    Args:
        reported: what the server says of each of its settings.

    Raises:
        UnknownKnob: a name that neither catalogue nor server have.
        KnobRefused: a name that is never touched, or lacks the words or the restart that allow it.
    """
    for name in allowed.accepted:
        if name not in catalog or not catalog[name].loses:
            raise KnobRefused(name, "it is no durability knob, so there is nothing to accept")
    if allowed.names is None:
        return sorted(
            name
            for name, entry in catalog.items()
            if entry.offered and name in reported and not _restarts(entry, reported[name])
        )
    for name in allowed.names:
        _refuse(name, catalog, reported, allowed)
    return sorted(set(allowed.names))


def _refuse(name: str, catalog: Mapping[str, Entry], reported: Mapping[str, Reported], allowed: Allowed) -> None:
    if name not in reported:
        raise UnknownKnob(name, "this server has no such setting; its knobs are listed by `knobs`")
    if name not in catalog:
        reason = "authentication, logging, replication and archiving are never touched" if _NEVER.match(name) else ""
        raise KnobRefused(name, reason or "it is not in the catalogue, so nobody here knows what it may break")
    entry = catalog[name]
    if entry.loses and allowed.accepted.get(name) != entry.loses:
        raise KnobRefused(name, f'it may lose data; to allow it, accept it with the words "{entry.loses}"')
    if _restarts(entry, reported[name]) and not allowed.restart:
        raise KnobRefused(name, "it needs a restart of the server; allow restarts, or leave it out")


def known(reported: Mapping[str, Reported], name: str) -> Reported:
    """What the server says of a setting.

    Raises:
        UnknownKnob: it has none of this name.
    """
    if name not in reported:
        raise UnknownKnob(name, "this server has no such setting")
    return reported[name]


def _restarts(entry: Entry, reported: Reported) -> bool:
    return entry.restart or reported.applies is Applies.RESTART
