"""The data options of `ipt.classify`, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.data.text import TEXTS, TextSet, load_texts
from models.options import MAX_THREADS, whole
from tunewright.errors import WorkloadError

DATA_OPTIONS = {
    "dataset": f"labelled texts: {', '.join(TEXTS)}, or the path of a .csv, .jsonl or .parquet (default keywords)",
    "text_column": "column of the texts, for a file (default text)",
    "label_column": "column of the labels, for a file (default label)",
    "model": "minilm, tiny-bert, tiny-roberta, tiny-gpt2, tiny-t5, or a local model's folder (default minilm)",
    "label_words": "label -> a word, or words, that the model's own language-model head is asked for in place of a "
    "linear head; each must be one token (default none)",
    "shots": "texts of each class to learn from; 0 takes all (default 0)",
    "sample_seed": "which of them, a whole number (default 0)",
    "valid_rows": "texts to validate on; 0 takes all (default 300)",
    "max_tokens": "where a longer text is cut off (default 48)",
    "chunk_steps": "optimizer steps of one unit of the fidelity (default 10)",
    "threads": "processor threads that one trial uses (default 1)",
}
# Option -> default, smallest and largest value.
NUMBERS: Mapping[str, tuple[int, int, int]] = {
    "shots": (0, 0, 1_000_000),
    "sample_seed": (0, 0, 2**31),
    "valid_rows": (300, 0, 1_000_000),
    "max_tokens": (48, 4, 4096),
    "chunk_steps": (10, 1, 100_000),
    "threads": (1, 1, MAX_THREADS),
}


@dataclass(frozen=True)
class IptOptions:
    """A study's data options."""

    texts: TextSet
    model: str
    label_words: Mapping[str, Sequence[str]] | None
    max_tokens: int
    chunk_steps: int
    threads: int


def read_options(data: Mapping[str, Any]) -> IptOptions:
    """Check the options and load the texts.

    Raises:
        WorkloadError: an option's value is wrong; names the option.
    """
    numbers = {name: whole(data, name, *bounds) for name, bounds in NUMBERS.items()}
    words = {name: _word(name, data, default) for name, default in _WORDS.items()}
    texts = load_texts(data.get("dataset", "keywords"), words["text_column"], words["label_column"])
    few = texts.few(numbers["shots"], numbers["valid_rows"], numbers["sample_seed"])
    asked = read_label_words(data.get("label_words"))
    return IptOptions(few, words["model"], asked, numbers["max_tokens"], numbers["chunk_steps"], numbers["threads"])


_WORDS = {"text_column": "text", "label_column": "label", "model": "minilm"}


def _word(name: str, data: Mapping[str, Any], default: str) -> str:
    value = data.get(name, default)
    if not isinstance(value, str) or not value:
        raise WorkloadError(f"data.{name}: {value!r} must be a text")
    return value


def read_label_words(given: Any) -> dict[str, list[str]] | None:
    """Words of each label, from a mapping of labels to a word or to a list of words.

    Raises:
        WorkloadError: it is something else.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping) or not given:
        raise WorkloadError(f"data.label_words: {given!r} must map each label to a word, or to a list of words")
    found: dict[str, list[str]] = {}
    for label, said in given.items():
        words = list(said) if isinstance(said, (list, tuple)) else [said]
        if not words or not all(isinstance(word, str) and word.strip() for word in words):
            raise WorkloadError(f"data.label_words.{label}: {said!r} must be a word, or a list of words")
        found[str(label)] = words
    return found
