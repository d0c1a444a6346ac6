"""What tests of tuning sessions on real servers share: a journal that outlives processes, traffic, a role, a runner."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from db_knobs.address import Address
from db_knobs.attach import open_database
from db_knobs.catalog import Host
from db_knobs.database import Database, Former
from db_knobs.lab.postgres import PrivatePostgres
from db_knobs.restart import RestartCommand
from optimizers.onlinetune import OnlineTuneSettings
from tunewright.session import SessionSpec, SessionState
from workers.session_insight import ServerInsight
from workers.session_journal import (
    Fenced,
    Measured,
    Noticed,
    SessionBatch,
    SessionFact,
    SessionRecord,
    SessionStatus,
    Wanted,
)
from workers.session_loop import SessionLoop, Tools
from workers.session_pulse import Pulse
from workers.session_runner import SystemClock
from workers.watchdog import Watchdog

ROLE, PASSWORD = "tuner", "canary-of-the-tuner"


class FileSessionJournal:
    """`workers.session_journal.SessionJournal` in a directory: it can be sent to another process, and read from here.

    Attributes:
        epoch: of this holder; the newest one stands in a file.
    """

    def __init__(self, directory: Path, spec: SessionSpec, address: Address, epoch: int = 1) -> None:
        self.directory, self.spec, self.address, self.epoch = directory, spec, address, epoch
        directory.mkdir(exist_ok=True)
        (directory / "epoch").write_text(str(epoch))
        if epoch == 1:
            self.want(Wanted.RUN)

    def want(self, wanted: Wanted) -> None:
        """What people want from now on."""
        later = self.directory / "wanted.new"
        later.write_text(wanted)
        later.rename(self.directory / "wanted")

    def taken_over(self) -> FileSessionJournal:
        """The same journal for the next runner."""
        return FileSessionJournal(self.directory, self.spec, self.address, self.epoch + 1)

    @property
    def batches(self) -> list[SessionBatch]:
        found = []
        if (self.directory / "batches").exists():
            with (self.directory / "batches").open("rb") as file:
                while True:
                    try:
                        found.append(pickle.load(file))
                    except (EOFError, pickle.UnpicklingError):
                        break
        return found

    @property
    def status(self) -> SessionStatus:
        batches = self.batches
        return batches[-1].status if batches else SessionStatus(SessionState.PENDING, 0.0)

    @property
    def facts(self) -> list[SessionFact]:
        return [fact for batch in self.batches for fact in batch.facts]

    def of(self, kind: type[Any]) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    @property
    def notices(self) -> set[str]:
        return {fact.kind for fact in self.of(Noticed)}

    def load(self) -> SessionRecord:
        batches = self.batches
        status = self.status
        facts = self.facts
        return SessionRecord("s1", self.spec, self.address, Host(), self._wanted(), len(batches), status, facts)

    def commit(self, batch: SessionBatch) -> None:
        self._check()
        with (self.directory / "batches").open("ab") as file:
            file.write(pickle.dumps(batch))

    def heartbeat(self) -> Wanted:
        self._check()
        return self._wanted()

    def release(self) -> None:
        (self.directory / "released").touch()

    def _wanted(self) -> Wanted:
        return Wanted((self.directory / "wanted").read_text())

    def _check(self) -> None:
        if int((self.directory / "epoch").read_text()) != self.epoch:
            raise Fenced(f"epoch {self.epoch} is over")


class OutOfRange:
    """A database whose first changes carry a value that the server does not take."""

    def __init__(self, database: Database, wrong: Mapping[str, Any]) -> None:
        self._database, self._wrong = database, wrong
        self._left = 2

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def apply(self, settings: dict[str, Any]) -> Any:
        if self._left:
            self._left -= 1
            settings = {**settings, **self._wrong}
        return self._database.apply(settings)


class Session:
    """A session's runner in a thread of this process.

    Args:
        wrap: makes of a database one with faults.
    """

    def __init__(
        self,
        journal: FileSessionJournal,
        wrap: Callable[[Database], Database] = lambda d: d,
        restart_commands: Mapping[str, RestartCommand] | None = None,
    ) -> None:
        self.journal = journal
        self.log = journal.directory / "watchdog.log"
        self.state: SessionState | None = None
        self.error: BaseException | None = None
        self._wrap = wrap
        self._restart_commands = restart_commands or {}
        self._watchdog: Watchdog | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self, state: SessionState, seconds: float = 60.0) -> None:
        """Wait until the runner has ended, in this state."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"it still runs: {self.journal.status}"
        assert self.error is None, self.error
        assert self.state is state, self.journal.status.reason

    def stop(self) -> None:
        """Stop and restore."""
        self.journal.want(Wanted.CANCEL)
        self.wait(SessionState.STOPPED)

    def _run(self) -> None:
        try:
            with Pulse(self.journal) as pulse:
                tools = Tools(
                    lambda *args: self._wrap(open_database(*args)),
                    ServerInsight,
                    self._watch,
                    pulse.wanted,
                    SystemClock(),
                    OnlineTuneSettings(warmup=1, margin=0.5),
                    self._restart_commands,
                )
                self.state = SessionLoop(self.journal, tools).run()
        except BaseException as error:
            self.error = error
        finally:
            if self._watchdog is not None:
                self._watchdog.abandon()

    def _watch(self, record: SessionRecord, former: Former, restarting: Collection[str]) -> Watchdog:
        log = str(self.log)
        self._watchdog = Watchdog(record.session, record.address, record.host, former, log, restarting)
        return self._watchdog


def wait_for(true: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def measured(journal: FileSessionJournal) -> int:
    return len(journal.of(Measured))


@contextmanager
def tuned(server: PrivatePostgres) -> Iterator[None]:
    """Traffic on a server, and a role there that may do what is documented and nothing else; it may set nothing yet."""
    server.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
    server.execute(f"GRANT pg_monitor TO {ROLE}")
    server.execute(f"GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {ROLE}")
    server.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 1000) AS g")

    def client() -> Callable[[], Any]:
        connection = psycopg.connect(server.dsn(), autocommit=True)
        return lambda: connection.execute("SELECT count(*) FROM t").fetchall()

    with traffic(client):
        yield


@contextmanager
def traffic(work: Callable[[], Any], clients: int = 2) -> Iterator[None]:
    """Clients that work again and again, and try again when the server is away.

    Args:
        work: connects, and returns a function that does one transaction.
    """
    over = threading.Event()

    def client() -> None:
        while not over.is_set():
            try:
                transaction = work()
                while not over.wait(0.01):
                    transaction()
            except Exception:
                over.wait(0.1)

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
