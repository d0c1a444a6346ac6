"""Edges from text: `source target [weight]` a line, separated by spaces, tabs or one comma; read piece by piece.

Text is UTF-8, with or without a byte order mark; lines end in LF, CR LF or CR. Empty lines and lines that begin with
# or % are skipped. A file whose name ends in .csv may begin with a header: where ids are numbers, a line whose first
two cells are none; where they are names, one of `HEADERS`. Names in a .csv are separated by commas alone, so they may
hold spaces, and stand in quotes as CSV has them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel
from models.walks.errors import GraphError

PIECE_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 16
# Names cannot be told from a header by their looks: the first two cells, in any case of letters.
HEADERS = frozenset({("source", "target"), ("src", "dst"), ("from", "to"), ("u", "v")})

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SEPARATOR = re.compile(r"\s*,\s*|\s+")
_PROBLEMS = {
    1: "expected a whole number, the source and the target of an edge",
    2: "a number is too large for 63 bits; pass ids='names' for ids that are names",
    3: "an edge needs a source and a target",
    4: "expected a number as the edge's weight",
    5: "expected a third column, the edge's weight",
    6: "a cell is empty; fill it in, or drop the line",
    7: "a name in quotes must begin and end with one, on the same line",
    8: "this is not UTF-8; save the file as UTF-8",
}


def read_text(path: Path, weighted: bool) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], int]]:
    """Pieces of a file: edges (k, 2), weights (k,) or (0,), and the number of the piece's first line.

    Raises:
        GraphError: a line is no edge; says which.
    """
    for block, line in _pieces(path, named=False):
        most = block.count(b"\n") + 1
        edges = np.empty((most, 2), np.int64)
        weights = np.empty(most if weighted else 0, np.float64)
        data = np.frombuffer(block, np.uint8)
        used, problem, wrong = parse(data, edges, weights, weighted)
        if problem:
            raise _problem(path, line + wrong, problem)
        yield edges[:used], float32(weights[:used]), line


def read_names(path: Path, weighted: bool) -> Iterator[tuple[list[tuple[str, str]], list[float], int]]:
    """Pieces of a file whose ids are any words: pairs, weights, and the number of the first line.

    Raises:
        GraphError: a line is no edge, or no UTF-8; says which.
    """
    cells_of: Callable[[str], list[str]] = _csv_cells if _is_csv(path) else _text_cells
    for block, line in _pieces(path, named=True):
        pairs, weights = [], []
        for number, raw in enumerate(_decoded(path, block, line).split("\n"), line):
            text = raw.strip(" \t")
            if not text or text[0] in "#%":
                continue
            try:
                cells = cells_of(text)[: 2 + weighted]
            except csv.Error:
                raise _problem(path, number, 7) from None
            if len(cells) < 2 + weighted:
                raise _problem(path, number, 5 if len(cells) == 2 else 3)
            if not all(cells):
                raise _problem(path, number, 6)
            pairs.append((cells[0], cells[1]))
            if weighted:
                try:
                    weights.append(float(cells[2]))
                except ValueError:
                    raise _problem(path, number, 4) from None
        yield pairs, weights, line


def line_of(path: Path, named: bool, first_line: int, row: int) -> int:
    """The line that holds edge number `row` of the piece that begins at `first_line`."""
    for block, line in _pieces(path, named):
        if line == first_line:
            for number, raw in enumerate(block.split(b"\n")):
                text = raw.strip(b" \t")
                if text and text[:1] not in b"#%":
                    if row == 0:
                        return line + number
                    row -= 1
    return first_line


def _problem(path: Path, line: int, problem: int) -> GraphError:
    return GraphError(f"{path}, line {line}: {_PROBLEMS[problem]}")


def _pieces(path: Path, named: bool) -> Iterator[tuple[bytes, int]]:
    """Whole lines that end in LF, about a piece at a time, each with the number of its first line."""
    line, rest, first = 1, b"", True
    with path.open("rb") as file:
        while True:
            block = _block(file)
            if first:
                block = block.removeprefix(_BYTE_ORDER_MARK)
                block = _without_header(block, named) if _is_csv(path) else block
                first = False
            rest += block
            end = len(rest) if not block else rest.rfind(b"\n") + 1
            if end == 0 and len(rest) > MAX_LINE_BYTES + PIECE_BYTES:
                raise GraphError(f"{path}, line {line}: longer than {MAX_LINE_BYTES:,} bytes; this is no edge list")
            if end:
                yield rest[:end], line
                line += rest.count(b"\n", 0, end)
                rest = rest[end:]
            if not block:
                return


def _block(file: Any) -> bytes:
    """The next bytes with LF for CR LF and for CR; empty at the end."""
    block: bytes = file.read(PIECE_BYTES)
    if b"\r" not in block:
        return block
    # A CR at the end may belong to an LF behind it.
    while block.endswith(b"\r") and (more := file.read(1)):
        block += more
    return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _without_header(block: bytes, named: bool) -> bytes:
    """The first block with an empty line in place of the header, so that lines keep their numbers."""
    start = 0
    while start < len(block):
        end = block.find(b"\n", start)
        end = len(block) if end < 0 else end
        line = block[start:end].strip(b" \t")
        if line and line[:1] not in b"#%":
            return block[:start] + block[end:] if _is_header(line.decode("utf-8", "replace"), named) else block
        start = end + 1
    return block


def _is_header(line: str, named: bool) -> bool:
    cells = [cell.strip('"').lower() for cell in _SEPARATOR.split(line)]
    if not named:
        return len(cells) > 1 and not any(map(_may_be_id, cells[:2]))
    return tuple(cells[:2]) in HEADERS and not any(map(_may_be_id, cells[2:]))


def _may_be_id(cell: str) -> bool:
    # An empty cell is one that was forgotten, so its line is refused and not passed over.
    return not cell or cell[0] in "-+.0123456789"


def _csv_cells(text: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([text], skipinitialspace=True, strict=True))]


def _text_cells(text: str) -> list[str]:
    return _SEPARATOR.split(text.strip()) if "," in text else text.split()


def _decoded(path: Path, block: bytes, line: int) -> str:
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _problem(path, line + block.count(b"\n", 0, error.start), 8) from None


def float32(values: Any) -> NDArray[np.float32]:
    """Weights as they are stored; too large for a float32 becomes infinite, which is refused with its line or edge."""
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32)


@kernel()
def parse(data: Any, edges: Any, weights: Any, weighted: Any) -> Any:
    """Fill `edges` and `weights`; returns edges found, problem (0: none) and the line of the problem from 0."""
    at, line, used, size = 0, 0, 0, len(data)
    while at < size:
        at = _blanks(data, at)
        if at >= size:
            break
        if data[at] == 10:
            at, line = at + 1, line + 1
            continue
        if data[at] == 35 or data[at] == 37:
            while at < size and data[at] != 10:
                at += 1
            continue
        for column in range(2):
            at = _separator(data, at) if column else at
            if at >= size or data[at] == 10:
                return used, 3, line
            if data[at] == 44:
                return used, 6, line
            number, at, problem = _integer(data, at)
            if problem:
                return used, problem, line
            edges[used, column] = number
        if weighted:
            at = _separator(data, at)
            if at >= size or data[at] == 10:
                return used, 5, line
            if data[at] == 44:
                return used, 6, line
            value, at, problem = _decimal(data, at)
            if problem:
                return used, problem, line
            weights[used] = value
        while at < size and data[at] != 10:
            at += 1
        used += 1
    return used, 0, 0


@kernel()
def _blanks(data: Any, at: Any) -> Any:
    while at < len(data) and (data[at] == 32 or data[at] == 9):
        at += 1
    return at


@kernel()
def _separator(data: Any, at: Any) -> Any:
    """Behind blanks and one comma at most: a second one stands behind an empty cell."""
    at = _blanks(data, at)
    return _blanks(data, at + 1) if at < len(data) and data[at] == 44 else at


@kernel()
def _ends(data: Any, at: Any) -> Any:
    return at >= len(data) or data[at] == 32 or (data[at] >= 9 and data[at] <= 13) or data[at] == 44


@kernel()
def _integer(data: Any, at: Any) -> Any:
    negative = data[at] == 45
    at += 1 if negative or data[at] == 43 else 0
    value, digits = np.int64(0), 0
    while at < len(data) and data[at] >= 48 and data[at] <= 57:
        if value > (np.int64(9223372036854775807) - 9) // 10:
            return value, at, 2
        value = value * 10 + np.int64(data[at] - 48)
        at, digits = at + 1, digits + 1
    problem = 0 if digits and _ends(data, at) else 1
    return -value if negative else value, at, problem


@kernel()
def _decimal(data: Any, at: Any) -> Any:
    sign = 1.0
    if data[at] == 45:
        sign = -1.0
    at += 1 if data[at] == 45 or data[at] == 43 else 0
    value, scale, digits = 0.0, 0, 0
    while at < len(data) and data[at] >= 48 and data[at] <= 57:
        value = value * 10.0 + (data[at] - 48)
        at, digits = at + 1, digits + 1
    if at < len(data) and data[at] == 46:
        at += 1
        while at < len(data) and data[at] >= 48 and data[at] <= 57:
            value = value * 10.0 + (data[at] - 48)
            at, digits, scale = at + 1, digits + 1, scale - 1
    if digits == 0:
        return 0.0, at, 4
    if at + 1 < len(data) and (data[at] == 101 or data[at] == 69):
        exponent, at, problem = _integer(data, at + 1)
        if problem or exponent > 300 or exponent < -300:
            return 0.0, at, 4
        scale += exponent
    problem = 0 if _ends(data, at) else 4
    return sign * value * 10.0**scale, at, problem
