"""`tunewright token`: who may use the service. These commands open its store, so they run on its machine."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from tunewright.access import DEFAULT_PROJECT, EVERY_PROJECT, Scope, project_name
from tunewright.cli import output, show
from tunewright.cli.options import Json
from tunewright.cli.own_store import DataDir, own_store
from tunewright.cli.problems import Refused
from tunewright.errors import SpecError

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_LONGEST_SECONDS = 100 * 365 * 86400.0
MAX_NAME = 100

app = typer.Typer(help="Make, list and revoke tokens, on the server's machine.", no_args_is_help=True)


class TokenView(BaseModel):
    """A token as these commands show it.

    Attributes:
        token: what its holder sends; only where it was just made.
    """

    id: str
    name: str
    scope: Scope
    project: str
    state: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    token: str | None = None


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    scope: Annotated[
        Scope, typer.Option(help="read: look; write: also submit, steer, ask and tell; admin: also delete.")
    ] = Scope.READ,
    project: Annotated[str, typer.Option(help="The only project that it sees; '*' for all.")] = DEFAULT_PROJECT,
    expires: Annotated[
        str | None, typer.Option(help="How long it is valid, such as 12h, 30d or 8w.", show_default="for ever")
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Make a token. It is shown this once: the store has only a digest of it."""
    if not name.isprintable() or not name.strip() or len(name) > MAX_NAME:
        raise Refused(f"name: give up to {MAX_NAME} printable characters")
    try:
        bound = project if project == EVERY_PROJECT else project_name(project)
    except SpecError as error:
        raise Refused(f"{error}; or '*' for all projects") from None
    seconds = None if expires is None else _seconds(expires)
    with own_store(data_dir) as settings:
        from service import token_admin

        made, text = token_admin.create(settings, name, scope, bound, seconds)
    if json:
        output.as_json(_view(made, text))
    elif output.for_people():
        output.fields([("id", made.id), ("scope", made.scope), ("project", made.project), ("token", text)])
        output.heading("Keep it now; it cannot be shown again.")
    else:
        # Alone, so that it can be sent into a file.
        output.line(text)


@app.command("list")
def list_tokens(data_dir: DataDir = None, json: Json = False) -> None:
    """List all tokens, oldest first."""
    with own_store(data_dir) as settings:
        from service import token_admin

        found = [_view(token) for token in token_admin.every(settings)]
    if json:
        output.as_json(found)
        return
    rows = [
        (
            token.id,
            token.name,
            token.scope,
            token.project,
            token.state,
            show.moment(token.created_at),
            "never" if token.expires_at is None else show.moment(token.expires_at),
            "never" if token.last_used_at is None else show.moment(token.last_used_at),
        )
        for token in found
    ]
    output.table(("Id", "Name", "Scope", "Project", "State", "Created", "Expires", "Last used"), rows)


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id, or its name.")], data_dir: DataDir = None
) -> None:
    """End a token, and every session of it; services notice within seconds."""
    with own_store(data_dir) as settings:
        from service import token_admin

        ended = token_admin.revoke(settings, token)
    output.line(f"token {ended.id} ({ended.name}) is revoked")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise Refused(f'expires "{text}": give a number and m, h, d or w, such as 30d')
    return seconds


def _view(token: Any, text: str | None = None) -> TokenView:
    return TokenView(
        id=token.id,
        name=token.name,
        scope=token.scope,
        project=token.project,
        state=token.state(time.time()),
        created_at=datetime.fromtimestamp(token.created_at, UTC),
        expires_at=_moment(token.expires_at),
        last_used_at=_moment(token.last_used_at),
        token=text,
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
