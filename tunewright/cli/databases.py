"""Commands about live databases: attach them, look at them, forget them."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from tunewright.cli import output, quantities, show_databases
from tunewright.cli.identify import database_id
from tunewright.cli.options import DatabaseId, Json, Url
from tunewright.cli.problems import Refused, field_lines
from tunewright.client import Client

PasswordEnv = Annotated[
    str | None,
    typer.Option(metavar="VARIABLE", help="The service's variable that holds the password: TUNEWRIGHT_DATABASE_..."),
]
PasswordFile = Annotated[
    str | None, typer.Option(metavar="NAME", help="A file of the service's directory of secrets that holds it.")
]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read it from standard input.")]
_SEEN = (
    "the password stands in the DSN, which everybody on this machine can read in the list of processes; "
    "leave it out and type it when asked, or give --password-stdin, --password-env or --password-file"
)


def attach(
    dsn: Annotated[
        str, typer.Argument(metavar="DSN", help="postgresql://, mysql:// or mariadb://USER@HOST:PORT/DATABASE")
    ],
    name: Annotated[str, typer.Option(help="What to call it here, such as prod.")],
    password_env: PasswordEnv = None,
    password_file: PasswordFile = None,
    password_stdin: PasswordStdin = False,
    ram: Annotated[str | None, typer.Option(help="Memory of the server's machine, such as 64GB.")] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Processors of the server's machine.")] = None,
    project: Annotated[str | None, typer.Option(help="The project to attach it in.", show_default="default")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only look; exits 1 where GRANTs are missing. Nothing is kept.")
    ] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Attach a live database: says what works there, what is lost, and which GRANTs are missing. Changes nothing."""
    in_dsn = _holds_password(dsn)
    _once(in_dsn, password_env, password_file, password_stdin)
    if in_dsn:
        Console(stderr=True, soft_wrap=True, highlight=False).print(Text(f"Warning: {_SEEN}", style="yellow"))
    password = None if in_dsn else _typed(password_env, password_file, password_stdin) or None
    ram_bytes = None if ram is None else quantities.memory(ram, "ram")
    fields = {"password_env": password_env, "password_file": password_file, "ram_bytes": ram_bytes}
    with Client(url) as client:
        try:
            found = client.attach(name, dsn, password=password, dry_run=dry_run, cores=cores, project=project, **fields)
        except ValidationError as error:
            raise Refused("\n".join(field_lines(error))) from None
    if json:
        output.as_json(found)
    else:
        show_databases.attached(found)
    if dry_run and found.probe is not None and found.probe.missing:
        raise typer.Exit(1)


def password(
    database: DatabaseId,
    password_env: PasswordEnv = None,
    password_file: PasswordFile = None,
    password_stdin: PasswordStdin = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Give a database another password, once its server has it; it is tried first. Sessions go on."""
    _once(password_env, password_file, password_stdin)
    typed = _typed(password_env, password_file, password_stdin)
    if typed is None and not (password_env or password_file):
        raise Refused("password: it is missing; give --password-stdin, --password-env or --password-file")
    with Client(url) as client:
        try:
            found = client.replace_password(
                database_id(client, database), typed, password_env=password_env, password_file=password_file
            )
        except ValidationError as error:
            raise Refused("\n".join(field_lines(error))) from None
    if json:
        output.as_json(found)
    else:
        output.line(f"database {found.name} lets us in with the new password: {found.password}")


def databases(json: Json = False, url: Url = None) -> None:
    """List attached databases."""
    with Client(url) as client:
        found = list(client.databases())
    if json:
        output.as_json(found)
    else:
        show_databases.databases(found)


def probe(database: DatabaseId, json: Json = False, url: Url = None) -> None:
    """Look again at what an attached database is and what the role may do there; changes nothing."""
    with Client(url) as client:
        found = client.probe(database_id(client, database))
    if json:
        output.as_json(found)
    else:
        show_databases.probe(found)


def knobs(
    database: DatabaseId,
    every: Annotated[bool, typer.Option("--all", help="Also those that sessions leave alone unless told.")] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """List the settings of a database that may be tuned, with what they stand at and how far they may go."""
    with Client(url) as client:
        found = [knob for knob in client.knobs(database_id(client, database)) if every or knob.offered]
    if json:
        output.as_json(found)
    else:
        show_databases.knobs(found)


def detach(
    database: DatabaseId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
) -> None:
    """Forget a database and its password; nothing on its server changes."""
    with Client(url) as client:
        found = client.database(database_id(client, database))
        if not yes and sys.stdin.isatty():
            typer.confirm(f"Forget {output.plain(found.name)} ({show_databases.address(found)})?", abort=True)
        client.detach(found.id)
    output.line(f"database {found.name} is detached")


def _once(*ways: str | bool | None) -> None:
    """See that a password is given in one way at most.

    Raises:
        Refused: it is given in several.
    """
    if sum(map(bool, ways)) > 1:
        raise Refused("password: it is given in several ways; give it in one")


def _typed(variable: str | None, file: str | None, from_stdin: bool) -> str | None:
    """The password that is sent, empty for none; None where the service finds it by itself or nobody can be asked."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if variable is None and file is None and sys.stdin.isatty():
        asked: str = typer.prompt("Password (empty for none)", default="", hide_input=True, show_default=False)
        return asked
    return None


def _holds_password(dsn: str) -> bool:
    try:
        return bool(urlsplit(dsn).password)
    except ValueError:
        # The service says what is wrong with it.
        return False
