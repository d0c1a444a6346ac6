"""The data options of `moe.lm`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.data.corpora import CORPORA, Corpus, load, read
from models.options import MAX_THREADS, whole
from tunewright.errors import WorkloadError

DEFAULT_DATASET = "shakespeare"

# name -> (default, smallest, largest, what it means)
_NUMBERS: Mapping[str, tuple[int, int, int, str]] = {
    "vocabulary": (1_024, 257, 65_536, "number of token ids of the byte-level BPE tokenizer"),
    "context": (64, 2, 4_096, "tokens of a training window"),
    "batch": (16, 1, 4_096, "windows of an optimizer step"),
    "steps": (50, 1, 100_000, "optimizer steps of one unit of the fidelity"),
    "validation": (64, 1, 100_000, "windows that the validation loss is measured on"),
    "threads": (1, 1, MAX_THREADS, "processor threads that one trial uses"),
}

DATA_OPTIONS = {
    "dataset": f"which text to learn: {', '.join(CORPORA)} (default {DEFAULT_DATASET})",
    "path": "instead of a data set: a text file, or a directory of text files, on the machine that runs the trial",
    **{name: f"{text}, {low} to {high} (default {default})" for name, (default, low, high, text) in _NUMBERS.items()},
}


@dataclass(frozen=True)
class TextOptions:
    """A study's data options, read and checked; attributes as DATA_OPTIONS describes them."""

    corpus: Corpus
    vocabulary: int
    context: int
    batch: int
    steps: int
    validation: int
    threads: int


def read_options(data: Mapping[str, Any]) -> TextOptions:
    """Check the options and read the text.

    Raises:
        WorkloadError: an option's value is wrong; names the option.
    """
    numbers = {name: whole(data, name, default, low, high) for name, (default, low, high, _) in _NUMBERS.items()}
    if "path" in data and "dataset" in data:
        raise WorkloadError("data.path: give a path or a dataset, not both")
    corpus = read(data["path"]) if "path" in data else load(data.get("dataset", DEFAULT_DATASET))
    return TextOptions(corpus=corpus, **numbers)
