"""The command line: one module per group of commands, `show` for how things look, `problems` for how failures do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tunewright import __version__
from tunewright._credentials import FILE_VARIABLE, VARIABLE
from tunewright.cli import catalog, databases, graph, ipt, jobs, life, sessions, studies, tokens, transfer, trials
from tunewright.cli.audit import audit
from tunewright.cli.demo import demo
from tunewright.cli.demo_db import demo_db
from tunewright.cli.doctor import doctor
from tunewright.cli.mcp import mcp
from tunewright.cli.migrate import migrate
from tunewright.cli.problems import CommandLine
from tunewright.cli.restore import restore
from tunewright.cli.serve import serve

app = typer.Typer(
    cls=CommandLine,
    help="Tune machine learning models and live databases.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="Holds the token to send; else TUNEWRIGHT_TOKEN, TUNEWRIGHT_TOKEN_FILE, ~/.config/tunewright/token.",
            show_default=False,
        ),
    ] = None,
) -> None:
    if token_file is not None:
        # An option goes before the environment, from which every client takes its token.
        os.environ.pop(VARIABLE, None)
        os.environ[FILE_VARIABLE] = str(token_file)


for _command in (
    demo,
    demo_db,
    serve,
    studies.submit,
    studies.studies,
    studies.watch,
    trials.trials,
    trials.trial,
    trials.logs,
    trials.best,
    jobs.ask,
    jobs.tell,
    studies.pause,
    studies.resume,
    studies.cancel,
    life.clone,
    studies.extend,
    studies.enqueue,
    studies.queue,
    life.retry,
    life.tag,
    life.note,
    life.rename,
    life.prioritize,
    transfer.checkpoint,
    transfer.export,
    studies.delete,
    databases.attach,
    databases.databases,
    databases.probe,
    databases.knobs,
    databases.password,
    sessions.tune_db,
    restore,
    databases.detach,
    catalog.workloads,
    catalog.optimizers,
    audit,
    doctor,
    migrate,
    mcp,
):
    app.command()(_command)
app.command("import")(transfer.import_)
app.add_typer(ipt.app, name="ipt")
app.add_typer(sessions.app, name="sessions")
app.add_typer(tokens.app, name="token")
app.add_typer(graph.app, name="graph")


def main() -> None:
    """The console script `tunewright`."""
    app(prog_name="tunewright")
