"""Leases: who owns what, until when, and under which epoch.

An epoch only ever grows. Whoever writes in the name of a lease shows its epoch and is refused when a newer one exists,
so a holder that was thought dead cannot do harm when it wakes up.

Time is the store's, so that hosts whose clocks differ agree on what has expired. A lease that claims to last longer
than any can was written before the clock was set back; it counts as taken, from now, for as long as one lasts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Engine, Float, cast, func, insert, literal, select, update

from service.store.engine import queue_up, writing
from service.store.tables import LeaseRow

# A holder renews every second or two; after this long without one it counts as dead.
LEASE_SECONDS = 10.0
# More than a lease can have left, even where clocks are being adjusted.
IMPOSSIBLE_SECONDS = LEASE_SECONDS + 1.0


@dataclass(frozen=True)
class Hold:
    """A lease as its holder knows it."""

    name: str
    epoch: int


@dataclass(frozen=True)
class Lease:
    """A lease as everybody sees it.

    Attributes:
        seconds_left: until it expires unless it is renewed; zero and below: nobody holds it.
    """

    holder: str
    epoch: int
    seconds_left: float

    @property
    def ran_out(self) -> bool:
        """Whether nobody holds it any more, and its last holder did not let it go."""
        # Who lets go writes that it ended in 1970.
        return -1e9 < self.seconds_left <= 0


def study_lease(study_id: str) -> str:
    """Name of the lease under which a study's runner writes."""
    return f"study:{study_id}"


def session_lease(session_id: str) -> str:
    """Name of the lease under which a tuning session's runner writes."""
    return f"session:{session_id}"


def acquire(
    engine: Engine,
    name: str,
    holder: str,
    *,
    seconds: float = LEASE_SECONDS,
    seize: bool = False,
    under: Hold | None = None,
) -> int | None:
    """Take a lease that is free or expired.

    Args:
        seconds: how long it lasts, `LEASE_SECONDS` at most.
        seize: take it even from a live holder (who is known to be dead).
        under: another lease, in whose name this is done.
    Returns:
        The new epoch, or None when somebody else holds it, or `under`.
    """
    with writing(engine) as connection:
        if under is not None and not held(connection, under.name, under.epoch):
            return None
        queue_up(connection, f"lease {name}")
        now = _now(connection)
        row = connection.execute(
            select(LeaseRow.epoch, LeaseRow.expires_at - now).where(LeaseRow.name == name).with_for_update()
        ).one_or_none()
        fields = {"holder": holder, "expires_at": now + seconds}
        if row is None:
            connection.execute(insert(LeaseRow).values(name=name, epoch=1, **fields))
            return 1
        epoch, left = row
        if left > 0 and not seize:
            if left > IMPOSSIBLE_SECONDS:
                connection.execute(
                    update(LeaseRow).where(LeaseRow.name == name).values(expires_at=fields["expires_at"])
                )
            return None
        connection.execute(update(LeaseRow).where(LeaseRow.name == name).values(epoch=epoch + 1, **fields))
        return int(epoch) + 1


def renew(connection: Connection, name: str, epoch: int, *, seconds: float = LEASE_SECONDS) -> bool:
    """Hold on to a lease; False when it has gone to somebody else."""
    result = connection.execute(
        update(LeaseRow)
        .where(LeaseRow.name == name, LeaseRow.epoch == epoch)
        .values(expires_at=_now(connection) + seconds)
    )
    return result.rowcount == 1


def release(engine: Engine, name: str, epoch: int) -> bool:
    """Let a lease go; its epoch stays. False when it had gone to somebody else."""
    with writing(engine) as connection:
        result = connection.execute(
            update(LeaseRow).where(LeaseRow.name == name, LeaseRow.epoch == epoch).values(expires_at=0.0)
        )
    return result.rowcount == 1


def revoke(engine: Engine, name: str, epoch: int) -> bool:
    """End a lease whose holder was lost: should it live on where nobody sees it, it may neither write nor renew.

    Returns:
        False when the lease had gone to somebody else.
    """
    with writing(engine) as connection:
        result = connection.execute(
            update(LeaseRow)
            .where(LeaseRow.name == name, LeaseRow.epoch == epoch)
            .values(epoch=LeaseRow.epoch + 1, expires_at=0.0)
        )
    return result.rowcount == 1


def held(connection: Connection, name: str, epoch: int) -> bool:
    """Whether `epoch` is still the newest; locks the lease against a take-over until the transaction ends."""
    statement = select(LeaseRow.epoch).where(LeaseRow.name == name).with_for_update(read=True)
    return connection.execute(statement).scalar_one_or_none() == epoch


def lease(connection: Connection, name: str) -> Lease | None:
    """A lease as it stands; None when it was never taken."""
    left = LeaseRow.expires_at - _now(connection)
    row = connection.execute(select(LeaseRow.holder, LeaseRow.epoch, left).where(LeaseRow.name == name)).one_or_none()
    return None if row is None else Lease(*row)


def now(engine: Engine) -> float:
    """The store's time, by which leases run out, in seconds since the epoch."""
    with engine.connect() as connection:
        return float(connection.execute(select(_now(connection))).scalar_one())


def live(engine: Engine) -> set[str]:
    """Names of all leases that have not expired."""
    with engine.connect() as connection:
        left = LeaseRow.expires_at - _now(connection)
        rows = connection.execute(select(LeaseRow.name).where(left > 0, left < IMPOSSIBLE_SECONDS))
        return set(rows.scalars())


def void(engine: Engine) -> None:
    """End all leases, because whoever held one is known to be gone; their epochs are over."""
    with writing(engine) as connection:
        connection.execute(update(LeaseRow).values(epoch=LeaseRow.epoch + 1, expires_at=0.0))


def _now(connection: Connection) -> ColumnElement[float]:
    """The store's time as it executes a statement, in seconds since the epoch."""
    if connection.dialect.name == "postgresql":
        return cast(func.extract("epoch", func.clock_timestamp()), Float)
    return literal(time.time())
