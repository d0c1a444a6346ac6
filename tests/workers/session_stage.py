"""A pretended server with a session on it: what the tests of a session's life stand on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from db_knobs.database import Database
from optimizers.onlinetune import OnlineTuneSettings
from tests.workers.memory_session_journal import MemorySessionJournal
from tests.workers.simulated_server import Killed, NotedWatchdog, PlainInsight, Server
from tunewright.session import SessionSpec, SessionState
from workers.session_loop import SessionLoop, Tools

SECONDS = 60.0
INTERVALS = 6


def spec(**fields: Any) -> SessionSpec:
    return SessionSpec(
        **{"database": "app", "interval": SECONDS, "budget": {"intervals": INTERVALS}, "seed": 3, **fields}
    )


@dataclass
class Stage:
    """A server, a session's journal, and the runners that come and go."""

    server: Server = field(default_factory=Server)
    journal: MemorySessionJournal = field(default_factory=lambda: MemorySessionJournal(spec()))
    watchdogs: list[NotedWatchdog] = field(default_factory=list)

    def run(self) -> SessionState:
        def watchdog(*_: object) -> NotedWatchdog:
            self.watchdogs.append(NotedWatchdog())
            return self.watchdogs[-1]

        databases: list[Database] = []

        def opened(*_: object) -> Database:
            databases.append(self.server.open())
            return databases[-1]

        tools = Tools(opened, PlainInsight, watchdog, self.journal.heartbeat, self.server, OnlineTuneSettings(warmup=2))
        try:
            return SessionLoop(self.journal, tools).run()
        finally:
            # A process that dies takes its connections along.
            for database in databases:
                database.close()

    def follow(self, **wanted: Any) -> SessionState:
        """Let a successor run."""
        self.server.crossing = lambda _: None
        self.journal = self.journal.taken_over()
        for name, value in wanted.items():
            setattr(self.journal, name, value)
        return self.run()

    @property
    def at_home(self) -> bool:
        return self.server.settings == self.server.defaults


def stage(server: Server | None = None, **fields: Any) -> Stage:
    return Stage(server or Server(), MemorySessionJournal(spec(**fields)))


def away_at(stage: Stage, happens: Callable[[], None], seconds: float = 5.0) -> None:
    """Let something happen some seconds after the first change."""
    happened = False

    def crossing(point: str) -> None:
        nonlocal happened
        if point == "after apply" and not happened:
            happened = True
            stage.server.later(seconds, happens)

    stage.server.crossing = crossing


def crossings(scene: Stage, at: int | None) -> list[str]:
    """Count what is crossed, and die at one of them."""
    crossed: list[str] = []

    def crossing(point: str) -> None:
        crossed.append(point)
        if len(crossed) - 1 == at:
            raise Killed(point)

    scene.server.crossing = crossing
    scene.journal.crossing = crossing
    return crossed


def killed() -> None:
    raise Killed
