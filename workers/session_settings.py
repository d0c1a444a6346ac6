"""What the cluster gives to every tuning session; apart from the runner, which needs more than a service does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from db_knobs.restart import RestartCommand
from workers.logs import LogSettings


@dataclass(frozen=True)
class SessionSettings:
    """What the cluster gives to every session.

    Attributes:
        watchdog_log: file to which watchdogs write what they did, on the runner's machine; its directory is made when
            it is missing. None: they write nothing.
        restart_commands: by name; what a session may restart its server with.
        logs: how its worker logs.
        trace: the trace that it is part of, as `workers.tracing` carries one.
    """

    watchdog_log: str | None = None
    restart_commands: Mapping[str, RestartCommand] = field(default_factory=dict)
    logs: LogSettings = field(default_factory=LogSettings)
    trace: Mapping[str, str] = field(default_factory=dict)
