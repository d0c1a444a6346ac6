"""Where a session's runner writes what happened to a live database: facts, and the protocol that a store implements.

What may be relied on:
    - `commit` writes a whole batch or nothing, and returns only when it is durable; committing the same batch again
      changes nothing;
    - a journal whose epoch is no longer the newest raises `Fenced` and writes nothing: there is one writer per session;
    - the settings to go back to are in the journal, durably, before the first change is made, and every change is
      before it is made: whoever comes next can put back what a runner that died has left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from db_knobs.address import Address
from db_knobs.catalog import Host
from db_knobs.database import Former
from optimizers.onlinetune.intervals import Interval, Suggestion
from tunewright.session import SessionSpec, SessionState
from tunewright.space import Config
from workers.journal import Fenced, JournalUnavailable, Wanted

# Kinds of notices by which the next runner is led: a restart failed, and none follows it; the recover command is about
# to be run, and never is again.
RESTART_FAILED, RECOVERING = "restart_failed", "recovering"

__all__ = ["Fenced", "JournalUnavailable", "SessionJournal", "SessionRecord", "Wanted"]


@dataclass(frozen=True)
class Began:
    """The session has seen the database and changed nothing yet; written once.

    Attributes:
        former: what to go back to: of every knob that may be changed, and those that the server moves along.
        reference: settings against which safety is measured, of the knobs that are tuned.
        knobs: what they are, as plain data: name -> type, unit, low, high, scale, choices, doc.
        features: names of the context's numbers, in their order.
        capabilities: what works, and what is lost without it.
    """

    former: Former
    reference: Config
    knobs: Mapping[str, Any]
    features: Sequence[str]
    capabilities: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Intended:
    """Settings are about to be applied."""

    suggestion: Suggestion


@dataclass(frozen=True)
class RestartIntended:
    """Settings are about to be filed, and the server to be restarted with them."""

    at: float
    config: Config


@dataclass(frozen=True)
class Stands:
    """What the session has left everything at that it can put back; holds until its next intention, or next `Stands`.

    Whoever has to put that back leaves alone what stands at something else by then, and not as it stood: somebody else
    set it. After an intention nobody knows, since servers round, clamp, and move one setting along with another.

    Attributes:
        settings: read back from the server; empty where nobody knows.
    """

    settings: Config


@dataclass(frozen=True)
class RestartTried:
    """What came of settings that took a restart.

    Attributes:
        gain: of them against what stood before (and afterwards, where they were kept), as a share; None where they were
            not measured to the end.
        kept: they stand.
        reason: in words, for people.
        broke: the server could not be restarted as it should; the session restarts it no more.
    """

    at: float
    config: Config
    gain: float | None
    kept: bool
    reason: str
    broke: bool = False


@dataclass(frozen=True)
class Measured:
    """An interval has ended; what the tuner is told.

    In the mode `advice` the interval's suggestion was not applied: its config is what stood.

    Attributes:
        at: its end, wall clock, seconds since the epoch.
        interval: for the tuner; its `config` was read back from the server.
        unsafe: it was seen below the margin.
        lost: work that was not done because it was below the reference, as a share of the interval's work.
        metrics: everything that the server told of it, for people (`Metrics.as_dict`).
        seconds_of: length of the decision that led to it.
        running: what knobs that need a restart stood at; they are no part of what the tuner is told.
    """

    at: float
    interval: Interval
    unsafe: bool
    lost: float = 0.0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    seconds_of: Mapping[str, float] = field(default_factory=dict)
    running: Config = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """An interval that was not judged, and why: too little traffic, the server restarted, counters began anew."""

    at: float
    reason: str


@dataclass(frozen=True)
class Noticed:
    """Something that people should know.

    Attributes:
        kind: `foreign_change`, `refused` (the server did not take a value), `clamped`, `right_lost`, `restarted`,
            `connection_lost`, `connected`, `login_refused`, `taken_over`, `noise` (intervals too short for the server),
            `restart` (the server was restarted by the session, or will not be), `RESTART_FAILED`, `RECOVERING`,
            `advice` (of a white-box rule, in the mode of that name), `mixed` (nothing of these, see the text).
        text: in words.
        knob: that it is about.
    """

    at: float
    kind: str
    text: str
    knob: str | None = None


@dataclass(frozen=True)
class Restored:
    """Settings were put back.

    Attributes:
        settings: read back from the server.
        left: knobs that were left alone, and why (somebody else set them since), or that wait for a restart.
        by: `session`, `watchdog`, `successor` or `command`.
    """

    at: float
    settings: Config
    left: Mapping[str, str] = field(default_factory=dict)
    by: Literal["session", "watchdog", "successor", "command"] = "session"


SessionFact: TypeAlias = (
    Began | Intended | RestartIntended | Stands | RestartTried | Measured | Skipped | Noticed | Restored
)


@dataclass(frozen=True)
class SessionStatus:
    """Where the session as a whole stands; replaces what was said before.

    Attributes:
        touched: settings of ours may stand on the server; True from the first `Intended` until the last `Restored`.
        intervals, unsafe: that were measured; of them, below the margin.
        lost: sum of `Measured.lost`.
        gain: mean over time of performance against what the reference is expected to have done, as a share; None before
            it is known.
        best: safest best settings so far, with what is expected of them.
        tuner: `OnlineTune.state()`; and for the runner that follows, `noise` of seconds and state of the `context`.
        next_at: wall clock at which the interval ends that is being measured.
    """

    state: SessionState
    active_seconds: float
    reason: str | None = None
    touched: bool = False
    intervals: int = 0
    unsafe: int = 0
    lost: float = 0.0
    gain: float | None = None
    best: Mapping[str, Any] | None = None
    tuner: Mapping[str, Any] = field(default_factory=dict)
    next_at: float | None = None


@dataclass(frozen=True)
class SessionBatch:
    """What one step adds; `number` is one above the batch before."""

    number: int
    at: float
    facts: Sequence[SessionFact]
    status: SessionStatus


@dataclass(frozen=True)
class SessionRecord:
    """Everything that a runner needs to begin or to go on.

    Attributes:
        address, host: of the database, as it was attached; the address holds the password.
        batch: number of the last batch committed; 0 before the first.
    """

    session: str
    spec: SessionSpec
    address: Address
    host: Host
    wanted: Wanted
    batch: int
    status: SessionStatus
    facts: Sequence[SessionFact] = ()


class SessionJournal(Protocol):
    """One session's journal, held under one epoch."""

    def load(self) -> SessionRecord:
        """Everything written so far.

        Raises:
            JournalUnavailable: as `commit`.
        """

    def commit(self, batch: SessionBatch) -> None:
        """Write a batch.

        Raises:
            Fenced: another epoch holds the session.
            JournalUnavailable: nothing was written (or it is not known); commit the same batch again.
        """

    def heartbeat(self) -> Wanted:
        """Renew the lease and read what people want: CANCEL is stop-and-restore.

        Raises:
            Fenced, JournalUnavailable: as `commit`.
        """

    def release(self) -> None:
        """Give the lease up; the session's runner ends."""
