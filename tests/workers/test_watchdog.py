"""The watchdog of a session, as a real process on a real server."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from db_knobs import attach
from db_knobs.address import Address, parse_dsn
from db_knobs.attach import open_database
from db_knobs.catalog import Host
from db_knobs.database import Former
from db_knobs.lab.postgres import PrivatePostgres, binaries
from tests.workers.simulated_server import Server
from workers import watchdog
from workers.watchdog import Watchdog

KNOBS = ["work_mem", "random_page_cost"]
CHANGED: dict[str, Any] = {"work_mem": 16384, "random_page_cost": 1.5}


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    if binaries() is None:
        pytest.skip("needs Debian's PostgreSQL: apt-get install postgresql")
    with PrivatePostgres() as server:
        yield server


@pytest.fixture
def address(server: PrivatePostgres) -> Address:
    return parse_dsn(server.dsn())


@pytest.fixture
def former(address: Address) -> Iterator[Former]:
    """What the knobs stood at; they stand there again after the test."""
    database = open_database(address)
    before = database.former(KNOBS)
    database.close()
    yield before
    database.restore(before)
    database.close()


def wait_until(true: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def standing(address: Address) -> dict[str, Any]:
    database = open_database(address)
    try:
        return database.read(KNOBS)
    finally:
        database.close()


def change(address: Address) -> None:
    database = open_database(address)
    database.apply(CHANGED)
    database.close()


def values(former: Former) -> dict[str, Any]:
    return {name: setting["value"] for name, setting in former.items()}


@pytest.mark.slow
def test_settings_of_a_runner_that_is_killed_are_put_back(
    server: PrivatePostgres, address: Address, former: Former, tmp_path: Path
) -> None:
    log = tmp_path / "watchdog.log"
    program = f"""
import sys, time
from db_knobs.address import parse_dsn
from db_knobs.attach import open_database
from db_knobs.catalog import Host
from workers.watchdog import Watchdog

address = parse_dsn(sys.stdin.readline().strip())
database = open_database(address)
database.connect()
assert database.lock("runner")
dog = Watchdog("s1", address, Host(), database.former({KNOBS!r}), {str(log)!r})
dog.ours({KNOBS!r})
database.apply({CHANGED!r})
print(dog.pid, flush=True)
time.sleep(60)
"""
    runner = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert runner.stdin is not None
        assert runner.stdout is not None
        runner.stdin.write(server.dsn() + "\n")
        runner.stdin.flush()
        pid = int(runner.stdout.readline())
        assert standing(address) == CHANGED
        process = psutil.Process(pid)
        assert os.getsid(pid) != os.getsid(runner.pid)
        assert server.password not in " ".join(process.cmdline()) + str(process.environ())
        # It waits with hardly anything loaded.
        assert process.memory_info().rss < 40e6
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process.send_signal(number)

        runner.kill()
    finally:
        runner.kill()
        runner.communicate()

    wait_until(lambda: standing(address) == values(former), "the former settings")
    wait_until(lambda: not psutil.pid_exists(pid), "the end of the watchdog")
    assert "done" in log.read_text()
    assert server.password not in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_watchdog_that_is_sent_away_leaves_everything_as_it_is(address: Address, former: Former) -> None:
    dog = Watchdog("s1", address, Host(), former)
    dog.ours(KNOBS)
    change(address)

    dog.end()

    wait_until(lambda: not psutil.pid_exists(dog.pid), "the end of the watchdog")
    assert standing(address) == CHANGED


@pytest.mark.slow
def test_it_waits_for_a_database_that_is_down(server: PrivatePostgres, address: Address, former: Former) -> None:
    dog = Watchdog("s1", address, Host(), former)
    dog.ours(KNOBS)
    change(address)
    server.stop()

    dog.abandon()
    time.sleep(1.5)
    assert psutil.pid_exists(dog.pid)
    server.start()

    wait_until(lambda: standing(address) == values(former), "the former settings")
    wait_until(lambda: not psutil.pid_exists(dog.pid), "the end of the watchdog")


@pytest.mark.slow
def test_one_that_was_killed_is_replaced_before_the_next_change(address: Address, former: Former) -> None:
    dog = Watchdog("s1", address, Host(), former)
    dog.ours(["work_mem"])
    first = dog.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(first), "its death")

    dog.ours(KNOBS)

    assert dog.pid != first
    change(address)
    dog.abandon()
    wait_until(lambda: standing(address) == values(former), "the former settings")


@pytest.mark.slow
def test_a_hand_that_changed_another_knob_is_not_undone(address: Address, former: Former) -> None:
    dog = Watchdog("s1", address, Host(), former)
    dog.ours(["work_mem"])
    change(address)

    dog.abandon()

    wait_until(lambda: standing(address)["work_mem"] == values(former)["work_mem"], "the former setting")
    assert standing(address)["random_page_cost"] == CHANGED["random_page_cost"]


@pytest.fixture
def many_files() -> Iterator[None]:
    """More files are open than `select` can look at."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 2048), hard), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        yield
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_it_starts_from_a_process_with_many_open_files(address: Address, former: Former) -> None:
    dog = Watchdog("s1", address, Host(), former)
    dog.ours(KNOBS)

    assert psutil.pid_exists(dog.pid)
    dog.end()
    wait_until(lambda: not psutil.pid_exists(dog.pid), "the end of the watchdog")


def test_without_a_watchdog_nothing_may_be_changed(
    address: Address, former: Former, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(OSError, match="did not start"):
        Watchdog("s1", address, Host(), former).ours(KNOBS)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Server:
    """A pretended server on which a watchdog acts in this process."""
    server = Server()
    monkeypatch.setattr(attach, "open_database", server.open)
    monkeypatch.setattr(watchdog.time, "sleep", server.sleep)
    monkeypatch.setattr(watchdog.time, "monotonic", server.monotonic)
    return server


CHARGE = {
    "session": "s1",
    "address": {"kind": "postgresql", "host": "h", "port": 1, "user": "u", "password": "p", "database": "d"},
    "host": {},
    "former": {"cost": {"value": 4.0, "text": None}},
    "restarting": [],
}


def test_it_leaves_the_settings_to_a_successor_that_holds_the_lock(pretended: Server) -> None:
    pretended.settings["cost"] = 7.0
    successor = pretended.open()
    successor.connect()
    assert successor.lock("successor")

    assert "left to whoever holds" in watchdog._restore(CHARGE, ["cost"])

    assert pretended.settings["cost"] == 7.0


def test_it_waits_for_a_right_and_a_login_that_come_back(pretended: Server) -> None:
    pretended.settings["cost"] = 7.0
    pretended.login = False
    pretended.denied.add("cost")
    pretended.later(600, lambda: setattr(pretended, "login", True))
    pretended.later(1_200, pretended.denied.clear)

    assert watchdog._restore(CHARGE, ["cost"]) == "done"

    assert pretended.settings["cost"] == 4.0
    assert 1_200 <= pretended.now - 1_000 < 1_300


def test_it_gives_up_after_a_day_and_says_so(pretended: Server) -> None:
    pretended.go_down()

    assert "given up after 24 hours: nobody answers" in watchdog._restore(CHARGE, ["cost"])


@pytest.mark.parametrize("theirs", ["settings", "unread"])
def test_what_somebody_else_set_after_the_runners_death_is_left_and_said(pretended: Server, theirs: str) -> None:
    pretended.settings["cost"] = 7.0
    getattr(pretended, theirs)["cost"] = 9.0

    said = watchdog._restore(CHARGE, ["cost"], {"cost": 7.0})

    assert said.startswith("done; left alone: cost stands at 9.0, and this session had left it at 7.0")
    assert pretended.settings["cost"] == 9.0


def test_what_stands_as_the_runner_left_it_is_put_back(pretended: Server) -> None:
    pretended.settings["cost"] = 7.0

    assert watchdog._restore(CHARGE, ["cost"], {"cost": 7.0}) == "done"

    assert pretended.settings["cost"] == 4.0


def test_commands_of_an_administrator_see_neither_our_secrets_nor_our_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is a program in another Python, as Patroni's is, could not even start with ours."""
    monkeypatch.setenv("TUNEWRIGHT_SECRET_KEY", "hush")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "hush")
    monkeypatch.setenv("PYTHONPATH", "/srv/own")
    monkeypatch.setattr(sys, "path", [*sys.path, "/srv/ours"])

    found = watchdog.environment()

    assert "hush" not in found.values()
    assert found["PYTHONPATH"] == "/srv/own"
    assert found["PATH"] == os.environ["PATH"]
