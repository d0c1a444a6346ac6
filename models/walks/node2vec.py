"""A node2vec trial: fresh walks from every vertex, learnt once, then measured; one step is one walk per vertex."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.data.edges import EdgeList
from models.walks.errors import GraphError
from models.walks.evaluation import Groups, Links
from models.walks.memory import LoadedGraph
from models.walks.rule import Rule
from models.walks.skipgram import SkipGram
from tunewright.space import Config

STATE_FILE = "vectors.npz"
SPLIT_SEED = 0


class Node2vecLearner:
    """Vectors in training (a `Learner`).

    Args:
        config: as `Node2vecWorkload.space` declares it.
        task: "links" or "groups".
        seed: of walks, initial vectors and negatives.
        threads: that walk; vectors are learnt by one.
    """

    def __init__(self, config: Config, graph: EdgeList, task: str, *, seed: int, threads: int) -> None:
        self._links = Links.split(graph, SPLIT_SEED) if task == "links" else None
        self._groups = Groups.split(graph, SPLIT_SEED) if task == "groups" else None
        self._graph = LoadedGraph.from_edges(graph.edges if self._links is None else self._links.seen, graph.vertices)
        self._rule = Rule(float(config["p"]), float(config["q"]), int(config["length"]), seed=seed)
        self._window, self._negatives = int(config["window"]), int(config["negatives"])
        self._rate, self._threads = float(config["rate"]), threads
        self._vectors = SkipGram.start(np.diff(self._graph.offsets), int(config["dimensions"]), seed)

    def step(self, resource: int) -> dict[str, float]:
        """Walk once more from every vertex, learn the walks, and measure."""
        first, end = (resource - 1) * self._graph.vertices, resource * self._graph.vertices
        began = time.perf_counter()
        walks = self._graph.rows(self._rule, first, end, threads=self._threads)
        walked = time.perf_counter()
        loss = self._vectors.learn(walks, first, window=self._window, negatives=self._negatives, rate=self._rate)
        learnt = time.perf_counter()
        return {
            **self._measure(),
            "train_loss": loss,
            "steps_per_second": walks.size / max(1e-9, walked - began),
            "learn_seconds": learnt - walked,
        }

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(n, d) of the vertices; numbers that grew without bound are 0."""
        return np.nan_to_num(self._vectors.inner, nan=0.0, posinf=0.0, neginf=0.0)

    def save(self, directory: Path) -> None:
        """Write the vectors; all randomness is by counter, and has no state."""
        np.savez(directory / STATE_FILE, inner=self._vectors.inner, outer=self._vectors.outer)

    def restore(self, directory: Path) -> None:
        """Continue from saved vectors.

        Raises:
            GraphError: they are of another shape than this trial's, as a copy's may be from its parent's.
        """
        with np.load(directory / STATE_FILE, allow_pickle=False) as state:
            inner, outer = state["inner"], state["outer"]
        if inner.shape != self._vectors.inner.shape:
            raise GraphError(
                f"dimensions: the saved vectors are {len(inner)} of {inner.shape[1]}, and this trial learns "
                f"{len(self._vectors.inner)} of {self._vectors.inner.shape[1]}; keep dimensions and data fixed where "
                "trials are copied"
            )
        self._vectors.inner, self._vectors.outer = inner, outer

    def _measure(self) -> dict[str, float]:
        if self._links is not None:
            auc = self._links.auc(self.vectors)
            return {"loss": 1 - auc, "link_auc": auc}
        assert self._groups is not None
        micro, macro = self._groups.f1(self.vectors)
        return {"loss": 1 - micro, "micro_f1": micro, "macro_f1": macro}
