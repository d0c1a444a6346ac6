"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

from tunewright._requests import service_url
from tunewright.cli.problems import Refused
from tunewright.errors import SpecError


def _usable(url: str | None) -> str | None:
    try:
        return None if url is None else service_url(url)
    except SpecError as error:
        raise Refused(f"--url: {error}") from None


Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="TUNEWRIGHT_URL",
        help="Address of the service.",
        show_default="http://127.0.0.1:8080",
        callback=_usable,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StudyId = Annotated[
    str, typer.Argument(metavar="STUDY", help="A study's id, the beginning of one, or `last` for the newest.")
]
SessionId = Annotated[
    str, typer.Argument(metavar="SESSION", help="A session's id, the beginning of one, or `last` for the newest.")
]
DatabaseId = Annotated[str, typer.Argument(metavar="DATABASE", help="An attached database's name or id.")]
