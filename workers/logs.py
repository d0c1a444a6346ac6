"""Log lines: text for people, or one JSON object a line, with what each line is about.

Whoever works on something binds it with `about`; every line that is logged meanwhile, in the same thread or task,
carries it. The service, its runners and their legs are configured here, each in its own process, with the same
settings. What is bound are names and numbers, never what people send: nothing secret can come in this way.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

Format: TypeAlias = Literal["text", "json"]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Field: TypeAlias = str | int | float

# The key of `extra` under which a single line says more than its message.
FIELDS = "fields"
# One line must not fill a disk, whatever an exception quotes.
MAX_CHARACTERS = 16_000
_NOISY = ("alembic", "uvicorn.error")

_about: ContextVar[Mapping[str, Field]] = ContextVar("tunewright_about", default={})  # noqa: B039


@dataclass(frozen=True)
class LogSettings:
    """How a process logs.

    Attributes:
        format: `text`, or `json`: one object a line.
        level: less severe lines are left out.
    """

    format: Format = "text"
    level: Level = "info"


def configure(settings: LogSettings) -> None:
    """Let this process log to standard error; replaces what an earlier call set up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.format == "json" else TextLines())
    handler.set_name("tunewright")
    root = logging.getLogger()
    for earlier in [handler for handler in root.handlers if handler.name == "tunewright"]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def about(**fields: Field | None) -> Iterator[None]:
    """Bind what is worked on (study, trial, job, request) for the lines logged until the block ends."""
    known = {name: value for name, value in fields.items() if value is not None}
    token = _about.set({**_about.get(), **known})
    try:
        yield
    finally:
        _about.reset(token)


def bound() -> Mapping[str, Field]:
    """What is worked on here."""
    return _about.get()


class JsonLines(logging.Formatter):
    """Time, level, logger, message, what the line is about, and an exception's traceback as one field."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            **_fields(record),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _short(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = _short(self.formatException(record.exc_info))
        # Readers look for the time first.
        ordered = {name: line[name] for name in ("time", "level", "logger", "message")}
        return json.dumps(ordered | line, default=str)


class TextLines(logging.Formatter):
    """The same for people: what a line is about stands in brackets behind it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        # Who sends a line break must not be able to write lines of their own.
        record.message = _short(record.message).replace("\r", "\\r").replace("\n", "\\n")
        return super().formatMessage(record) + (f" [{fields}]" if fields else "")


def _fields(record: logging.LogRecord) -> dict[str, Field]:
    return {**_about.get(), **getattr(record, FIELDS, {})}


def _short(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    # An exception says at its end what it is.
    half = MAX_CHARACTERS // 2
    return f"{text[:half]} [...] {text[-half:]}"
