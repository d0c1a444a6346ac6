"""A live database server that is only pretended, under a clock of its own: hours pass in seconds.

`Server` is what outlives everybody; a `Connection` is one process's `Database` on it, and dies with that process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from db_knobs.catalog import Host
from db_knobs.database import Allowed, Applied, Capability, Estimate, Former, FormerSetting, Probe
from db_knobs.errors import ConnectionLost, LoginRefused, RightMissing, UnknownKnob, ValueRefused
from db_knobs.knob import Applies, Knob
from db_knobs.statistics import Metrics, Snapshot, Statement, Workload
from optimizers.onlinetune import Rule
from tunewright.space import Config, Value
from workers.session_hold import Watchdog

KNOBS = (
    Knob("cache", "integer", "memory", current=20, low=0, high=100, unit="MB", moves=("cache_max",)),
    Knob("fast", "bool", "a switch", current=False),
    Knob("cost", "real", "a price", current=4.0, low=1.0, high=10.0),
)
# Of servers that have it; it needs a restart.
POOL = Knob("pool", "integer", "more memory", current=40, low=0, high=100, unit="MB", applies=Applies.RESTART)
# Moved along by the server, and tuned by nobody.
MOVED = "cache_max"


class Killed(BaseException):
    """The process that runs the session dies here."""


class Server:
    """Settings, counters, a lock, a clock, and faults to be had.

    Attributes:
        settings: what stands.
        filed: what the next restart will make stand.
        unread: what a DBA has written into its files and not put in force; whatever makes it read them does.
        written: knobs that stand in the server's own file, where they hide what a DBA writes into another one.
        defaults: what stands after a reset, which is how everything is restored here.
        now: seconds.
        rate: transactions a second under the reference.
        effect: configuration -> factor on the rate.
        up, login: whether it takes connections, and ours.
        refuses: knob -> values that it does not take, as a predicate.
        clamps: knob -> what it makes of a value.
        denied: knobs that the role may not set any more.
        crossing: called before and after everything that changes something; a test dies, or does damage, in it.
        idle_clients: nobody waits for it.
        capabilities: beside the one to apply.
        at: (moment, what happens then), in order.
    """

    def __init__(self, *, pool: bool = False) -> None:
        self.knobs = (*KNOBS, POOL) if pool else KNOBS
        self.defaults: Config = {**{knob.name: knob.current for knob in self.knobs}, MOVED: 40}
        self.settings = dict(self.defaults)
        self.filed: Config = {}
        self.unread: Config = {}
        self.written: set[str] = set()
        self.now = 1_000.0
        self.rate = 100.0
        self.effect: Callable[[Config], float] = lambda config: 1.0
        self.up = True
        self.login = True
        self.epoch = 0
        self.refuses: dict[str, Callable[[Value], bool]] = {}
        self.clamps: dict[str, Callable[[Value], Value]] = {}
        self.denied: set[str] = set()
        self.lock: Connection | None = None
        self.connections: list[Connection] = []
        self.crossing: Callable[[str], None] = lambda _: None
        self.at: list[tuple[float, Callable[[], None]]] = []
        self.commits = 0.0
        self.idle_clients = False
        self.capabilities: tuple[Capability, ...] = ()
        self.seen: list[Config] = []

    # The clock

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1e9 + self.now

    def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        while self.at and self.at[0][0] <= until:
            moment, happens = self.at.pop(0)
            self._pass(moment)
            happens()
        self._pass(until)

    def _pass(self, until: float) -> None:
        if self.up:
            self.commits += max(0.0, until - self.now) * self.rate * self.effect(self.settings)
        self.now = max(self.now, until)

    def later(self, seconds: float, happens: Callable[[], None]) -> None:
        self.at = sorted([*self.at, (self.now + seconds, happens)], key=lambda each: each[0])

    # What may happen to it

    def cut(self) -> None:
        """Every connection breaks."""
        for connection in self.connections:
            connection.broken = True
        self.connections.clear()
        self.lock = None

    def go_down(self) -> None:
        self.cut()
        self.up = False

    def come_up(self, *, forget: bool = False) -> None:
        self.up, self.commits, self.epoch = True, 0.0, self.epoch + 1
        self.settings |= self.filed
        if forget:
            self.settings = dict(self.defaults)

    def open(self, *_: object) -> Connection:
        return Connection(self)


class Connection:
    """`db_knobs.database.Database`."""

    files_settings = True

    def __init__(self, server: Server) -> None:
        self._server = server
        self.broken = True

    def connect(self) -> None:
        self.close()
        if not self._server.up:
            raise ConnectionLost("nobody answers")
        if not self._server.login:
            raise LoginRefused("password authentication failed")
        self.broken = False
        self._server.connections.append(self)

    def close(self) -> None:
        self.broken = True
        if self in self._server.connections:
            self._server.connections.remove(self)
        if self._server.lock is self:
            self._server.lock = None

    def lock(self, holder: str) -> bool:
        self._live()
        if self._server.lock not in (None, self):
            return False
        self._server.lock = self
        return True

    def holds_lock(self) -> bool:
        return not self.broken and self._server.lock is self

    def probe(self, allowed: Allowed = Allowed()) -> Probe:  # noqa: B008
        self._live()
        denied = self._server.denied
        missing = tuple(f"GRANT SET ON {name} TO tuner;" for name in sorted(denied))
        return Probe(
            kind="postgresql",
            version=(15, 1),
            version_text="15.1",
            role="tuner",
            read_only=False,
            replica=False,
            capabilities=(Capability("apply", not denied), *self._server.capabilities),
            missing=missing,
            pending_restart=(),
            host=Host(),
            max_connections=100,
            connections=4,
        )

    def knobs(self, allowed: Allowed = Allowed()) -> list[Knob]:  # noqa: B008
        self._live()
        for name in allowed.names or ():
            if name not in self._server.settings:
                raise UnknownKnob(name, "this server has no such setting")
        offered = [knob.name for knob in self._server.knobs if knob is not POOL]
        return [knob for knob in self._server.knobs if knob.name in (allowed.names or offered)]

    def read(self, names: Sequence[str]) -> Config:
        self._live()
        return {name: self._server.settings[name] for name in names}

    def reread(self) -> None:
        self._live()
        self._server.settings |= self._server.unread
        self._server.unread = {}

    def hidden(self, names: Sequence[str]) -> set[str]:
        self._live()
        return set()

    def former(self, names: Sequence[str]) -> Former:
        self._live()
        every = [*names, *([MOVED] if "cache" in names else [])]
        return {name: FormerSetting(value=self._server.settings[name], text=self._text(name)) for name in every}

    def apply(self, settings: Mapping[str, Value]) -> Applied:
        self._live()
        server = self._server
        server.crossing("before apply")
        for name, value in settings.items():
            if name in server.denied:
                raise RightMissing(f'role "tuner" may not set "{name}"', [f"GRANT SET ON {name} TO tuner;"])
            if name in server.refuses and server.refuses[name](value):
                raise ValueRefused(name, f"the server does not take {value}")
        done = {name: server.clamps.get(name, lambda v: v)(value) for name, value in settings.items()}
        if "cache" in done:
            done[MOVED] = 2 * int(done["cache"])
        server.written |= settings.keys()
        for name, value in done.items():
            self._set(name, value)
            server.crossing(f"in apply, {name} set")
        self.reread()
        server.seen.append(dict(server.settings))
        server.crossing("after apply")
        return Applied(done, ("pool",) if "pool" in done else ())

    def restore(self, former: Former) -> Applied:
        self._live()
        server = self._server
        server.crossing("before restore")
        for name in former:
            if name in server.denied:
                raise RightMissing(f'role "tuner" may not set "{name}"', [f"GRANT SET ON {name} TO tuner;"])
            text = former[name]["text"]
            self._set(name, server.defaults[name] if text is None else int(text))
            if text is None:
                server.written.discard(name)
            server.crossing(f"in restore, {name} set")
        self.reread()
        server.crossing("after restore")
        return Applied({name: server.settings[name] for name in former})

    def measure(self) -> Snapshot:
        self._live()
        server = self._server
        server.crossing("measure")
        active = 0.0 if server.idle_clients else 4.0
        return Snapshot(server.now, str(server.epoch), {"commits": server.commits}, {"active": active})

    def workload(self) -> Workload:
        self._live()
        return {}

    def estimate(self, statements: Mapping[str, Statement]) -> dict[str, Estimate]:
        return {}

    def _set(self, name: str, value: Value) -> None:
        self._server.unread.pop(name, None)
        (self._server.filed if name == POOL.name else self._server.settings)[name] = value

    def _text(self, name: str) -> str | None:
        return str(self._server.filed[name]) if name in self._server.filed else None

    def _live(self) -> None:
        if self.broken:
            raise ConnectionLost("the connection broke")


class PlainInsight:
    """An `Insight` that knows the traffic."""

    features = ("rate", "phase")
    rhythm = 0.0

    def __init__(self, database: Any, probe: Probe, knobs: Sequence[Knob], *earlier: Any) -> None:
        self._tuned = {knob.name for knob in knobs}

    def context(self, metrics: Metrics, ran: Workload) -> tuple[float, ...]:
        return (1.0, 0.0)

    def rules(self, metrics: Metrics | None) -> list[Rule]:
        return [Rule("more-cache", low={"cache": 30.0}, text="more cache")] if "cache" in self._tuned else []

    def guard(self, config: Config) -> str | None:
        return None

    def noise(self, interval: float) -> str | None:
        return "too short for the server's rhythm" if interval < self.rhythm else None

    def state(self) -> dict[str, Any]:
        return {"learnt": True}


class NotedWatchdog(Watchdog):
    """Notes what it is told.

    Attributes:
        told: knobs, each time.
        left: what it was told last that everything was left at.
        ended: it was sent away.
    """

    def __init__(self, *_: object) -> None:
        self.told: list[set[str]] = []
        self.left: Config = {}
        self.ended = False

    def ours(self, names: Any, left: Mapping[str, Value] | None = None) -> None:
        self.told.append(set(names))
        self.left = dict(left or {})

    def end(self) -> None:
        self.ended = True
