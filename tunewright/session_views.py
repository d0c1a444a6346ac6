"""What the service shows of attached databases and tuning sessions: the JSON of its REST API, as Python types.

`Attachment` and `NewPassword` are what is sent; all else the service fills and the client returns. Nothing here ever
holds a password but these on their way in.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from tunewright._view import View
from tunewright.access import DEFAULT_PROJECT, ProjectName
from tunewright.errors import SpecError
from tunewright.session import SessionSpec, SessionState

# Names of variables of the service's environment that may be read as a password; no others are.
PASSWORD_VARIABLES = "TUNEWRIGHT_DATABASE_"  # nosec B105


def _printable(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise SpecError("it holds control characters, or blanks around it; write it plainly")
    return name


def _variable(name: str) -> str:
    if not re.fullmatch(rf"{PASSWORD_VARIABLES}[A-Z0-9_]+", name):
        raise SpecError(f"it must begin with {PASSWORD_VARIABLES} and go on in capitals, digits and _; rename it")
    return name


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise SpecError(
            "it must be a file's name alone, of letters, digits, -, _ and .; rename it, or leave out folders"
        )
    return name


_Text = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_printable)]
DatabaseName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]


class GivenPassword(BaseModel):
    """A database's password, or where the service finds it.

    Attributes:
        password: encrypted before it is stored, and never shown again.
        password_env: or, name of a variable of the service's environment, `TUNEWRIGHT_DATABASE_...`, read whenever the
            database is connected to.
        password_file: or, name of a file in the service's directory of secrets, read likewise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    password: SecretStr | None = Field(default=None, max_length=1000)
    password_env: Annotated[str, Field(max_length=200), AfterValidator(_variable)] | None = None
    password_file: Annotated[str, Field(max_length=200), AfterValidator(_file_name)] | None = None

    @model_validator(mode="after")
    def _check_password(self) -> Self:
        if self._ways > 1:
            raise SpecError("password: give one of password, password_env and password_file")
        return self

    @property
    def _ways(self) -> int:
        return sum(given is not None for given in (self.password, self.password_env, self.password_file))


class NewPassword(GivenPassword):
    """The password of an attached database, in place of the one that it has."""

    @model_validator(mode="after")
    def _check_given(self) -> Self:
        if not self._ways:
            raise SpecError("password: give it, or password_env or password_file")
        return self


class Attachment(GivenPassword):
    """A database as it is attached: by URL, or by its parts.

    Attributes:
        name: for people and for sessions; unique in its project.
        dsn: `postgresql://user@host:5432/database?sslmode=verify-full`, or `mysql://`, `mariadb://`. A password in it
            counts as one given in `password`.
        kind, host, port, user, database, tls, ca: the same in parts. `ca` is a file on the service's machine.
        ram_bytes, cores: of the server's machine; needed where that is not the service's own.
    """

    name: DatabaseName
    project: ProjectName | None = None
    dsn: SecretStr | None = None
    kind: Literal["postgresql", "mysql", "mariadb"] | None = None
    host: _Text | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    user: _Text | None = None
    database: _Text | None = None
    tls: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] | None = None
    ca: _Text | None = None
    ram_bytes: int | None = Field(default=None, ge=2**20, le=2**53)
    cores: int | None = Field(default=None, ge=1, le=100_000)

    @model_validator(mode="after")
    def _check(self) -> Attachment:
        if self.dsn is not None:
            if any((self.kind, self.host, self.port, self.user, self.database, self.tls, self.ca)):
                raise SpecError("dsn: it says all of kind, host, port, user, database, tls and ca; give it or them")
        elif not (self.kind and self.host and self.user):
            raise SpecError("dsn: give it, or else kind, host and user")
        return self


class CapabilityView(View):
    """Something that works on a database, or does not.

    Attributes:
        loses: what is lost without it; empty where it works.
        remedy: what an administrator can do about it.
    """

    name: str
    works: bool
    loses: str = ""
    remedy: str = ""


class ProbeView(View):
    """What a database is, and what the role may do there.

    Attributes:
        kind: `postgresql`, `mysql` or `mariadb`, as the server says.
        version: as the server spells it.
        missing: statements that an administrator runs so that everything works; empty when it does.
        pending_restart: settings that somebody changed and that wait for a restart.
        ram_bytes, cores: of its machine, where they are known.
        connections: of others, now.
        notes: what a DBA should know.
    """

    at: datetime
    kind: str
    version: str
    role: str
    read_only: bool
    replica: bool
    capabilities: list[CapabilityView] = Field(default_factory=list)
    missing: list[str] = Field(default_factory=list)
    pending_restart: list[str] = Field(default_factory=list)
    ram_bytes: int | None = None
    cores: int | None = None
    max_connections: int
    connections: int
    notes: list[str] = Field(default_factory=list)


class DatabaseView(View):
    """An attached database.

    Attributes:
        id: empty after a dry run, which attaches nothing.
        password: where it comes from: `stored`, `env NAME`, `file NAME`, or `none`.
        probe: what was found when it was looked at last.
        session: id of the session on it that is not over; None when there is none.
    """

    id: str
    name: str
    project: str = DEFAULT_PROJECT
    kind: str
    host: str
    port: int
    user: str
    database: str = ""
    tls: str
    ca: str | None = None
    password: str
    ram_bytes: int | None = None
    cores: int | None = None
    created_at: datetime
    probe: ProbeView | None = None
    session: str | None = None


class KnobView(View):
    """A setting of a database that may be tuned; values are in `unit`.

    Attributes:
        type: `integer`, `real`, `enum` or `bool`.
        low, high: what may be tried.
        scale: `linear`, `log`, or `nominal`, whose numbers are names of which one says nothing of the next.
        special: a value outside of them, with what it means: `{"value": 0, "meaning": "off"}`.
        applies: when a change is felt: `online`, `new connections only`, `restart`.
        danger: what a wrong value may cost beyond speed: `none`, `memory`, `risky`, `durability`.
        loses: words in which it must be accepted, where it may lose data.
        offered: sessions that name no knobs tune it.
    """

    name: str
    type: str
    doc: str
    current: Any
    default: Any = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    scale: str = "linear"
    special: dict[str, Any] | None = None
    choices: list[str] = Field(default_factory=list)
    source: str = ""
    applies: str
    danger: str
    loses: str = ""
    offered: bool = True


class SessionSummary(View):
    """A tuning session as lists show it.

    Attributes:
        database: id of the database; `database_name` as it was when the session began.
        wanted: `run`, `pause` or `stop`: what a person asked for last; `state` follows it.
        reason: why it is in its state, when that is not obvious.
        touched: settings of ours may stand on the server.
        intervals, unsafe: that were measured; of them, below the margin.
        lost: work that was not done because it was below the reference, in intervals' worth of work.
        gain: mean over time of performance against what the reference is expected to have done, as a share; None before
            it is known.
        best: safest best settings so far, with what is expected of them.
        unit: of performances; empty where measures are combined.
        maximize: whether more of it is better.
        next_at: when the interval ends that is being measured.
    """

    id: str
    project: str = DEFAULT_PROJECT
    database: str
    database_name: str
    mode: Literal["apply", "advice"]
    objective: dict[str, float]
    unit: str = ""
    maximize: bool = True
    state: SessionState
    wanted: str
    reason: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    active_seconds: float = 0.0
    touched: bool = False
    intervals: int = 0
    unsafe: int = 0
    lost: float = 0.0
    gain: float | None = None
    best: dict[str, Any] | None = None
    next_at: datetime | None = None


class SessionView(SessionSummary):
    """A tuning session with all that was asked, and what it found when it began.

    Attributes:
        former: knob -> setting to go back to: `{"value": ..., "text": ...}`; None before the session has begun.
        reference: settings against which safety is measured.
        knobs: what is tuned: name -> type, unit, low, high, scale, choices, doc.
        features: names of the context's numbers.
        capabilities: what works, and what is lost without it.
        current: settings that were seen on the server last: put in place, measured, or put back; None before.
    """

    spec: SessionSpec
    former: dict[str, Any] | None = None
    reference: dict[str, Any] | None = None
    knobs: dict[str, Any] = Field(default_factory=dict)
    features: list[str] = Field(default_factory=list)
    capabilities: dict[str, Any] = Field(default_factory=dict)
    current: dict[str, Any] | None = None


class SettingsChange(View):
    """Settings of a database have changed in a tuning session.

    Attributes:
        settings: what stands now.
        changed: names of those that stand at something else than before.
        new_connections: of these, the ones that only new connections feel: a pool has to renew its connections.
    """

    settings: dict[str, Any]
    changed: list[str]
    new_connections: list[str]


class IntervalView(View):
    """One interval of a session.

    Attributes:
        number: counts up within the session, with gaps.
        at: its end.
        skipped: why it was not judged; None where it was. The rest is then empty.
        kind: of the suggestion that it ran under: `reference`, `centre`, `safe`, `expander` or `advice`; None without
            one.
        config: what was really set.
        suggested: settings that were suggested; beside `config`, because servers round, and because in the mode
            `advice` they are not applied.
        performance: as the objective measures it; None where it could not be measured, which counts as unsafe.
        expected: performance that the reference was expected to have in this context.
        bound: performance below which (above which, where less is better) the interval was to be ended early.
        gain, lower: predicted for the suggestion, against the reference, as shares: the mean, and the pessimistic end.
        unsafe: it was seen below the margin.
        aborted: it was ended early.
        lost: work that was not done because it was below the reference, as a share of the interval's work.
        context: what the database was going through; its names are the session's `features`.
        cluster: of contexts, whose model decided.
        why: reasons for the suggestion.
        metrics: everything that the server told.
        seconds_of: length of the decision that led to it.
    """

    number: int
    at: datetime
    skipped: str | None = None
    kind: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    suggested: dict[str, Any] | None = None
    performance: float | None = None
    seconds: float = 0.0
    expected: float | None = None
    bound: float | None = None
    gain: float | None = None
    lower: float | None = None
    unsafe: bool = False
    aborted: bool = False
    lost: float = 0.0
    context: list[float] = Field(default_factory=list)
    cluster: int | None = None
    why: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    seconds_of: dict[str, float] = Field(default_factory=dict)


class NoticeView(View):
    """Something that people should know of a session.

    Attributes:
        number: counts up within the session, with gaps; intervals and notices share their numbers.
        kind: `foreign_change`, `refused`, `clamped`, `right_lost`, `restarted`, `connection_lost`, `connected`,
            `login_refused`, `taken_over`, `noise` (intervals too short for the server), `restart` (by the session, for
            knobs that need one), `restart_failed`, `recovering` (the recover command is run), `advice`, `restored`, or
            `mixed`.
        text: in words.
        knob: that it is about.
        settings: where settings were put back, what the server says they are now.
        left: knobs that were left alone then, and why, or that wait for a restart.
    """

    number: int
    at: datetime
    kind: str
    text: str
    knob: str | None = None
    settings: dict[str, Any] | None = None
    left: dict[str, str] = Field(default_factory=dict)
