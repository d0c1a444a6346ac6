"""Edges from text: `source target [weight]` a line, separated by spaces, tabs or commas; read piece by piece.

Empty lines and lines that begin with # or % are skipped. A file whose name ends in .csv may begin with a header.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel
from models.walks.errors import GraphError

PIECE_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 16

_PROBLEMS = {
    1: "expected a whole number, the source and the target of an edge",
    2: "a number is too large for 63 bits; pass ids='names' for ids that are names",
    3: "an edge needs a source and a target",
    4: "expected a number as the edge's weight",
    5: "expected a third column, the edge's weight",
}


def read_text(path: Path, weighted: bool) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], int]]:
    """Pieces of a file: edges (k, 2), weights (k,) or (0,), and the number of the piece's first line.

    Raises:
        GraphError: a line is no edge; says which.
    """
    for block, line in _pieces(path):
        most = block.count(b"\n") + 1
        edges = np.empty((most, 2), np.int64)
        weights = np.empty(most if weighted else 0, np.float64)
        data = np.frombuffer(block, np.uint8)
        used, problem, wrong = parse(data, edges, weights, weighted)
        if problem:
            raise GraphError(f"{path}, line {line + wrong}: {_PROBLEMS[problem]}")
        yield edges[:used], _float32(weights[:used]), line


def read_names(path: Path, weighted: bool) -> Iterator[tuple[list[tuple[str, str]], list[float], int]]:
    """Pieces of a file whose ids are any words: pairs, weights, and the number of the first line."""
    for block, line in _pieces(path):
        pairs, weights = [], []
        for number, raw in enumerate(block.decode("utf-8", "replace").splitlines()):
            text = raw.strip()
            if not text or text[0] in "#%":
                continue
            words = text.replace(",", " ").split()
            if len(words) < 2 + weighted:
                raise GraphError(f"{path}, line {line + number}: {_PROBLEMS[5 if len(words) == 2 else 3]}")
            pairs.append((words[0], words[1]))
            if weighted:
                try:
                    weights.append(float(words[2]))
                except ValueError:
                    raise GraphError(f"{path}, line {line + number}: {_PROBLEMS[4]}") from None
        yield pairs, weights, line


def line_of(path: Path, first_line: int, row: int) -> int:
    """The line that holds edge number `row` of the piece that begins at `first_line`."""
    for block, line in _pieces(path):
        if line == first_line:
            for number, raw in enumerate(block.split(b"\n")):
                text = raw.strip()
                if text and text[:1] not in b"#%":
                    if row == 0:
                        return line + number
                    row -= 1
    return first_line


def _pieces(path: Path) -> Iterator[tuple[bytes, int]]:
    """Whole lines, about a piece at a time, each with the number of its first line."""
    line, rest = 1, b""
    with path.open("rb") as file:
        while True:
            block = file.read(PIECE_BYTES)
            if line == 1 and not rest and path.suffix == ".csv" and _is_header(block):
                _, _, block = block.partition(b"\n")
                line = 2
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


def _is_header(block: bytes) -> bool:
    first = block.split(b"\n", 1)[0].strip()
    return bool(first) and first[:1] not in b"#%-+0123456789"


@kernel()
def parse(data: Any, edges: Any, weights: Any, weighted: Any) -> Any:
    """Fill `edges` and `weights`; returns edges found, problem (0: none) and the line of the problem from 0."""
    at, line, used, size = 0, 0, 0, len(data)
    while at < size:
        at = _skip(data, at)
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
            at = _skip(data, at)
            if at >= size or data[at] == 10:
                return used, 3, line
            number, at, problem = _integer(data, at)
            if problem:
                return used, problem, line
            edges[used, column] = number
        at = _skip(data, at)
        if weighted:
            if at >= size or data[at] == 10:
                return used, 5, line
            value, at, problem = _decimal(data, at)
            if problem:
                return used, problem, line
            weights[used] = value
        while at < size and data[at] != 10:
            at += 1
        used += 1
    return used, 0, 0


@kernel()
def _skip(data: Any, at: Any) -> Any:
    while at < len(data) and (data[at] == 32 or data[at] == 9 or data[at] == 13 or data[at] == 44):
        at += 1
    return at


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


def _float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    # Too large for a float32 becomes infinite, which is refused with its line.
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
