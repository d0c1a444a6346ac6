"""Errors of databases and their knobs; no message, repr or traceback of ours holds a password.

TunewrightError
└── DatabaseError
    ├── AddressError         a DSN or one of its fields is wrong
    ├── LoginRefused         the server does not let this user in: name, password, host or TLS
    ├── ConnectionLost       no server answered, or a connection broke
    │   └── ServerBusy       it answered that it takes no connection now: it is full, or still starting
    ├── StatementTimeout     the server took too long over one statement
    ├── UnknownServer        a server or version that nobody here knows
    ├── RestartFailed        the command that restarts it, or recovers it, did not do so
    ├── RightMissing         the role may not do this; `grants` would let it
    ├── KnobError            the message begins with the knob's name
    │   ├── UnknownKnob      neither catalogue nor server has it
    │   ├── KnobRefused      never touched, or not without the words that allow it
    │   ├── ValueRefused     the server does not take this value
    │   └── NotVerified      the server does not show what was set within the deadline
    ├── StatisticsReset      counters began anew between two snapshots
    ├── CatalogError         a catalogue file is wrong
    └── LabError             a private server or load cannot be started
"""

from __future__ import annotations

from collections.abc import Sequence

from tunewright.errors import TunewrightError


class DatabaseError(TunewrightError):
    """Base of everything that can go wrong with a database."""


class AddressError(DatabaseError, ValueError):
    """The message names the field and the remedy."""


class LoginRefused(DatabaseError):
    """Trying again with the same address will not help."""


class ConnectionLost(DatabaseError):
    """Whether a statement that was under way took effect is unknown; connect again and read."""


class ServerBusy(ConnectionLost):
    """The server runs, and takes no connection of ours now; it may in a while."""


class StatementTimeout(DatabaseError):
    """The connection is still good."""


class UnknownServer(DatabaseError):
    """The message says which servers and versions are known."""


class RestartFailed(DatabaseError):
    """The message ends with what the command said; whether the server runs is unknown."""


class RightMissing(DatabaseError):
    """The role may not do this.

    Attributes:
        grants: statements by which an administrator allows it; empty where the server does not tell which are needed.
    """

    def __init__(self, message: str, grants: Sequence[str] = ()) -> None:
        self.grants = tuple(grants)
        remedy = "; as an administrator run: " + "; ".join(self.grants) if self.grants else ""
        super().__init__(message + remedy)


class KnobError(DatabaseError, ValueError):
    """Something is wrong with one knob.

    Attributes:
        knob: its name.
    """

    def __init__(self, knob: str, problem: str) -> None:
        self.knob = knob
        super().__init__(f'knob "{knob}": {problem}')


class UnknownKnob(KnobError):
    """Neither the catalogue nor the server has it."""


class KnobRefused(KnobError):
    """It is never touched, or only with a consent that was not given."""


class ValueRefused(KnobError):
    """The server does not take the value; nothing was changed."""


class NotVerified(KnobError):
    """The server took the setting and does not show it within the deadline."""


class StatisticsReset(DatabaseError):
    """Two snapshots cannot be compared: the server restarted, or somebody reset its statistics."""


class CatalogError(DatabaseError, ValueError):
    """The message names the file, the knob and the field."""


class LabError(DatabaseError):
    """A private server or a load cannot be started; the message says what is missing."""
