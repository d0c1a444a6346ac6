"""`tunewright audit`: who did what."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from tunewright.cli import output, show
from tunewright.cli.options import Json, Url
from tunewright.client import Client


def audit(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100, json: Json = False, url: Url = None
) -> None:
    """List what was done or refused, newest first. Needs a token with the scope admin for all projects."""
    with Client(url) as client:
        found = list(islice(client.audit(), limit))
    if json:
        output.as_json(found)
        return
    rows = [
        (
            show.moment(entry.at),
            entry.name,
            entry.token or "-",
            entry.verb,
            entry.resource,
            entry.outcome,
            str(entry.count),
            entry.address or "-",
        )
        for entry in found
    ]
    columns = ("At", "Who", "Token", "Verb", "Resource", "Outcome", "Times", "From")
    output.table(columns, rows, right=("Times",))
