"""Vertex vectors from finished walks, to a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.walks.corpus import Corpus
from models.walks.errors import GraphError, storage_errors
from models.walks.format import OFFSETS, Graph
from models.walks.skipgram import SkipGram

# Walks learnt between two words of progress.
PIECE_ROWS = 4_096
FINAL_SHARE = 0.01


def embed(
    graph_path: Path,
    walks: Path,
    vectors: Path,
    *,
    dimensions: int = 64,
    window: int = 5,
    negatives: int = 5,
    epochs: int = 1,
    rate: float = 0.025,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Learn vectors (n, dimensions) float32 and write them as .npy, whole or not at all; vectors are held in memory.

    The step size falls linearly to a hundredth of `rate`.

    Raises:
        GraphError: the walks are of another graph, the file's name or a number is wrong, or the disk is full.
        OSError: the file cannot be written; nothing is learned.
    """
    graph, corpus = Graph.open(graph_path), Corpus.open(walks)
    if corpus.made_by.get("graph") != graph.checksum:
        raise GraphError(f"{walks}: are walks of another graph than {graph_path}")
    if vectors.suffix != ".npy":
        raise GraphError(f"{vectors}: name the file .npy")
    if vectors.is_dir():
        raise GraphError(f"{vectors}: is a directory; name a file")
    new = vectors.with_suffix(".npy.new")
    # Before anything is learned that could not be kept.
    new.touch()
    try:
        offsets = np.fromfile(graph.path / OFFSETS, np.int64)
        learner = SkipGram.start(offsets[1:] - offsets[:-1], dimensions, seed)
        total, done = corpus.rows * epochs, 0
        for _ in range(epochs):
            for shard in corpus:
                for first in range(0, len(shard), PIECE_ROWS):
                    piece = np.ascontiguousarray(shard[first : first + PIECE_ROWS])
                    now, then = (rate * (1 - (1 - FINAL_SHARE) * at / total) for at in (done, done + len(piece)))
                    learner.learn(piece, done, window=window, negatives=negatives, rate=now, final=then)
                    done += len(piece)
                    progress(done, total)
        if not np.isfinite(learner.inner).all():
            raise GraphError(f"rate: {rate} is too high, the vectors grew without bound; choose a lower one")
        with storage_errors(vectors, "free some and learn again"), new.open("wb") as file:
            np.save(file, learner.inner)
        new.rename(vectors)
    finally:
        new.unlink(missing_ok=True)
