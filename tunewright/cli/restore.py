"""`tunewright restore`: put back what a database's settings were, with the service's help or without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from tunewright.cli import output, quantities, show_sessions
from tunewright.cli.identify import session_id
from tunewright.cli.options import SessionId, Url
from tunewright.cli.own_store import own_store
from tunewright.cli.problems import Refused
from tunewright.cli.show_databases import value
from tunewright.client import Client
from tunewright.errors import ApiError
from tunewright.session_views import NoticeView, SessionView

POLL_SECONDS = 0.5


def restore(
    session: SessionId,
    direct: Annotated[
        bool,
        typer.Option(
            "--direct", help="Without the service, on its machine: open its store and the database, and put them back."
        ),
    ] = False,
    wait: Annotated[str, typer.Option(help="How long to wait until they are back.")] = "2m",
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="With --direct: where the service keeps its store (else TUNEWRIGHT_DATA_DIR or _DATABASE_URL says).",
            show_default="~/.tunewright",
        ),
    ] = None,
    url: Url = None,
) -> None:
    """Stop a tuning session, or take back what one has kept: former settings return; exits 1 while they have not."""
    seconds = quantities.seconds(wait, "wait")
    if direct:
        _restore_directly(session, data_dir, seconds)
        return
    if data_dir is not None:
        raise Refused("data-dir: only --direct opens a store; leave it out, or add --direct")
    with Client(url) as client:
        _restore_by_service(client, session_id(client, session), seconds)


def _restore_by_service(client: Client, session: str, seconds: float) -> None:
    found = client.session(session)
    if not found.state.final or found.spec.keeps(found.state):
        found = _stopped(client, session)
    deadline = time.monotonic() + seconds
    while not found.state.final and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        found = client.session(session)
    if not found.state.final or found.touched:
        output.line(f"session {session} is {show_sessions.standing(found)}; the former settings are not back yet")
        output.line(f"the service goes on trying; without it: tunewright restore {session} --direct")
        raise typer.Exit(1)
    output.line(f"session {session} is {show_sessions.standing(found)}")
    _tell(found, client.notices(session))


def _stopped(client: Client, session: str) -> SessionView:
    try:
        return client.stop_session(session)
    except ApiError as error:
        # It may have ended by itself meanwhile.
        found = client.session(session)
        if error.status != 409 or not found.state.final or found.spec.keeps(found.state):
            raise
        return found


def _tell(found: SessionView, notices: Iterator[NoticeView]) -> None:
    """What was put back, in the server's words."""
    last = next((notice for notice in notices if notice.kind == "restored"), None)
    if last is None:
        output.line("it has changed no setting")
        return
    if last.settings:
        units = {name: str(knob.get("unit") or "") for name, knob in found.knobs.items()}
        _settings({name: f"{value(of)} {units.get(name, '')}".strip() for name, of in last.settings.items()})
    for name, why in last.left.items():
        output.line(f"{name} was left alone: {why}")


def _settings(of: dict[str, str]) -> None:
    output.table(("Knob", "Now"), sorted(of.items()))


def _restore_directly(session: str, data_dir: Path | None, seconds: float) -> None:
    """Without the service; see `service.session_admin`."""
    with own_store(data_dir) as settings:
        from service import session_admin

        restored = session_admin.restore(settings, session, seconds)
    _settings({name: value(of) for name, of in restored.settings.items()})
    for name, why in restored.left.items():
        output.line(f"{name} was left alone: {why}")
