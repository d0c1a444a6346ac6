"""Commands that take studies and what was trained away, and that bring studies in."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from tunewright import document
from tunewright.cli import output
from tunewright.cli.identify import SHOWN, study_id, trial_id
from tunewright.cli.options import Json, StudyId, Url
from tunewright.cli.problems import Refused
from tunewright.client import Client
from tunewright.errors import TunewrightError
from tunewright.integrations import optuna_storage
from tunewright.integrations.optuna_storage import OptunaStudy


class Format(StrEnum):
    """How an export is written."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


class What(StrEnum):
    """What a table has a row for."""

    TRIALS = "trials"
    REPORTS = "reports"


def export(
    study: StudyId = "last",
    format: Annotated[
        Format | None, typer.Option(help="json is the whole study.", show_default="as the file is named, else json")
    ] = None,
    what: Annotated[What, typer.Option(help="Rows of a csv or parquet table.")] = What.TRIALS,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write.", show_default="standard output")
    ] = None,
    url: Url = None,
) -> None:
    """Export a study: its trials or reports as a table, or all of it as JSON, which can be imported again."""
    chosen = format or _format_of(to)
    if to is None and chosen is Format.PARQUET and sys.stdout.isatty():
        raise Refused("parquet is nothing for a terminal; name a file with --output")
    with Client(url) as client:
        pieces = client.export(study_id(client, study), chosen.value, what.value)
        if to is None:
            _copy(pieces, sys.stdout.buffer)
        else:
            _write(pieces, to)


def checkpoint(
    what: Annotated[
        str, typer.Argument(metavar="STUDY|TRIAL", help="A study, for its best trial; or a trial, such as last-0.")
    ] = "last",
    resource: Annotated[
        float | None,
        typer.Option(
            help="What the state was trained to.", show_default="of a study where it is best, of a trial the newest"
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory to write.", show_default="checkpoint-TRIAL")
    ] = None,
    url: Url = None,
) -> None:
    """Fetch the trained model: the state that the best trial of a study, or any trial, has saved."""
    with Client(url) as client:
        trial, at = _best(client, study_id(client, what)) if "-" not in what else (trial_id(client, what), None)
        directory = to or Path(f"checkpoint-{trial}")
        try:
            reached = client.checkpoint(trial, directory, at if resource is None else resource)
        except OSError as error:
            raise Refused(f"{error.filename or directory}: {error.strerror or error}") from None
    typer.echo(f"trial {trial} at {reached:.12g}", err=True)
    output.line(str(directory))


def import_(
    file: Annotated[
        Path | None, typer.Argument(help="A study that was exported as JSON; - reads standard input.")
    ] = None,
    optuna: Annotated[
        str | None, typer.Option(metavar="URL", help="Storage of Optuna to read instead, such as sqlite:///example.db.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study in Optuna's storage.", show_default="its only one")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="Optimizer for extending what comes from Optuna.", show_default="tpe or nsga2")
    ] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Import a study that was exported, or one of Optuna."""
    if (file is None) is (optuna is None):
        raise Refused("name a file, or a storage with --optuna")
    if optuna is None and (study or optimizer):
        raise Refused("--study and --optimizer belong to --optuna")
    found = None if optuna is None else optuna_storage.read(optuna, study, optimizer)
    with Client(url) as client:
        try:
            imported = client.import_study(_source(file) if found is None else _document(found))
        except OSError as error:
            raise Refused(f"{file}: {error.strerror}") from None
    if json:
        output.as_json(imported)
    else:
        output.line(imported.id)
    if found is not None:
        _tell(found)


def _best(client: Client, study: str) -> tuple[str, float]:
    """The best trial of a study, and the resource at which it is."""
    found = client.study(study)
    if not found.best:
        raise TunewrightError(f"study {study} is {found.state} and has no result yet")
    if len(found.best) > 1:
        some = ", ".join(f"{study}-{best.trial}" for best in found.best[:SHOWN])
        raise Refused(f"{len(found.best)} trials of study {study} are best, each in its way; name one: {some}")
    return f"{study}-{found.best[0].trial}", found.best[0].resource


def _format_of(file: Path | None) -> Format:
    ending = "" if file is None else file.suffix.removeprefix(".")
    return Format(ending) if ending in tuple(Format) else Format.JSON


def _write(pieces: Iterator[bytes], file: Path) -> None:
    """Write a file as a whole or not at all."""
    if file.is_dir():
        raise Refused(f"{file}: it is a directory; name a file")
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with partial.open("wb") as out:
            _copy(pieces, out)
        partial.replace(file)
    except OSError as error:
        raise Refused(f"{file}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def _copy(pieces: Iterable[bytes], out: BinaryIO) -> None:
    for piece in pieces:
        out.write(piece)
    out.flush()


def _source(file: Path | None) -> Path | Iterator[bytes]:
    assert file is not None
    return file if str(file) != "-" else iter(lambda: sys.stdin.buffer.read(1 << 20), b"")


def _document(found: OptunaStudy) -> Iterator[bytes]:
    return (piece.encode() for piece in document.write(found.study, trials=found.trials()))


def _tell(found: OptunaStudy) -> None:
    for reason, trials in found.left_out.items():
        typer.echo(f"{trials} left out: a trial that {reason}", err=True)
    if found.filled:
        typer.echo(f"{found.filled} trials lack a parameter without a visible reason and got its default", err=True)
