"""A private server under the shop's load, as tuners and their judges see it: one processor for it, one for the clients.

Tuners are told what the server's own counters say, as in a session; judges look at what the clients saw. Both get them
as they would have been at one speed of the server's processor (`_processor_speed`), since other machines on the same
host change that speed by more than most settings change anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from benchmarks._processor_speed import ProcessorSpeed, Reading
from db_knobs.address import Kind, parse_dsn
from db_knobs.attach import open_database
from db_knobs.catalog import Host
from db_knobs.context import ContextReader
from db_knobs.database import Allowed, Database, Probe
from db_knobs.errors import KnobError
from db_knobs.knob import to_space
from db_knobs.lab.load import Load, LoadStats, Phase
from db_knobs.lab.mariadb import PrivateMariaDB
from db_knobs.lab.postgres import PrivatePostgres
from db_knobs.lab.schedules import PHASES
from db_knobs.lab.shop import DATABASE, Shop
from db_knobs.memory import guard, needed
from db_knobs.rules import advice
from db_knobs.statistics import Metrics, Snapshot, between, workload_between
from optimizers.onlinetune import Rule, SequentialTest, Target
from tunewright.space import Config, Value
from tunewright.study import Objective

MB, GB = 1024**2, 1024**3
MAX_CONNECTIONS = 20
# For how long each phase is looked at before anything is tuned, at least.
LEARN_SECONDS = 2.0


@dataclass(frozen=True)
class Scene:
    """What is tuned, and where.

    Attributes:
        knobs: that all methods may turn.
        settings: that the server starts with; all else is the vendor's default.
        host: what the machine counts as having.
        scale: of the shop, whose data are larger than the server's cache.
    """

    kind: Kind
    knobs: Sequence[str]
    settings: Mapping[str, str]
    host: Host
    scale: float


SCENES: Mapping[str, Scene] = {
    "postgresql": Scene(
        kind="postgresql",
        knobs=(
            *("work_mem", "effective_cache_size", "random_page_cost", "cpu_tuple_cost", "join_collapse_limit", "jit"),
            *("max_parallel_workers_per_gather", "effective_io_concurrency", "max_wal_size", "bgwriter_lru_maxpages"),
            *("checkpoint_completion_target", "commit_delay"),
        ),
        settings={"shared_buffers": "64MB"},
        host=Host(ram_bytes=4 * GB, cores=1),
        scale=0.5,
    ),
    "mariadb": Scene(
        kind="mariadb",
        knobs=(
            *("innodb_buffer_pool_size", "innodb_adaptive_hash_index", "innodb_io_capacity", "innodb_lru_scan_depth"),
            *("innodb_max_dirty_pages_pct", "innodb_read_ahead_threshold", "join_buffer_size", "join_cache_level"),
            *("sort_buffer_size", "tmp_table_size", "max_heap_table_size", "optimizer_search_depth"),
        ),
        settings={"innodb-buffer-pool-size": "64M"},
        host=Host(ram_bytes=2 * GB, cores=1),
        scale=0.25,
    ),
}


@dataclass(frozen=True)
class Stretch:
    """What came of some settings over some seconds.

    Attributes:
        config: read back from the server; what was asked for where it refused.
        seconds: over which they were measured.
        server: transactions a second by the server's counters, at the usual speed of its processor; None where the
            server refused the settings.
        per_second: of them, by the second.
        clients: transactions a second that the clients saw, at the same speed.
    """

    config: Config
    seconds: float
    server: float | None
    per_second: tuple[float, ...]
    clients: float
    context: tuple[float, ...]
    metrics: Metrics | None
    aborted: bool = False


@dataclass(frozen=True)
class _Seen:
    """Counters at both ends, transactions by the second, what the clients saw in between, and the processor's speed.

    Attributes:
        rates: at the usual speed.
        speed: share of the usual one.
    """

    first: Snapshot
    last: Snapshot
    rates: list[float]
    clients: LoadStats
    speed: float
    aborted: bool

    @property
    def throughput(self) -> float:
        """That the clients would have seen at the usual speed."""
        return self.clients.throughput / self.speed


class LiveDatabase:
    """The server, its clients and everything that a session has, from `__enter__` to `__exit__`.

    Attributes:
        target: what methods tune; its reference are the server's defaults.
        guard: see `db_knobs.memory`.
        phases: of the schedules, one after the other.
    """

    target: Target
    guard: Callable[[Config], str | None]
    probe: Probe

    def __init__(self, scene: Scene, *, seconds: float, settle: float, seed: int, scale: float | None = None) -> None:
        self.scene, self.seed, self._settle, self._seconds = scene, seed, settle, seconds
        self.phases = PHASES[scene.kind]
        self._shop = Shop(scene.scale if scale is None else scale)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            mine, theirs = _processors()
            server = _server(self.scene, mine)
            stack.enter_context(server)
            self._speed = None if mine is None else stack.enter_context(ProcessorSpeed(mine[0]))
            self._shop.load(server)
            if isinstance(server, PrivatePostgres):
                server.execute("CREATE EXTENSION pg_stat_statements", DATABASE)
            clients = self._shop.clients(server)
            self._database: Database = open_database(parse_dsn(server.dsn(DATABASE)), self.scene.host)
            stack.callback(self._database.close)
            self._database.connect()
            self._attach()
            # A pool's connections live for a few intervals at most; what they keep must not outlive the settling.
            self._load = stack.enter_context(
                Load(
                    clients,
                    self._shop,
                    self.phases[0],
                    cpus=theirs,
                    seed=self.seed,
                    lifetime=max(0.3, self._settle / 2),
                )
            )
            self._learn()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _attach(self) -> None:
        """Look at the server as a session does."""
        allowed = Allowed(names=list(self.scene.knobs))
        self.probe = self._database.probe(allowed)
        self.knobs = self._database.knobs(allowed)
        self._former = self._database.former([knob.name for knob in self.knobs])
        space = to_space(self.knobs)
        others = self._database.read([name for name in needed(self.scene.kind) if name not in space.names])
        self.guard = guard(self.scene.kind, self.knobs, self.scene.host, MAX_CONNECTIONS, others)
        self._standing: Config = space.default()
        self.target = Target(
            space=space,
            reference=space.default(),
            objective=Objective(metric="throughput", direction="maximize"),
            features=ContextReader.of(self.probe).features,
            seconds=self._seconds,
            seed=self.seed,
        )

    def _learn(self) -> None:
        """Let every phase be seen once; learn what statements there are, and the processor's usual speed."""
        began = self._reading()
        for phase in self.phases:
            self.phase(phase)
            self._load.measure(max(LEARN_SECONDS, self._settle))
        self._usual = self._reading().since(began)
        reader = ContextReader.of(self.probe)
        reader.learn(self._database.workload())
        self._learnt = reader.state()
        self.fresh()

    def fresh(self) -> None:
        """Begin a session anew: the former settings, and a context reader that knows what all others knew."""
        self._database.restore(self._former)
        self._standing = dict(self.target.reference)
        self._reader = ContextReader.from_state(self.scene.kind, self.target.features, self._learnt)

    def phase(self, phase: Phase) -> None:
        """What clients do from now on."""
        self._load.change(phase)

    def rules(self, metrics: Metrics | None) -> list[Rule]:
        """White-box rules as a tuner takes them."""
        said = advice(self.scene.kind, self.knobs, self.scene.host, self.probe, metrics)
        return [Rule(**vars(each)) for each in said]

    def clients(self, config: Config, seconds: float) -> float:
        """Transactions a second that the clients see under some settings; 0 where the server refuses them."""
        try:
            self._apply(config)
        except KnobError:
            return 0.0
        return self._watched(seconds, None).throughput

    def run(self, config: Config, seconds: float, watch: SequentialTest | None = None) -> Stretch:
        """An interval under some settings, ended early where the test raises an alarm."""
        try:
            standing = self._apply(config)
        except KnobError:
            return self._refused(config)
        before = self._database.workload()
        seen = self._watched(seconds, watch)
        ran = workload_between(before, self._database.workload())
        metrics = between(seen.first, seen.last)
        return Stretch(
            config=standing,
            seconds=metrics.seconds,
            server=metrics.throughput / seen.speed if metrics.throughput > 0 else None,
            per_second=tuple(seen.rates),
            clients=seen.throughput,
            context=self._reader.read(metrics, ran, self._database.estimate(ran)),
            metrics=metrics,
            aborted=seen.aborted,
        )

    def _watched(self, seconds: float, watch: SequentialTest | None) -> _Seen:
        """Look at the counters every second, whoever is measured, since looking costs the server something."""
        first = last = self._database.measure()
        self._load.take()
        began = read = self._reading()
        until, rates, aborted = time.monotonic() + seconds, list[float](), False
        while not aborted and (left := until - time.monotonic()) > 0.05:
            time.sleep(min(1.0, left))
            now, reading = self._database.measure(), self._reading()
            rates.append(between(last, now).throughput / self._share(read, reading))
            last, read = now, reading
            aborted = watch is not None and watch.observe(rates[-1])
        return _Seen(first, last, rates, self._load.take(), self._share(began, read), aborted)

    def _reading(self) -> Reading:
        return Reading(0, 0.0) if self._speed is None else self._speed.read()

    def _share(self, first: Reading, last: Reading) -> float:
        """The processor's speed between two readings as a share of its usual one; 1 where it is not known."""
        speed = last.since(first)
        return 1.0 if speed is None or self._usual is None else speed / self._usual

    def _refused(self, config: Config) -> Stretch:
        return Stretch(config, self._seconds, None, (), 0.0, (0.0,) * len(self.target.features), None)

    def _apply(self, config: Config) -> Config:
        """Set what differs from what stands, wait until it has taken hold, and tell what really stands.

        Raises:
            KnobError: the server refuses a value; nothing was changed.
        """
        changed: dict[str, Value] = {name: value for name, value in config.items() if self._standing[name] != value}
        if changed:
            applied = self._database.apply(changed)
            self._standing = {**self._standing, **{n: v for n, v in applied.settings.items() if n in self._standing}}
        time.sleep(self._settle)
        return dict(self._standing)


def _server(scene: Scene, cpus: Sequence[int] | None) -> PrivatePostgres | PrivateMariaDB:
    """A private server, not yet started.

    Raises:
        LabError: it is not installed here.
    """
    most = str(MAX_CONNECTIONS)
    if scene.kind == "postgresql":
        options = {"max_connections": most, "shared_preload_libraries": "pg_stat_statements"}
        return PrivatePostgres(options, scene.settings, cpus=cpus)
    return PrivateMariaDB({"max-connections": most, **scene.settings}, cpus=cpus)


def _processors() -> tuple[Sequence[int] | None, Sequence[int] | None]:
    """One for the server and one for the clients; all for both where there is one only."""
    usable = sorted(os.sched_getaffinity(0))
    return (None, None) if len(usable) < 2 else ([usable[0]], [usable[1]])
