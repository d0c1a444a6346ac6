"""Who owns what, until when."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from service.store import leases
from service.store.engine import writing
from service.store.repository import Repository


class Clock:
    """Stands for the `time` module that leases read."""

    now = 1_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leases, "time", clock)
    return clock


@pytest.fixture
def engine(repository: Repository) -> Engine:
    return repository.engine


def renew(engine: Engine, epoch: int) -> bool:
    with writing(engine) as connection:
        return leases.renew(connection, "a", epoch)


def test_a_lease_has_one_holder(engine: Engine, clock: Clock) -> None:
    assert leases.acquire(engine, "a", "one") == 1
    assert leases.acquire(engine, "a", "two") is None
    assert leases.acquire(engine, "b", "two") == 1
    assert leases.live(engine) == {"a", "b"}


def test_a_lease_expires_unless_it_is_renewed(engine: Engine, clock: Clock) -> None:
    leases.acquire(engine, "a", "one")
    clock.now += leases.LEASE_SECONDS - 1
    assert renew(engine, 1)
    clock.now += leases.LEASE_SECONDS - 1
    assert leases.acquire(engine, "a", "two") is None

    clock.now += 1

    assert leases.live(engine) == set()
    assert leases.acquire(engine, "a", "two") == 2
    assert not renew(engine, 1)


def test_a_released_lease_is_free_and_keeps_its_epoch(engine: Engine, clock: Clock) -> None:
    leases.acquire(engine, "a", "one")

    leases.release(engine, "a", 1)

    assert leases.live(engine) == set()
    assert leases.acquire(engine, "a", "two") == 2


def test_releasing_an_old_epoch_frees_nothing(engine: Engine, clock: Clock) -> None:
    leases.acquire(engine, "a", "one")
    leases.acquire(engine, "a", "two", seize=True)

    leases.release(engine, "a", 1)

    assert leases.live(engine) == {"a"}


def test_a_seized_lease_fences_off_its_holder(engine: Engine, clock: Clock) -> None:
    leases.acquire(engine, "a", "one")

    epoch = leases.acquire(engine, "a", "two", seize=True)

    assert epoch == 2
    with writing(engine) as connection:
        assert [leases.held(connection, "a", number) for number in (1, 2, 3)] == [False, True, False]


def test_of_many_who_want_a_lease_at_once_one_gets_it(engine: Engine) -> None:
    barrier = threading.Barrier(8)

    def acquire(n: int) -> int | None:
        barrier.wait()
        return leases.acquire(engine, "a", str(n))

    with ThreadPoolExecutor(8) as pool:
        epochs = list(pool.map(acquire, range(8)))

    assert sorted(epochs, key=lambda epoch: epoch is None) == [1] + [None] * 7
