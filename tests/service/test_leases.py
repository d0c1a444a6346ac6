"""Who owns what, until when."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select, update

from service.store import leases
from service.store.engine import writing
from service.store.repository import Repository
from service.store.tables import LeaseRow
from tests.service.conftest import postgresql_only


class Clock:
    """Lets time pass for the leases, which know the store's time alone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def advance(self, seconds: float) -> None:
        with writing(self._engine) as connection:
            connection.execute(update(LeaseRow).values(expires_at=LeaseRow.expires_at - seconds))


@pytest.fixture
def engine(repository: Repository) -> Engine:
    return repository.engine


@pytest.fixture
def clock(engine: Engine) -> Clock:
    return Clock(engine)


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
    clock.advance(leases.LEASE_SECONDS - 1)
    assert renew(engine, 1)
    clock.advance(leases.LEASE_SECONDS - 1)
    assert leases.acquire(engine, "a", "two") is None

    clock.advance(1)

    assert leases.live(engine) == set()
    assert leases.acquire(engine, "a", "two") == 2
    assert not renew(engine, 1)


def test_a_released_lease_is_free_and_keeps_its_epoch(engine: Engine, clock: Clock) -> None:
    leases.acquire(engine, "a", "one")

    leases.release(engine, "a", 1)

    assert leases.live(engine) == set()
    assert leases.acquire(engine, "a", "two") == 2


def test_a_revoked_lease_is_over_for_a_holder_that_lives_on(engine: Engine, clock: Clock) -> None:
    leases.acquire(engine, "a", "one")

    assert leases.revoke(engine, "a", 1)

    assert leases.live(engine) == set()
    assert not renew(engine, 1)
    with writing(engine) as connection:
        assert not leases.held(connection, "a", 1)
    assert not leases.revoke(engine, "a", 1)
    assert leases.acquire(engine, "a", "two") == 3


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


def test_a_lease_taken_under_another_needs_that_one(engine: Engine) -> None:
    old = leases.Hold("leader", leases.acquire(engine, "leader", "one") or 0)
    assert leases.acquire(engine, "a", "one", under=old) == 1

    new = leases.Hold("leader", leases.acquire(engine, "leader", "two", seize=True) or 0)

    assert leases.acquire(engine, "a", "one", seize=True, under=old) is None
    assert leases.acquire(engine, "b", "one", under=old) is None
    assert leases.acquire(engine, "a", "two", seize=True, under=new) == 2


def test_a_lease_from_before_the_clock_was_set_back_lasts_no_longer_than_any(engine: Engine, clock: Clock) -> None:
    leases.acquire(engine, "a", "one")
    clock.advance(-3_600)

    assert leases.live(engine) == set()
    assert leases.acquire(engine, "a", "two") is None

    assert leases.live(engine) == {"a"}
    clock.advance(leases.LEASE_SECONDS)
    assert leases.acquire(engine, "a", "two") == 2


def test_voiding_ends_every_lease_and_fences_off_its_holder(engine: Engine) -> None:
    leases.acquire(engine, "a", "one")
    leases.acquire(engine, "b", "one")

    leases.void(engine)

    assert leases.live(engine) == set()
    assert not renew(engine, 1)
    assert leases.acquire(engine, "a", "two") == 3


@postgresql_only
def test_the_stores_clock_counts_and_not_the_holders(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    leases.acquire(engine, "a", "one")

    monkeypatch.setattr(leases.time, "time", lambda: 0.0)
    assert leases.acquire(engine, "a", "two") is None
    assert renew(engine, 1)

    with engine.connect() as connection:
        assert connection.execute(select(LeaseRow.expires_at)).scalar_one() > 1e9
