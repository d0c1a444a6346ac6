"""`tunewright migrate`: bring the store to the schema of this release."""

from __future__ import annotations

from tunewright.cli import output
from tunewright.cli.own_store import DataDir, own_store


def migrate(data_dir: DataDir = None) -> None:
    """Bring the store to the schema of this release, after an upgrade. Back it up before, and stop its services."""
    with own_store(data_dir) as settings:
        from service import schema_admin

        before = schema_admin.bring_up_to_date(settings)
    if before.older:
        output.line(f"the store had the schema {before.there} and has {before.needed} now")
    else:
        output.line(f"the store has the schema {before.needed}" + ("" if before.there else " now; it was empty"))
