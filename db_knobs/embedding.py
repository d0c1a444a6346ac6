"""Statements as a few numbers each: hashed TF-IDF of their words, on axes that are learnt once and then stay.

What is learnt later must not move what was measured before, so the axes are those of the statements that were there at
first. Words that came later lie off these axes; what the axes leave out of a statement is folded into FOLDED numbers
by fixed signs, so that new statements still show, and differ from each other.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import sqlglot
from numpy.typing import NDArray
from sqlglot import TokenType
from sqlglot.errors import SqlglotError

from db_knobs.address import Kind

LEARNT, FOLDED = 3, 2
SIZE = LEARNT + FOLDED
BUCKETS = 256
# Statements that the axes are learnt from, those that took longest first.
_SAMPLE = 200
_SIGN_SEED = 0x516

_DIALECTS: Mapping[Kind, str] = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}
# Servers cut long statements off; then words have to do.
_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_VALUES = {TokenType.STRING, TokenType.NUMBER, TokenType.PLACEHOLDER, TokenType.PARAMETER}


def words(text: str, kind: Kind) -> list[str]:
    """Keywords and names of a normalised statement, in lower case, without values and punctuation."""
    try:
        tokens = [
            token.text for token in sqlglot.tokenize(text, read=_DIALECTS[kind]) if token.token_type not in _VALUES
        ]
    except SqlglotError:
        tokens = _WORD.findall(text)
    return [token.lower() for token in tokens if _WORD.match(token)]


@dataclass(frozen=True)
class Projection:
    """From the words of a statement to SIZE numbers.

    Attributes:
        rarity: (BUCKETS,) inverse document frequencies.
        mean: (BUCKETS,) of the statements that it was learnt from.
        axes: (LEARNT, BUCKETS), orthonormal rows; zero where there were too few different statements.
    """

    rarity: NDArray[np.float64]
    mean: NDArray[np.float64]
    axes: NDArray[np.float64]

    @classmethod
    def learn(cls, statements: Sequence[tuple[Sequence[str], float]]) -> Projection:
        """From (words, seconds that it took in all) of statements."""
        used = sorted(statements, key=lambda each: (-each[1], tuple(each[0])))[:_SAMPLE]
        counts = np.array([_counts(found) for found, _ in used]).reshape(-1, BUCKETS)
        rarity = np.log((1.0 + len(used)) / (1.0 + (counts > 0).sum(axis=0))) + 1.0
        vectors = _unit(counts * rarity)
        weights = np.array([max(seconds, 0.0) for _, seconds in used]) + 1e-9
        weights = weights / max(weights.sum(), 1e-300)
        mean = weights @ vectors
        return cls(rarity, mean, _axes(np.sqrt(weights)[:, None] * (vectors - mean)))

    def __call__(self, found: Sequence[str]) -> NDArray[np.float64]:
        """(SIZE,) numbers of a statement's words."""
        vector = _unit(_counts(found)[None] * self.rarity)[0] - self.mean
        along = self.axes @ vector
        return np.concatenate([along, _SIGNS @ (vector - along @ self.axes)])

    def state(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {"rarity": self.rarity.tolist(), "mean": self.mean.tolist(), "axes": self.axes.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Projection:
        return cls(np.array(state["rarity"]), np.array(state["mean"]), np.array(state["axes"]).reshape(LEARNT, BUCKETS))


_SIGNS: NDArray[np.float64] = np.random.default_rng(_SIGN_SEED).choice([-1.0, 1.0], size=(FOLDED, BUCKETS))


def _counts(found: Sequence[str]) -> NDArray[np.float64]:
    """(BUCKETS,) how often words and pairs of neighbours occur, on a logarithmic scale."""
    counts = np.zeros(BUCKETS)
    for term, count in Counter(_terms(found)).items():
        counts[zlib.crc32(term.encode()) % BUCKETS] += count
    return np.log1p(counts)


def _terms(found: Sequence[str]) -> Iterator[str]:
    yield from found
    yield from (f"{first} {second}" for first, second in pairwise(found))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0))


def _axes(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(LEARNT, BUCKETS) principal axes, with signs that do not depend on the library."""
    axes = np.zeros((LEARNT, BUCKETS))
    if not len(rows):
        return axes
    _, strengths, found = np.linalg.svd(rows, full_matrices=False)
    kept = found[:LEARNT][strengths[:LEARNT] > 1e-6]
    kept = kept * np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])[:, None]
    axes[: len(kept)] = kept
    return axes
