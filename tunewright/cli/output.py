"""Printing: for people when stdout is a terminal, tab-separated or JSON when something else reads it."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)


def for_people() -> bool:
    """Whether stdout is a terminal."""
    return console.is_terminal


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print a table; without a terminal as tab-separated values under one line of column names.

    Args:
        right: columns to align to the right, which numbers are.
    """
    if not for_people():
        for row in ([name.lower().replace(" ", "_") for name in columns], *rows):
            line(*row)
        return
    drawn = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        drawn.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(plain(cell)) for cell in row))
    console.print(drawn)


def fields(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair a line."""
    pairs = list(pairs)
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        if for_people():
            console.print(Text.assemble((name.ljust(width), "dim"), "  ", plain(value)), soft_wrap=True)
        else:
            line(name, value)


def line(*cells: str) -> None:
    """Print one line, its cells separated by tabs; for programs blanks stay, and a line break reads `\\n`."""
    shown = [plain(cell) for cell in cells]
    if for_people():
        shown = [" ".join(cell.split()) for cell in shown]
    sys.stdout.write("\t".join(cell.replace("\t", " ").replace("\n", "\\n") for cell in shown) + "\n")
    sys.stdout.flush()


def block(title: str, text: str) -> None:
    """Print a text of several lines under a title; nothing when it is empty."""
    if text.strip():
        console.print(Text(f"\n{title}", style="bold"))
        console.print(Text(plain(text.rstrip())), soft_wrap=True)


def text(piece: str) -> None:
    """Print a piece of a text as it is; on a terminal, without what could steer it."""
    sys.stdout.write(plain(piece) if for_people() else piece)
    sys.stdout.flush()


def heading(text: str) -> None:
    """Print a heading."""
    console.print(Text(plain(text), style="bold"), soft_wrap=True)


def finding(severity: str, colour: str, *sentences: str) -> None:
    """Print how bad something is, and under it what is to be said of it."""
    first, *more = (plain(sentence) for sentence in sentences)
    console.print(Text.assemble((severity.ljust(8), colour), first), soft_wrap=True)
    for sentence in more:
        console.print(Text(" " * 8 + sentence, style="dim"), soft_wrap=True)


def as_json(value: BaseModel | Sequence[BaseModel]) -> None:
    """Print views as JSON."""
    body: Any = (
        value.model_dump(mode="json")
        if isinstance(value, BaseModel)
        else [item.model_dump(mode="json") for item in value]
    )
    sys.stdout.write(json.dumps(body, indent=2, ensure_ascii=False) + "\n")


def plain(text: str) -> str:
    """Text from elsewhere without what could steer a terminal."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t" or unicodedata.category(c) == "Zs")
