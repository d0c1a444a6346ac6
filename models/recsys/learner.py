"""ZOOMER in training: a number of interactions is one step."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.data.interactions import Interactions
from models.recsys.attention import Levels
from models.recsys.features import EmbeddingTable, read_features
from models.recsys.graph import Graph, build_graph
from models.recsys.losses import focal_loss, sampled_softmax
from models.recsys.ranking import auc, hit_rate, ndcg, ranks_of
from models.recsys.sampler import Method, Sampler
from models.recsys.towers import Towers, read_request, vectors_of_items

STATE_FILE = "state.pt"
# Focal nodes and items taken for unknown ones in training, so that answers to strangers are learned, too.
STRANGERS = 0.03
MAX_GRADIENT_NORM = 5.0
RANKED_AT_ONCE = 256


@dataclass(frozen=True)
class Recipe:
    """How ZOOMER learns.

    Attributes:
        method, scale: of the sampler; the scale's length is the number of hops.
        dimensions: of the vectors; levels: of attention that are on.
        loss: `focal` learns from clicks and exposures, `softmax` from clicks against the batch, `both` from both.
        gamma: of the focal loss; temperature: of the softmax.
        learning_rate, embedding_rate: of the towers (Adam) and of the embeddings (row-wise Adagrad).
        decay: of the embeddings that a step touches; batch: interactions for each update.
    """

    method: Method = "roi"
    scale: tuple[int, ...] = (5, 3)
    dimensions: int = 32
    levels: Levels = field(default_factory=Levels)
    loss: str = "both"
    gamma: float = 0.0
    temperature: float = 0.5
    learning_rate: float = 2e-3
    embedding_rate: float = 0.05
    decay: float = 1e-4
    batch: int = 512


@dataclass(frozen=True, eq=False)
class Judged:
    """What a model is judged by: rows of a part that was not learned from, the same ones every time."""

    rows: Interactions
    ranked: Interactions


def judged(part: Interactions, most: int, most_ranked: int, seed: int = 0) -> Judged:
    """At most so many rows of a held-out part for the AUC, and so many clicks whose item is looked for among all."""
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(part))[:most])
    clicks = np.flatnonzero(part.clicked)
    return Judged(part.take(some, part.part), part.take(np.sort(rng.permutation(clicks)[:most_ranked]), part.part))


class Zoomer:
    """Graph, sampler and towers of one recipe: answers requests, in training and after it."""

    def __init__(self, recipe: Recipe, train: Interactions, *, seed: int, graph: Graph | None = None) -> None:
        random = torch.Generator().manual_seed(seed)
        self.recipe = recipe
        self.graph = graph or build_graph(train)
        self.features = read_features(train)
        # A number of the table that no training row has was never learned: who bears it is a stranger.
        self.known_users, self.known_queries, self.known_items = (
            np.bincount(numbers, minlength=count) > 0
            for numbers, count in ((train.user, train.users), (train.query, train.queries), (train.item, train.items))
        )
        self.sampler = Sampler(self.graph, recipe.method, recipe.scale, seed=seed)
        self.embeddings = EmbeddingTable(self.features.rows, recipe.dimensions, random)
        self.towers = Towers(recipe.dimensions, len(recipe.scale), self.features.fields, recipe.levels, random)

    def request_vectors(self, users: NDArray[np.int32], queries: NDArray[np.int32]) -> NDArray[np.float32]:
        """(b, d + 2) vectors of requests; users and queries by number, -1 for an unknown one."""
        stranger = (users < 0) | ~self.known_users[users], (queries < 0) | ~self.known_queries[queries]
        user = np.where(stranger[0], np.int32(-1), self.graph.user_nodes(users)).astype(np.int32)
        query = np.where(stranger[1], np.int32(-1), self.graph.query_nodes(queries)).astype(np.int32)
        given = read_request(self.sampler.draw(user, query), self.features)
        with torch.no_grad():
            table, codes = self.embeddings.look_up(given.codes, learn=False)
            found: NDArray[np.float32] = self.towers.request(table, codes, given).numpy()
        return found

    def item_vectors(self) -> NDArray[np.float32]:
        """(items, d + 2) vectors of all items; those never met in training by their fields alone."""
        first = self.graph.users + self.graph.queries
        codes = self.features.codes[first : first + self.graph.items].copy()
        codes[~self.known_items, 0] = self.features.codes[self.features.unknown(2), 0]
        return vectors_of_items(self.towers, self.embeddings, codes)

    def state(self) -> dict[str, Any]:
        return {"towers": self.towers.state_dict(), "embeddings": self.embeddings.state()}

    def load(self, state: dict[str, Any]) -> None:
        self.towers.load_state_dict(state["towers"])
        self.embeddings.load(state["embeddings"])


class ZoomerLearner:
    """A recommender in training (a `Learner`; one step is `unit` interactions, in a new random order each pass).

    What is drawn in a step depends on the seed and the step's number alone, so a state holds no random generator.

    Args:
        split: learned from its train part; judged on `judge`.
        graph: of that train part, where it has been built before.
        threads: for the whole process; reports are equal for equal numbers of threads.
    """

    def __init__(
        self,
        recipe: Recipe,
        train: Interactions,
        judge: Judged,
        *,
        unit: int,
        seed: int,
        threads: int = 1,
        graph: Graph | None = None,
    ) -> None:
        torch.set_num_threads(threads)
        self.model = Zoomer(recipe, train, seed=seed, graph=graph)
        self._recipe, self._train, self._judge, self._unit, self._seed = recipe, train, judge, unit, seed
        self._clicked, self._sole = train.clicked, _sole_clicks(train)
        seen = np.bincount(train.item[self._clicked], minlength=train.items) + 1.0
        self._log_frequency = torch.from_numpy(np.log(seen / seen.sum()).astype(np.float32))
        self._optimizer = torch.optim.Adam(self.model.towers.parameters(), lr=recipe.learning_rate)
        self._pass, self._order = -1, np.zeros(0, np.int64)
        self._history = _history(judge.ranked, train)

    def step(self, resource: int) -> dict[str, float]:
        """Learn from the next interactions, and measure on held-out ones."""
        began = time.perf_counter()
        self.learn(resource)
        seconds = time.perf_counter() - began
        return {**self.measure(), "train_seconds": seconds}

    def learn(self, resource: int) -> None:
        """The learning of a step without its measurements."""
        first = (resource - 1) * self._unit
        for start in range(first, first + self._unit, self._recipe.batch):
            self._update(self._rows(start, min(start + self._recipe.batch, first + self._unit)), start)

    def measure(self) -> dict[str, float]:
        """AUC, hit rates and gain on the held-out rows, and milliseconds for each request of a batch."""
        items = self.model.item_vectors()
        rows = self._judge.rows
        began = time.perf_counter()
        scores = self.score(rows, items)
        milliseconds = 1000 * (time.perf_counter() - began) / len(rows)
        ranks = self._ranks(items)
        return {
            "auc": auc(scores, rows.clicked),
            "hit_rate_at_10": hit_rate(ranks, 10),
            "hit_rate_at_50": hit_rate(ranks, 50),
            "ndcg_at_10": ndcg(ranks, 10),
            "serve_ms": milliseconds,
        }

    def score(self, rows: Interactions, items: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """(n,) log-odds of a click for each row."""
        items = self.model.item_vectors() if items is None else items
        size = self._recipe.batch
        parts = [
            np.einsum(
                "nd,nd->n",
                self.model.request_vectors(rows.user[at : at + size], rows.query[at : at + size]),
                items[rows.item[at : at + size]],
            )
            for at in range(0, len(rows), size)
        ]
        return np.concatenate(parts)

    def save(self, directory: Path) -> None:
        """Write what was learned and the optimizer's state."""
        state = {**self.model.state(), "optimizer": self._optimizer.state_dict(), "seed": self._seed}
        torch.save(state, directory / STATE_FILE)

    def restore(self, directory: Path) -> None:
        """Continue from a saved state."""
        state: dict[str, Any] = torch.load(directory / STATE_FILE, weights_only=True)
        self.model.load(state)
        self._optimizer.load_state_dict(state["optimizer"])
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate

    def _update(self, rows: NDArray[np.int64], at: int) -> None:
        """One update from a batch of rows; `at`: interactions learned from before."""
        model, train = self.model, self._train
        rng = np.random.default_rng([self._seed, at])
        strange = rng.random((3, len(rows))) < STRANGERS
        nobody, item = np.int32(-1), model.graph.item_nodes(train.item[rows])
        user = np.where(strange[0], nobody, model.graph.user_nodes(train.user[rows]))
        query = np.where(strange[1], nobody, model.graph.query_nodes(train.query[rows]))
        drawn = model.sampler.draw(user, query, hidden=item, parted=self._sole[rows], turn=at + 1)
        given = read_request(drawn, model.features)
        offered = model.features.codes[np.where(strange[2], model.features.unknown(2), item)].copy()
        # A stranger among the items is known by its fields.
        offered[:, 1:] = model.features.codes[item][:, 1:]
        table, (*codes, item_codes) = model.embeddings.look_up([*given.codes, offered], learn=True)
        requests, items = model.towers.request(table, codes, given), model.towers.items(table, item_codes)
        loss = self._loss(requests, items, rows)
        if not loss.requires_grad:
            # Softmax learns from clicks alone, and this batch has none.
            return
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.towers.parameters(), MAX_GRADIENT_NORM)
        self._optimizer.step()
        model.embeddings.update(self._recipe.embedding_rate, self._recipe.decay)

    def _loss(self, requests: torch.Tensor, items: torch.Tensor, rows: NDArray[np.int64]) -> torch.Tensor:
        recipe, total = self._recipe, requests.new_zeros(())
        clicked = torch.from_numpy(self._clicked[rows])
        if recipe.loss in ("focal", "both"):
            total = total + focal_loss((requests * items).sum(dim=1), clicked.float(), recipe.gamma)
        if recipe.loss in ("softmax", "both") and bool(clicked.any()):
            ids = torch.from_numpy(self._train.item[rows].astype(np.int64))[clicked]
            frequency = self._log_frequency[ids]
            weight = 1.0 if recipe.loss == "softmax" else 0.1
            total = total + weight * sampled_softmax(
                requests[clicked], items[clicked], ids, frequency, recipe.temperature
            )
        return total

    def _rows(self, start: int, end: int) -> NDArray[np.int64]:
        """Rows number `start` to `end` of the endless sequence of passes."""
        size, found = len(self._train), []
        while start < end:
            number = start // size
            if number != self._pass:
                self._pass = number
                self._order = np.random.default_rng([self._seed, 7, number]).permutation(size)
            found.append(self._order[start - number * size : end - number * size])
            start += len(found[-1])
        return np.concatenate(found)

    def _ranks(self, items: NDArray[np.float32]) -> NDArray[np.int64]:
        ranked, found = self._judge.ranked, [np.zeros(0, np.int64)]
        for at in range(0, len(ranked), RANKED_AT_ONCE):
            part = slice(at, at + RANKED_AT_ONCE)
            scores = self.model.request_vectors(ranked.user[part], ranked.query[part]) @ items.T
            found.append(ranks_of(scores, ranked.item[part].astype(np.int64), self._history[part]))
        return np.concatenate(found)


def _sole_clicks(train: Interactions) -> NDArray[np.bool_]:
    """(n,) whether a row is its user's only click under its query: no other makes them neighbours."""
    sole = np.zeros(len(train), np.bool_)
    rows = np.flatnonzero(train.clicked)
    pairs = train.user[rows].astype(np.int64) * train.queries + train.query[rows]
    _, which, clicks = np.unique(pairs, return_inverse=True, return_counts=True)
    sole[rows] = clicks[which] == 1
    return sole


def _history(ranked: Interactions, train: Interactions) -> list[NDArray[np.int64]]:
    """Items that each ranked request's user clicked in the training part."""
    rows = np.flatnonzero(train.clicked)
    order = rows[np.argsort(train.user[rows], kind="stable")]
    bounds = np.searchsorted(train.user[order], np.arange(train.users + 1))
    return [train.item[order[bounds[user] : bounds[user + 1]]].astype(np.int64) for user in ranked.user]
