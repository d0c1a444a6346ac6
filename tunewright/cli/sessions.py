"""Commands about tuning sessions: begin, follow, steer, and put back what a database's settings were."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from tunewright import _session_requests as requests
from tunewright._yaml import read_mapping
from tunewright.cli import output, quantities, show_sessions
from tunewright.cli.identify import database_id, session_id
from tunewright.cli.options import Json, SessionId, Url
from tunewright.cli.problems import Refused, field_lines, in_file
from tunewright.cli.session_lines import follow
from tunewright.client import Client
from tunewright.errors import SpecError
from tunewright.session import SessionSpec, SessionState
from tunewright.session_views import SessionView

# Of these an option replaces what it names; what else a file says stays: without its bound a knob would go further.
_BY_NAME = {"accepted", "bounds", "budget", "restarts"}

app = typer.Typer(help="List tuning sessions, look at one, steer it.", invoke_without_command=True)


def tune_db(
    database: Annotated[
        str,
        typer.Argument(
            metavar="DATABASE|FILE", help="An attached database, or a session in YAML (.yaml, .yml); - reads one."
        ),
    ],
    objective: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MEASURE[=WEIGHT]", help="throughput, latency_mean, latency_p95, latency_p99; repeatable."
        ),
    ] = None,
    interval: Annotated[
        str | None, typer.Option(help="Time between decisions, such as 60s.", show_default="60s")
    ] = None,
    knobs: Annotated[
        str | None, typer.Option(help="The only knobs to turn, with commas.", show_default="those offered")
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="KNOB=WORDS", help="Allow a knob that may lose data, in its own words; repeatable."),
    ] = None,
    bound: Annotated[
        list[str] | None,
        typer.Option(metavar="KNOB=LOW:HIGH", help="Turn a knob less far, in its own unit; repeatable."),
    ] = None,
    advice: Annotated[bool, typer.Option("--advice", help="Only say what it would change; change nothing.")] = False,
    budget: Annotated[
        str | None, typer.Option(help="Time after which it ends, such as 30m.", show_default="until stopped")
    ] = None,
    intervals: Annotated[int | None, typer.Option(min=1, help="Intervals after which it ends.")] = None,
    margin: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="Loss that counts as none, as a share.", show_default="0.05")
    ] = None,
    restart: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Restart the server by this command of the service's.")
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="FROM-TO", help="When it may be restarted, every day in UTC, such as 02:00-04:00."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the best safe settings in place at the end of the budget.")
    ] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Of every random draw.", show_default="0")] = None,
    following: Annotated[bool, typer.Option("--follow", help="Show what happens until it is over.")] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Tune an attached database while it works; what it changes is put back when the session ends."""
    file = _file(database)
    given: dict[str, Any] = _read(file) if file is not None else {"database": database}
    limits = {"seconds": None if budget is None else quantities.seconds(budget, "budget"), "intervals": intervals}
    options: dict[str, Any] = {
        "objective": _objective(objective or []),
        "interval": None if interval is None else quantities.seconds(interval, "interval"),
        "knobs": None if knobs is None else [name.strip() for name in knobs.split(",") if name.strip()],
        "accepted": dict(_pair(text, "accept", "KNOB=WORDS") for text in accept or []) or None,
        "bounds": dict(_bound(text) for text in bound or []) or None,
        "mode": "advice" if advice else None,
        "budget": {name: limit for name, limit in limits.items() if limit is not None} or None,
        "margin": margin,
        "restarts": _restarts(restart, window, given.get("restarts")),
        "keep": keep or None,
        "seed": seed,
    }
    for name, option in options.items():
        if option is not None:
            given[name] = _over(given.get(name), option) if name in _BY_NAME else option
    spec = _spec(given, file)
    with Client(url) as client:
        session = client.create_session(spec)
        if json and not following:
            output.as_json(session)
        elif output.for_people():
            output.fields([("session", session.id), ("page", f"{client.url}/sessions/{session.id}")])
        elif not json:
            output.line(session.id)
        if following:
            _follow(client, session.id, json)


@app.callback()
def sessions(
    context: typer.Context,
    database: Annotated[str | None, typer.Option(help="Only those of this database.")] = None,
    state: Annotated[SessionState | None, typer.Option(help="Only those in this state.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    if context.invoked_subcommand is not None:
        return
    with Client(url) as client:
        of = None if database is None else database_id(client, database)
        found = list(client.sessions(of, state))
    if json:
        output.as_json(found)
    else:
        show_sessions.sessions(found)


@app.command()
def show(session: SessionId = "last", json: Json = False, url: Url = None) -> None:
    """Show where a session stands, and its settings now beside the former ones."""
    with Client(url) as client:
        found = client.session(session_id(client, session))
    if json:
        output.as_json(found)
    else:
        show_sessions.session(found)


@app.command()
def watch(session: SessionId = "last", json: Json = False, url: Url = None) -> None:
    """Follow a session until it is over; exits 1 when it fails or yields."""
    with Client(url) as client:
        _follow(client, session_id(client, session), json)


@app.command("on-change")
def on_change(
    session: SessionId,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="What to run, after --.")],
    every: Annotated[
        bool, typer.Option("--every", help="Also for settings that all connections feel at once.")
    ] = False,
    url: Url = None,
) -> None:
    """Run a command whenever settings have changed that only new connections feel: to let a pool renew its own.

    TUNEWRIGHT_CHANGED names them to it, with commas. Ends with the session; exits 1 if the command failed once or more.
    """
    if shutil.which(command[0]) is None:
        raise Refused(f'command: there is no program "{command[0]}"; give one, and its arguments, after --')
    failed = False
    with Client(url) as client:
        for change in client.settings_changes(session_id(client, session)):
            names = change.changed if every else change.new_connections
            if names:
                failed = not _run(command, names) or failed
    if failed:
        raise typer.Exit(1)


@app.command()
def pause(session: SessionId, url: Url = None) -> None:
    """Put the former settings back, and wait."""
    _steered(session, url, Client.pause_session, "is pausing")


@app.command()
def resume(session: SessionId, url: Url = None) -> None:
    """Go on, with everything that was learned."""
    _steered(session, url, Client.resume_session, "goes on")


@app.command()
def stop(session: SessionId, url: Url = None) -> None:
    """Put the former settings back, and end; see `tunewright restore`, which also waits for it."""
    _steered(session, url, Client.stop_session, "is stopping, and puts the former settings back")


@app.command()
def delete(
    session: SessionId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
) -> None:
    """Delete a session that is over, with everything measured in it."""
    with Client(url) as client:
        found = client.session(session_id(client, session))
        if not yes and sys.stdin.isatty():
            name = output.plain(found.database_name)
            typer.confirm(f"Delete the session on {name} ({found.id}) and its {found.intervals} intervals?", abort=True)
        client.delete_session(found.id)
    output.line(f"session {found.id} is deleted")


def _run(command: Sequence[str], names: Sequence[str]) -> bool:
    """Run a command of the user's, which inherits where output goes; whether it succeeded."""
    output.line(f"{', '.join(names)}: {shlex.join(command)}")
    try:
        subprocess.run(command, env={**os.environ, "TUNEWRIGHT_CHANGED": ",".join(names)}, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        typer.echo(f"{error}; the next change runs it again", err=True)
        return False
    return True


def _steered(session: str, url: str | None, steer: Callable[[Client, str], SessionView], what: str) -> None:
    with Client(url) as client:
        found = steer(client, session_id(client, session))
    output.line(f"session {found.id} {what}")


def _follow(client: Client, session: str, json: bool) -> None:
    try:
        found = list(client.watch_session(session))[-1] if json else follow(client, session)
    except KeyboardInterrupt:
        # Nobody should take a session that goes on for one that was stopped.
        typer.echo(f"The session goes on. To put the former settings back: tunewright restore {session}", err=True)
        raise typer.Exit(130) from None
    if json:
        output.as_json(found)
    elif output.for_people():
        show_sessions.session(found)
    if found.state in (SessionState.FAILED, SessionState.YIELDED):
        raise typer.Exit(1)


def _file(given: str) -> Path | None:
    """The file that is meant; None where a database is."""
    return Path(given) if given == "-" or given.endswith((".yaml", ".yml", ".json")) else None


def _read(file: Path) -> dict[str, Any]:
    source: str | Path = sys.stdin.read() if str(file) == "-" else file
    try:
        return read_mapping(source, "session", "database, knobs and budget")
    except SpecError as error:
        raise Refused(str(error)) from None


def _over(before: Any, option: dict[str, Any]) -> dict[str, Any]:
    return {**before, **option} if isinstance(before, dict) else option


def _spec(given: dict[str, Any], file: Path | None) -> SessionSpec:
    try:
        return requests.read_session(given)
    except (ValidationError, SpecError) as error:
        if file is not None:
            raise in_file("standard input" if str(file) == "-" else str(file), error) from None
        raise Refused("\n".join(field_lines(error) if isinstance(error, ValidationError) else [str(error)])) from None


def _objective(given: Sequence[str]) -> dict[str, float] | None:
    found = {}
    for text in given:
        measure, equals, weight = text.partition("=")
        try:
            found[measure.strip()] = float(weight) if equals else 1.0
        except ValueError:
            raise Refused(f'objective "{text}": give MEASURE or MEASURE=WEIGHT, such as latency_p95=0.5') from None
    return found or None


def _restarts(command: str | None, window: str | None, in_file: Any) -> dict[str, str] | None:
    said = {name: text for name, text in (("command", command), ("window", window)) if text is not None}
    if len(said) == 1 and in_file is None:
        raise Refused("restart: give --restart and --window together, or neither; both are needed to restart a server")
    return said or None


def _bound(text: str) -> tuple[str, dict[str, float]]:
    knob, ends = _pair(text, "bound", "KNOB=LOW:HIGH")
    low, _, high = ends.partition(":")
    try:
        return knob, {"low": float(low), "high": float(high)}
    except ValueError:
        raise Refused(f'bound "{text}": give KNOB=LOW:HIGH, such as work_mem=4096:65536') from None


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    if not equals or not name.strip() or not rest.strip():
        raise Refused(f'{option} "{text}": give {form}')
    return name.strip(), rest.strip()
