"""Clicks with planted main effects and field interactions: what matters is known, and the best possible AUC.

Fields are those of MovieLens-100k, categories drawn by a power law. A click's log-odds are the sum of

- a main effect of some fields;
- inner products of two fields' hidden vectors, for `INNER` pairs (what a factorisation machine can express);
- a random table over two fields' categories, for `TABLE` pairs of small fields (what it can express only with more
  dimensions than categories, and a bilinear or deep model more easily).

Fields in `SILENT` say nothing at all: a good search drops them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.data._click_table import FIELDS, Clicks, encode

MAIN = ("user", "item", "age", "year")
INNER = (("user", "item"), ("user", "genres"), ("occupation", "genres"))
TABLE = (("age", "decade"), ("gender", "hour"))
SILENT = ("zip", "weekday")
HIDDEN_DIMENSIONS = 4
_SIZES = {"user": 400, "item": 300, "age": 7, "gender": 2, "occupation": 21, "zip": 10, "year": 70, "decade": 8}
_SIZES |= {"genres": 100, "hour": 24, "weekday": 7}
_BASE, _MAIN_DEVIATION, _INNER_GAIN, _TABLE_DEVIATION = -0.3, 0.4, 1.2, 0.9


def generate(rows: int, seed: int = 0) -> Clicks:
    """Draw a table whose `truth` holds the probability with which each row was clicked; time changes nothing in it."""
    rng = np.random.default_rng([seed, 0xC11C])
    columns = {name: _popular(_SIZES[name], rows, rng) for name in FIELDS}
    odds = np.full(rows, _BASE)
    for name in MAIN:
        odds += _MAIN_DEVIATION * rng.standard_normal(_SIZES[name])[columns[name]]
    for first, second in INNER:
        a, b = (rng.standard_normal((_SIZES[name], HIDDEN_DIMENSIONS)) for name in (first, second))
        odds += _INNER_GAIN * (a[columns[first]] * b[columns[second]]).sum(axis=1) / HIDDEN_DIMENSIONS**0.5
    for first, second in TABLE:
        effect = _TABLE_DEVIATION * rng.standard_normal((_SIZES[first], _SIZES[second]))
        odds += effect[columns[first], columns[second]]
    truth = 1.0 / (1.0 + np.exp(-odds))
    labels = (rng.random(rows) < truth).astype(np.float32)
    return encode(columns, labels, truth=truth)


def bayes_auc(truth: NDArray[np.float64]) -> float:
    """The expected AUC of ranking rows by their true probabilities, which no model can beat but by luck.

    Args:
        truth: (n,) probabilities.
    """
    order = np.sort(truth)
    below = np.cumsum(1.0 - order) - (1.0 - order)
    # A row is never compared with itself, so the product of the sums counts too many pairs.
    pairs = order.sum() * (1.0 - order).sum() - (order * (1.0 - order)).sum()
    return float((order * below).sum() / pairs)


def _popular(size: int, rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    weight = np.arange(1, size + 1) ** -0.6
    return rng.choice(size, size=rows, p=weight / weight.sum())
