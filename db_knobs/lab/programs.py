"""Load by the field's own programs: pgbench on PostgreSQL, sysbench on MariaDB and MySQL, behind `load`'s verbs.

They are lean, and people know their figures. They tell what they did second by second: pgbench with the mean latency,
sysbench with the 95th percentile. A phase's mix names their own scripts; `span` is not theirs.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from db_knobs.address import Address
from db_knobs.errors import LabError
from db_knobs.lab.phase import LoadStats, Phase

# pgbench's own scripts; whoever has one of their own gives its path.
PGBENCH = ("tpcb-like", "simple-update", "select-only")
SYSBENCH = ("oltp_read_only", "oltp_read_write", "oltp_write_only", "oltp_point_select", "oltp_update_index")
_HOURS = 24 * 3600
_END_SECONDS = 10.0
_SAID = 2_000


@dataclass(frozen=True)
class _Second:
    """What a program says of one second."""

    rate: float
    mean_ms: float | None
    p95_ms: float | None
    errors: float


class _Program(ABC):
    """One program at a time; `change` ends it and starts another.

    Args:
        cpus: processors of the program; None means all.
    Raises:
        LabError: it is not installed, does not know what the phase asks for, or has ended.
    """

    name: str
    package: str
    # A second's line, with the groups rate, and mean, p95 and errors where the program tells them.
    line: re.Pattern[str]

    def __init__(self, address: Address, phase: Phase, *, cpus: Sequence[int] | None = None) -> None:
        self._address, self._phase, self._cpus = address, phase, cpus
        self._command(phase)  # A phase that it cannot drive fails here.
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._directory = ""
        self._seconds: list[_Second] = []
        self._said = ""
        self._since = time.monotonic()

    @abstractmethod
    def _command(self, phase: Phase) -> list[str]:
        """What to run; the password is in the environment.

        Raises:
            LabError: the program cannot do what the phase asks for.
        """

    @abstractmethod
    def _secret(self) -> Mapping[str, str]:
        """The password, as the program reads it from its environment: everybody can read a command line."""

    def __enter__(self) -> Self:
        self._directory = tempfile.mkdtemp(prefix=f"tw-{self.name}-")
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def change(self, phase: Phase) -> None:
        self._command(phase)
        self._stop()
        self._phase = phase
        self._start()

    def take(self) -> LoadStats:
        if self._process is None or self._process.poll() is not None:
            raise LabError(f"{self.name} has ended; it says: {self._said}")
        seconds, self._seconds = self._seconds, []
        now, since = time.monotonic(), self._since
        self._since = now
        rates = [second.rate for second in seconds]
        throughput = sum(rates) / len(rates) if rates else 0.0
        means = [second.mean_ms * second.rate for second in seconds if second.mean_ms is not None]
        return LoadStats(
            seconds=now - since,
            transactions=round(sum(rates)),
            throughput=throughput,
            per_second=tuple(round(rate) for rate in rates),
            mean_ms=sum(means) / sum(rates) if means and sum(rates) > 0 else None,
            # The worst second's: they do not tell that of several.
            p95_ms=max((second.p95_ms for second in seconds if second.p95_ms is not None), default=None),
            errors=round(sum(second.errors for second in seconds)),
        )

    def measure(self, seconds: float) -> LoadStats:
        self.take()
        time.sleep(seconds)
        return self.take()

    def _installed(self) -> str:
        found = shutil.which(self.name)
        if found is None:
            raise LabError(f"{self.name} is not installed here: apt-get install {self.package}")
        return found

    def _start(self) -> None:
        command = self._command(self._phase)
        if self._cpus is not None:
            command = ["taskset", "--cpu-list", ",".join(map(str, self._cpus)), *command]
        self._process = subprocess.Popen(
            command,
            cwd=self._directory,
            env={**os.environ, **self._secret()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._seconds, self._said, self._since = [], "", time.monotonic()
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            match = self.line.search(line)
            if match is None:
                self._said = (self._said + _masked(line, self._address))[-_SAID:]
            else:
                told = {name: float(value) for name, value in match.groupdict().items() if value}
                self._seconds.append(_Second(told["rate"], told.get("mean"), told.get("p95"), told.get("errors", 0.0)))

    def _stop(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert self._reader is not None
        assert process.stdout is not None
        self._reader.join()
        process.stdout.close()

    def _run(self, command: Sequence[str]) -> None:
        """Run a command to its end.

        Raises:
            LabError: it fails; the message ends with what it said.
        """
        done = subprocess.run(
            command,
            env={**os.environ, **self._secret()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"{self.name} failed: {_masked(done.stdout, self._address)[-_SAID:]}")


class Pgbench(_Program):
    """pgbench, on tables that `fill` has made."""

    name, package = "pgbench", "postgresql-contrib"
    line = re.compile(
        r"progress: [\d.]+ s, (?P<rate>[\d.]+) tps, lat (?P<mean>[\d.]+|NaN) ms stddev \S+(?: (?P<errors>\d+) failed)?"
    )

    def fill(self, scale: int) -> None:
        """Make and fill its tables: 100,000 accounts, 15 MB, for each unit of scale.

        Raises:
            LabError: it fails.
        """
        self._run([self._installed(), "-i", "-q", "-s", str(scale), *self._server()])

    def _command(self, phase: Phase) -> list[str]:
        scripts = []
        for name, share in phase.mix.items():
            if name not in PGBENCH and not Path(name).is_file():
                raise LabError(f'phase.mix: "{name}" is none of {", ".join(PGBENCH)}, nor a file')
            scripts += ["-b" if name in PGBENCH else "-f", f"{name}@{max(1, round(100 * share))}"]
        rate = [] if phase.rate is None else ["-R", str(phase.rate)]
        return [
            *(self._installed(), "-n", "-P", "1", "-T", str(_HOURS), "-c", str(phase.clients)),
            *(*scripts, *rate, *self._server()),
        ]

    def _server(self) -> list[str]:
        address = self._address
        return ["-h", address.host, "-p", str(address.port), "-U", address.user, address.database]

    def _secret(self) -> Mapping[str, str]:
        return {"PGPASSWORD": self._address.password.secret}


class Sysbench(_Program):
    """One of sysbench's OLTP scripts at a time, on tables that `fill` has made."""

    name, package = "sysbench", "sysbench"
    line = re.compile(r"thds: \d+ tps: (?P<rate>[\d.]+) .*lat \(ms,95%\): (?P<p95>[\d.]+) err/s: (?P<errors>[\d.]+)")

    def __init__(
        self, address: Address, phase: Phase, *, cpus: Sequence[int] | None = None, tables: int = 4, rows: int = 100_000
    ) -> None:
        self._tables, self._rows = tables, rows
        super().__init__(address, phase, cpus=cpus)

    def fill(self) -> None:
        """Make and fill its tables, about 24 MB for each 100,000 rows.

        Raises:
            LabError: it fails.
        """
        self._run([*self._command(self._phase)[:-1], "prepare"])

    def _command(self, phase: Phase) -> list[str]:
        if len(phase.mix) != 1 or next(iter(phase.mix)) not in SYSBENCH:
            raise LabError(f"phase.mix: {dict(phase.mix)} must be one of {', '.join(SYSBENCH)}")
        address = self._address
        rate = [] if phase.rate is None else [f"--rate={phase.rate:g}"]
        return [
            *(self._installed(), next(iter(phase.mix)), "--db-driver=mysql", f"--mysql-host={address.host}"),
            *(f"--mysql-port={address.port}", f"--mysql-user={address.user}", f"--mysql-db={address.database}"),
            *(f"--tables={self._tables}", f"--table-size={self._rows}", f"--threads={phase.clients}"),
            *(f"--time={_HOURS}", "--report-interval=1", "--percentile=95", *rate, "run"),
        ]

    def _secret(self) -> Mapping[str, str]:
        return {"MYSQL_PWD": self._address.password.secret}


def _masked(text: str, address: Address) -> str:
    secret = address.password.secret
    return text.replace(secret, "***") if secret else text
