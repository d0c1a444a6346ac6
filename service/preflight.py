"""What keeps a service from starting on this machine, found without it: what `tunewright doctor` looks at by itself.

Nothing is changed: no lock is kept, no directory made, no table touched.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.diagnosis import FULL_DISK_BYTES
from service.settings import ServiceSettings
from service.store.engine import open_engine, schema
from tunewright.views import Finding, Severity

# A socket's path has 107 characters at most, and Ray adds these below its temporary directory.
SOCKET_CHARACTERS = 107
RAY_CHARACTERS = len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
# Before this nobody had this release.
NOT_BEFORE = 1_767_225_600.0
PROBE_SECONDS = 3.0


def look(settings: ServiceSettings) -> Iterator[Finding]:
    """Everything that is found wrong, or worth knowing, with these settings."""
    yield from _data_directory(settings.data_dir)
    yield from _key_files(settings.data_dir)
    yield from _store(settings)
    yield from _port(settings.host, settings.port)
    yield from _ray(settings)
    yield from _clock()


def _problem(code: str, seen: str, why: str, remedy: str) -> Finding:
    return Finding(severity=Severity.PROBLEM, code=code, seen=seen, why=why, remedy=remedy)


def _data_directory(path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield Finding(
            severity=Severity.NOTE,
            code="no-data-directory",
            seen=f"{path} does not exist",
            why="no service has run with this data directory yet",
            remedy="start one: tunewright serve; or name the right one: --data-dir, or TUNEWRIGHT_DATA_DIR",
        )
        return
    if not os.access(path, os.W_OK | os.X_OK):
        yield _problem(
            "data-directory-not-ours",
            f"{path} cannot be written by this user",
            "the service keeps its store, its keys and its checkpoints there",
            "run the service as the directory's owner, or choose another --data-dir",
        )
        return
    free = shutil.disk_usage(path).free
    if free < FULL_DISK_BYTES:
        yield _problem(
            "disk-full",
            f"{free / 2**20:,.0f} MiB are free on the disk of {path}",
            "the service refuses what it cannot write",
            "free space, or move the data directory to a larger disk",
        )
    yield from _lock(path / "serve.lock")


def _lock(path: Path) -> Iterator[Finding]:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        pass
    except BlockingIOError:
        owner = path.read_text().strip() or "unknown"
        yield _problem(
            "data-directory-in-use",
            f"a service (pid {owner}) holds {path}",
            "it runs, but does not answer at the address that was asked: it still starts, hangs, or listens elsewhere",
            f"give its address with --url; or see its log, and end process {owner} if it hangs",
        )
    except OSError as error:
        yield _problem(
            "no-locks",
            f"{path}: {error.strerror}",
            "a lock keeps two services from one data directory",
            "choose a --data-dir on a local disk",
        )


def _key_files(path: Path) -> Iterator[Finding]:
    """Files that hold secrets are for their owner alone."""
    for file in sorted(path.glob("*")) if path.is_dir() else []:
        name = file.name.lower()
        secret = name.endswith((".key", "-key", "-token", ".pem")) or name in ("key", "secret")
        if secret and file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            mode = stat.S_IMODE(file.stat().st_mode)
            yield _problem(
                "key-file-open",
                f"{file} has the mode {mode:03o}",
                "others on this machine can read a key that protects the service's secrets",
                f"chmod 600 {file}",
            )


def _store(settings: ServiceSettings) -> Iterator[Finding]:
    embedded = settings.data_dir / "tunewright.db"
    if settings.database_url is None and not embedded.exists():
        return
    engine = open_engine(settings.store_url)
    try:
        yield from _schema(engine)
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        yield _problem(
            "store-unreachable",
            f"the store cannot be read: {cause}",
            "the service starts with its store only",
            "start the database, or correct TUNEWRIGHT_DATABASE_URL",
        )
    finally:
        engine.dispose()


def _schema(engine: Engine) -> Iterator[Finding]:
    found = schema(engine)
    if found.newer:
        yield _problem(
            "schema-newer",
            f"the store has the schema {found.there}; this release knows up to {found.needed}",
            "a newer release has used it, and this one would not understand what it wrote",
            "run that release, or restore the backup made before it",
        )
    elif found.older:
        yield _problem(
            "schema-older",
            f"the store has the schema {found.there}; this release needs {found.needed}",
            "once it is brought up to date, an older release cannot use it any more",
            "stop all services that use it, back it up, then run: tunewright migrate",
        )


def _port(host: str, port: int) -> Iterator[Finding]:
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        number = error.errno or 0
        # Numbers below zero are the resolver's.
        if number == errno.EADDRNOTAVAIL or number < 0:
            yield _problem(
                "host-not-here",
                f"{host} is no address of this machine ({(error.strerror or str(error)).partition(' (while')[0]})",
                "the service listens there",
                "choose another with --host, such as 127.0.0.1",
            )
            return
        yield _problem(
            "port-taken",
            f"port {port} on {host} cannot be used ({os.strerror(number)})",
            "the service listens there",
            "choose another with --port, or let --port 0 take a free one",
        )


def _ray(settings: ServiceSettings) -> Iterator[Finding]:
    yield from ray_directory(settings)
    if settings.ray_address is not None:
        yield from _ray_head(settings.ray_address)


def ray_directory(settings: ServiceSettings) -> Iterator[Finding]:
    """A local Ray makes its directory; of a cluster it must be there, on every node that may run a session."""
    path, joined = settings.ray_temp_dir, settings.ray_address is not None
    if joined and not path.is_dir():
        yield _problem(
            "ray-directory-missing",
            f"{path} does not exist on this machine",
            "watchdogs of tuning sessions keep their log there, on whichever node of the cluster they run",
            f"make it on every node, or name one that all have with TUNEWRIGHT_RAY_TEMP_DIR: mkdir -p {path}",
        )
        return
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        yield _problem(
            "ray-directory-not-ours",
            f"{there} cannot be written by this user",
            f"{path} holds logs and sockets that Ray and its actors share with the service",
            "run the service as the directory's owner, or name another with TUNEWRIGHT_RAY_TEMP_DIR",
        )
    longest = len(str(path)) + RAY_CHARACTERS
    if not joined and longest > SOCKET_CHARACTERS:
        yield _problem(
            "ray-path-too-long",
            f"the paths of Ray's sockets under {path} have {longest} characters",
            f"the operating system allows {SOCKET_CHARACTERS}",
            "choose a shorter --ray-temp-dir, such as /tmp/tw",
        )


def _ray_head(address: str) -> Iterator[Finding]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        # "auto" and ray:// addresses are Ray's own to resolve.
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()
    except OSError as error:
        yield _problem(
            "ray-unreachable",
            f"nothing answers at {address} ({error.strerror or error})",
            "trials and runners of studies live on the Ray cluster",
            "start the cluster's head node, or correct --ray-address",
        )


def _clock() -> Iterator[Finding]:
    now = time.time()
    if now < NOT_BEFORE:
        yield _problem(
            "clock-wrong",
            f"this machine's clock says {time.strftime('%Y-%m-%d %H:%M', time.gmtime(now))} UTC",
            "tokens, leases and times shown go by it",
            "set the clock, and let NTP keep it",
        )
