"""From text to batches: a byte-level BPE tokenizer trained on the training part, token ids, windows."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.corpora import Corpus
from models.data.packages import cache_dir
from tunewright.errors import WorkloadError

# 256 bytes, and something to merge.
MIN_VOCABULARY, MAX_VOCABULARY = 257, 65_536
# Part of a cache entry's name: another one, where what is cached changes.
_FORMAT = "1"


@dataclass(frozen=True, eq=False)
class Tokens:
    """A corpus as token ids.

    Attributes:
        train, valid: (n,) int64; documents end to end.
        vocabulary: number of ids.
        bytes_per_token: of the validation part, to compare losses between vocabularies.
    """

    train: Tensor
    valid: Tensor
    vocabulary: int
    bytes_per_token: float

    @property
    def frequencies(self) -> Tensor:
        """(vocabulary,) how often each id occurs in the training part."""
        return torch.bincount(self.train, minlength=self.vocabulary)

    def batch(self, sequences: int, context: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Inputs and next tokens, (sequences, context) each, of windows drawn from the training part."""
        starts = torch.from_numpy(random.integers(len(self.train) - context, size=sequences))
        return _windows(self.train, starts, context)

    def validation(self, windows: int, sequences: int, context: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of at most `sequences` windows, evenly spread over the validation part, always the same."""
        starts = torch.linspace(0, len(self.valid) - context - 1, windows, dtype=torch.float64).long()
        for some in torch.split(starts, sequences):
            yield _windows(self.valid, some, context)


def tokenize(corpus: Corpus, vocabulary: int, context: int) -> Tokens:
    """Train a tokenizer on the training part and apply it to both; kept in the user's cache.

    Raises:
        WorkloadError: the text is too short for the context.
    """
    key = hashlib.sha256(f"{_FORMAT} {vocabulary}".encode())
    for part in (corpus.train, corpus.valid):
        for text in part:
            key.update(hashlib.sha256(text.encode()).digest())
        key.update(b"|")
    path = cache_dir() / "tokens" / f"{key.hexdigest()[:32]}.npz"
    if not path.exists():
        _write(path, *_encoded(corpus, vocabulary))
    with np.load(path, allow_pickle=False) as found:
        train, valid = (torch.from_numpy(found[part].astype(np.int64)) for part in ("train", "valid"))
    if min(len(train), len(valid)) <= context + 1:
        raise WorkloadError(
            f"data.context: {context} tokens, but the text's parts have only {len(train)} and {len(valid)}; "
            "take a shorter context or more text"
        )
    n_bytes = sum(len(text.encode()) for text in corpus.valid)
    return Tokens(train, valid, vocabulary, n_bytes / len(valid))


def _windows(ids: Tensor, starts: Tensor, context: int) -> tuple[Tensor, Tensor]:
    index = starts[:, None] + torch.arange(context + 1)
    window = ids[index]
    return window[:, :-1], window[:, 1:]


def _encoded(corpus: Corpus, vocabulary: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(vocab_size=vocabulary, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(corpus.train, trainer)

    def ids(part: Sequence[str]) -> NDArray[np.uint16]:
        encoded = tokenizer.encode_batch(list(part))
        return np.concatenate([np.asarray(document.ids, dtype=np.uint16) for document in encoded])

    return ids(corpus.train), ids(corpus.valid)


def _write(path: Path, train: NDArray[np.uint16], valid: NDArray[np.uint16]) -> None:
    """As a whole or not at all: several trials may ask at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(suffix=".npz", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, train=train, valid=valid)
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
