"""Leases: who owns what, until when, and under which epoch.

An epoch only ever grows. Whoever writes in the name of a lease shows its epoch and is refused when a newer one exists,
so a holder that was thought dead cannot do harm when it wakes up.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, Engine, insert, select, update

from service.store.engine import writing
from service.store.tables import LeaseRow

# A holder renews every second or two; after this long without one it counts as dead.
LEASE_SECONDS = 10.0


def study_lease(study_id: str) -> str:
    """Name of the lease under which a study's runner writes."""
    return f"study:{study_id}"


def acquire(engine: Engine, name: str, holder: str, *, seize: bool = False) -> int | None:
    """Take a lease that is free or expired.

    Args:
        seize: take it even from a live holder (who is known to be dead).
    Returns:
        The new epoch, or None when somebody else holds it.
    """
    now = time.time()
    with writing(engine) as connection:
        row = connection.execute(
            select(LeaseRow.__table__).where(LeaseRow.name == name).with_for_update()
        ).one_or_none()
        fields = {"holder": holder, "expires_at": now + LEASE_SECONDS}
        if row is None:
            connection.execute(insert(LeaseRow).values(name=name, epoch=1, **fields))
            return 1
        if row.expires_at > now and not seize:
            return None
        connection.execute(update(LeaseRow).where(LeaseRow.name == name).values(epoch=row.epoch + 1, **fields))
        return int(row.epoch) + 1


def renew(connection: Connection, name: str, epoch: int) -> bool:
    """Hold on to a lease; False when it has gone to somebody else."""
    result = connection.execute(
        update(LeaseRow)
        .where(LeaseRow.name == name, LeaseRow.epoch == epoch)
        .values(expires_at=time.time() + LEASE_SECONDS)
    )
    return result.rowcount == 1


def release(engine: Engine, name: str, epoch: int) -> None:
    """Let a lease go; its epoch stays."""
    with writing(engine) as connection:
        connection.execute(
            update(LeaseRow).where(LeaseRow.name == name, LeaseRow.epoch == epoch).values(expires_at=0.0)
        )


def held(connection: Connection, name: str, epoch: int) -> bool:
    """Whether `epoch` is still the newest; locks the lease against a take-over until the transaction ends."""
    statement = select(LeaseRow.epoch).where(LeaseRow.name == name).with_for_update(read=True)
    return connection.execute(statement).scalar_one_or_none() == epoch


def live(engine: Engine) -> set[str]:
    """Names of all leases that have not expired."""
    with engine.connect() as connection:
        rows = connection.execute(select(LeaseRow.name).where(LeaseRow.expires_at > time.time()))
        return set(rows.scalars())
