"""How failures look: one red line on stderr, a line per wrong field under it, and never a traceback.

Exit codes: 1 when the service refuses or a study fails, 2 when the command cannot be run as given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from tunewright.cli.output import plain
from tunewright.errors import ApiError, SpecError, TunewrightError


class Refused(TunewrightError):
    """The command cannot be run as given."""


class CommandLine(TyperGroup):
    """The group of all commands; turns what they raise into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (TunewrightError, ValidationError) as error:
            show_problem(error)
            raise typer.Exit(2 if isinstance(error, Refused) else 1) from None
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("tunewright"):
                raise
            show_problem(
                Refused(
                    f"this command's packages are not installed ({error.name} is missing): "
                    "pip install 'tunewright[server,models]'"
                )
            )
            raise typer.Exit(2) from None
        except OSError as error:
            # Without a file it is nothing that was named: a pipe that was closed, or a fault of our own.
            if error.filename is None:
                raise
            show_problem(Refused(f"{error.filename}: {error.strerror}"))
            raise typer.Exit(2) from None


def show_problem(error: Exception) -> None:
    """Print what is wrong."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    first, *more = _lines(error)
    console.print(Text(f"Error: {plain(first)}", style="red"))
    for line in more:
        console.print(Text(f"  {plain(line)}"))


def in_file(name: str, error: ValidationError | SpecError) -> Refused:
    """A problem with what a local file says, with the file's name before each of its lines."""
    if isinstance(error, ValidationError):
        lines = field_lines(error)
    else:
        lines = [" ".join(str(error).removeprefix("study: ").split())]
    return Refused("\n".join(f"{name}: {line}" for line in lines))


def in_options(error: ValidationError) -> Refused:
    """A problem with what options say, with the option's name before each of its lines."""
    return Refused("\n".join(_field_line(_option(field), message) for field, message in _wrong_fields(error)))


def field_lines(error: ValidationError) -> list[str]:
    """`field: message` for each field that is wrong."""
    return [_field_line(field, message) for field, message in _wrong_fields(error)]


def _wrong_fields(error: ValidationError) -> list[tuple[str, str]]:
    return [(".".join(map(str, item["loc"])), str(item["msg"])) for item in error.errors(include_url=False)]


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}" if field else ""


def _lines(error: Exception) -> Iterable[str]:
    if isinstance(error, ValidationError):
        return field_lines(error)
    if not isinstance(error, ApiError):
        return str(error).splitlines()
    fields = [_field_line(str(e.get("field", "")), str(e.get("message", ""))) for e in error.errors]
    if len(fields) == 1:
        return fields
    if fields:
        return [error.title, *fields]
    return [f"{error.title}: {error.detail}" if error.detail and error.detail != error.title else error.title]


def _field_line(field: str, message: str) -> str:
    message = message.removeprefix("Value error, ")
    message = message[:1].lower() + message[1:] if message[1:2].islower() else message
    # Our own messages begin with the field's name.
    named = not field or message.startswith((f"{field}:", f"{field.rsplit('.', 1)[-1]}:", f"{field}.", f'{field} "'))
    return message if named else f"{field}: {message}"
