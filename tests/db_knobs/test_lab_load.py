"""The load lab against real servers: clients do what a phase says, tell what they saw, and survive the server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from db_knobs.address import Address, parse_dsn
from db_knobs.errors import LabError
from db_knobs.lab import mariadb, postgres
from db_knobs.lab.load import Driving, Load, LoadStats, Phase
from db_knobs.lab.mariadb import PrivateMariaDB
from db_knobs.lab.postgres import PrivatePostgres
from db_knobs.lab.programs import Pgbench, Sysbench
from db_knobs.lab.shop import DATABASE, Shop
from db_knobs.lab.transactions import transactions

pytestmark = pytest.mark.slow
SHOP = Shop(0.005)
READ = Phase({"read": 1.0}, clients=2)
WRITE = Phase({"payment": 1.0}, clients=3)


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[PrivatePostgres | PrivateMariaDB]:
    lab = postgres if request.param == "postgresql" else mariadb
    if lab.binaries() is None:
        pytest.skip(f"needs a {request.param} server")
    made = PrivatePostgres() if request.param == "postgresql" else PrivateMariaDB()
    try:
        made.start()
        SHOP.load(made)
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def clients(server: PrivatePostgres | PrivateMariaDB) -> Address:
    return SHOP.clients(server)


def something(load: Driving, seconds: float = 0.3) -> LoadStats:
    """Stats of the first stretch in which something was done; machines that run tests are busy."""
    for _ in range(100):
        stats = load.measure(seconds)
        if stats.transactions > 0:
            return stats
    raise AssertionError("the clients do nothing")


def test_every_transaction_works(clients: Address) -> None:
    names = list(transactions(clients.kind))
    everything = Phase(dict.fromkeys(names, 1.0), clients=4)
    done: dict[str, int] = {}

    with Load(clients, SHOP, everything, seed=1) as load:
        for _ in range(20):
            stats = load.measure(1.0)
            assert stats.errors == 0
            done |= stats.by
            if set(done) == set(names):
                break

    assert set(done) == set(names)
    assert stats.p50_ms is not None
    assert stats.p95_ms is not None
    assert stats.p99_ms is not None
    assert stats.p50_ms <= stats.p95_ms <= stats.p99_ms


def test_another_phase_is_another_load(clients: Address) -> None:
    with Load(clients, SHOP, READ) as load:
        before = something(load)
        load.change(WRITE)
        # What was under way when the phase changed ends under the new one, on a busy machine some seconds later.
        after = something(load)
        for _ in range(30):
            if "read" not in after.by:
                break
            after = something(load)

    assert set(before.by) == {"read"}
    assert set(after.by) == {"payment"}
    assert after.throughput == pytest.approx(after.transactions / after.seconds)


def test_what_clients_saw_is_what_the_server_has(server: PrivatePostgres | PrivateMariaDB, clients: Address) -> None:
    def payments() -> int:
        query = "SELECT count(*) FROM payments"
        rows = (
            server.execute(query, DATABASE)
            if isinstance(server, PrivatePostgres)
            else server.execute(query, database=DATABASE)
        )
        return int(rows[0][0])

    before = payments()
    with Load(clients, SHOP, WRITE) as load:
        seen = something(load).transactions
        load.change(READ)
        # What was under way when the phase changed is done when reads are.
        while "payment" in (by := something(load).by):
            seen += by["payment"]
        written = payments() - before

    # Those before the measurement come on top.
    assert 0 < seen <= written


def test_a_rate_is_kept(clients: Address) -> None:
    with Load(clients, SHOP, Phase({"payment": 1.0}, clients=4, rate=40.0), seed=3) as load:
        stats = load.measure(2.0)

    # 80 on average; what is due while clients are busy is done later, and none of it beyond its rate.
    assert 20 <= stats.transactions <= 116
    assert len(stats.per_second) == 2


def test_clients_come_back_after_the_server_does(server: PrivatePostgres | PrivateMariaDB, clients: Address) -> None:
    with Load(clients, SHOP, READ) as load:
        something(load)
        server.stop()
        down = load.measure(1.0)
        server.start()
        something(load)
        up = something(load)

    assert down.errors > 0
    assert up.errors == 0


def test_clients_keep_to_their_processors_and_their_password_to_themselves(clients: Address) -> None:
    with Load(clients, SHOP, READ, cpus=[0]) as load:
        something(load)
        assert load._process is not None
        process = Path(f"/proc/{load._process.pid}")
        shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        processors = os.sched_getaffinity(load._process.pid)

    assert processors == {0}
    assert clients.password.secret.encode() not in shown
    assert not process.exists()


def test_a_driver_that_is_gone_is_told(clients: Address) -> None:
    with Load(clients, SHOP, READ) as load:
        assert load._process is not None
        load._process.kill()
        load._process.wait()

        with pytest.raises(LabError, match="clients are gone"):
            load.take()


def test_pgbench_and_sysbench_tell_their_figures(server: PrivatePostgres | PrivateMariaDB) -> None:
    address = parse_dsn(server.dsn(DATABASE))
    try:
        if isinstance(server, PrivatePostgres):
            made: Pgbench | Sysbench = Pgbench(address, Phase({"tpcb-like": 1.0}, clients=2))
            made.fill(1)
            second = Phase({"select-only": 3.0, "simple-update": 1.0}, clients=2)
        else:
            made = Sysbench(address, Phase({"oltp_read_write": 1.0}, clients=2), tables=1, rows=1_000)
            made.fill()
            second = Phase({"oltp_point_select": 1.0}, clients=2)
    except LabError as error:
        pytest.skip(str(error))

    with made as load:
        first = something(load, 1.2)
        load.change(second)
        other = something(load, 1.2)

    for stats in (first, other):
        assert stats.throughput > 0
        assert 1 <= len(stats.per_second) <= 3
        assert stats.mean_ms is not None or stats.p95_ms is not None


def test_a_program_refuses_what_it_cannot_drive() -> None:
    address = Address("postgresql", "127.0.0.1", 1, "nobody", database="none")

    with pytest.raises(LabError, match='"lookup" is none of tpcb-like'):
        Pgbench(address, Phase({"lookup": 1.0}))
