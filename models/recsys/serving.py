"""A trained recommender that answers requests by the batch: scores of given items, or the best of all items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from models.recsys.asked import UNKNOWN, Answer, Asked
from models.recsys.learner import STATE_FILE, Zoomer
from models.recsys.options import read_options
from models.recsys.towers import vectors_of_items
from models.recsys.zoomer import recipe
from tunewright.space import Config

# How many candidates beyond those asked for the index gives, so that what the user already clicked can be left out.
_SPARE = 50
_LINKS, _BUILD_WIDTH, _SEARCH_WIDTH = 16, 200, 128


class Recommender:
    """Answers requests from a trained model; item vectors stand in an approximate index (HNSW).

    One thread at a time.

    Args:
        exact: compare with all items instead of asking the index.
    """

    def __init__(self, model: Zoomer, *, exact: bool = False) -> None:
        self._model, graph = model, model.graph
        self._count = graph.items
        # The last row is an item nobody knows.
        unknown = model.features.codes[[model.features.unknown(2)]]
        stranger = vectors_of_items(model.towers, model.embeddings, unknown)
        self._items = np.concatenate([model.item_vectors(), stranger])
        clicks = graph.edges["user-item"]
        self._clicked = clicks.pointers, clicks.neighbours - np.int32(graph.users + graph.queries)
        self._index = None if exact else _index(self._items[:-1])

    def answer(self, asked: Sequence[Asked]) -> list[Answer]:
        """Answers to a batch of requests, in their order; costs little more than one."""
        users, known_users = _known([one.user for one in asked], self._model.known_users)
        queries, known_queries = _known([one.query for one in asked], self._model.known_queries)
        vectors = self._model.request_vectors(users, queries)
        rows = [row for row, one in enumerate(asked) if one.items is None]
        found = dict(zip(rows, self._best(vectors[rows], [asked[row] for row in rows], users[rows]), strict=True))
        items = [found[row] if one.items is None else list(one.items) for row, one in enumerate(asked)]
        ends = np.cumsum([len(of_one) for of_one in items]).tolist()
        places, _ = _known([item for of_one in items for item in of_one], np.ones(self._count, np.bool_))
        owners = np.repeat(np.arange(len(asked)), [len(of_one) for of_one in items])
        scores = _chances(np.einsum("nd,nd->n", self._items[places], vectors[owners]))
        return [
            Answer(of_one, scores[end - len(of_one) : end], bool(user), bool(query))
            for of_one, end, user, query in zip(items, ends, known_users, known_queries, strict=True)
        ]

    def _best(self, vectors: NDArray[np.float32], asked: Sequence[Asked], users: NDArray[np.int32]) -> list[list[int]]:
        if not asked:
            return []
        seen = [
            self._seen(user) if one.fresh else np.zeros(0, np.int32) for one, user in zip(asked, users, strict=True)
        ]
        most = max(one.count + min(len(items), _SPARE) for one, items in zip(asked, seen, strict=True))
        near = self._nearest(vectors, min(most, self._count))
        found: list[list[int]] = []
        for one, items, candidates in zip(asked, seen, near.tolist(), strict=True):
            known = set(items.tolist())
            fresh = [item for item in candidates if item >= 0 and item not in known]
            if len(fresh) < min(one.count, self._count - len(known)):
                # So much of the neighbourhood was clicked that all items have to be looked at.
                every = np.argsort(-(self._items[:-1] @ vectors[len(found)]), kind="stable").tolist()
                fresh = [item for item in every if item not in known]
            found.append(fresh[: one.count])
        return found

    def _nearest(self, vectors: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """(b, count) items by falling inner product."""
        if self._index is not None:
            self._index.hnsw.efSearch = max(_SEARCH_WIDTH, count + 10)
            labels: NDArray[np.int64] = self._index.search(np.ascontiguousarray(vectors), count)[1]
            return labels
        return np.argsort(-(vectors @ self._items[:-1].T), axis=1, kind="stable")[:, :count]

    def _seen(self, user: int) -> NDArray[np.int32]:
        pointers, items = self._clicked
        return items[pointers[user] : pointers[user + 1]] if user >= 0 else items[:0]


def load_recommender(state: Path, config: Config, data: Mapping[str, Any]) -> Recommender:
    """The recommender of a trial of `recsys.zoomer`.

    Args:
        state: directory of the trial's saved state.
        config, data: the trial's configuration, its study's data options.
    Raises:
        WorkloadError: the data cannot be had any more.
    """
    saved = torch.load(state / STATE_FILE, weights_only=True)
    model = Zoomer(recipe(config), read_options(data).split().train, seed=int(saved["seed"]))
    model.load(saved)
    return Recommender(model)


def _index(items: NDArray[np.float32]) -> Any:
    """An index of item vectors by inner product; built by one thread, so that it is the same every time."""
    faiss.omp_set_num_threads(1)
    index = faiss.IndexHNSWFlat(items.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _BUILD_WIDTH
    index.add(np.ascontiguousarray(items))
    return index


def _known(numbers: Sequence[int], met: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Numbers with `UNKNOWN` for those that were not `met` (count,) or are none, and which are known."""
    given = np.array(numbers, np.int64)
    known = (given >= 0) & (given < len(met))
    known[known] = met[given[known]]
    return np.where(known, given, UNKNOWN).astype(np.int32), known


def _chances(logits: NDArray[np.float32]) -> list[float]:
    return [float(chance) for chance in 1.0 / (1.0 + np.exp(-np.clip(logits, -30, 30)))]
