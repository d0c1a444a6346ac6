"""Bringing a store to the schema of this release, as whoever upgrades the service asks for."""

from __future__ import annotations

from service.app import lock_data_directory
from service.conductor import LEASE
from service.settings import ServiceSettings
from service.store import leases
from service.store.engine import Schema, SchemaError, migrate, open_engine, schema


def bring_up_to_date(settings: ServiceSettings) -> Schema:
    """Migrate the store in one transaction, while no service uses it.

    Returns:
        The schema as it was before.
    Raises:
        DataDirectoryError: a service is using the data directory.
        SchemaError: a service is using the store, or a newer release has.
    """
    engine = open_engine(settings.store_url)
    try:
        with lock_data_directory(settings.data_dir):
            before = schema(engine)
            if before.older:
                with engine.connect() as connection:
                    leader = leases.lease(connection, LEASE)
                if leader is not None and leader.seconds_left > 0 and not settings.sole_user:
                    raise SchemaError(
                        f"a service ({leader.holder}) is using the store; stop all of them first. If it has just ended "
                        f"without a word, wait {leases.LEASE_SECONDS:.0f} seconds"
                    )
            migrate(engine)
            return before
    finally:
        engine.dispose()
