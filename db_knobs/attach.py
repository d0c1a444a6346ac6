"""From an address to a database with knobs."""

from __future__ import annotations

from db_knobs.address import Address
from db_knobs.catalog import Host
from db_knobs.database import Database


def open_database(address: Address, host: Host = Host()) -> Database:  # noqa: B008
    """The database at an address; nothing is connected before the first call.

    Args:
        host: what the server's machine has; needed where it is another one than ours.
    """
    # Only the driver that is used is imported.
    if address.kind == "postgresql":
        from db_knobs.postgres import Postgres

        return Postgres(address, host)
    from db_knobs.mysql import MySQL

    return MySQL(address, host)
