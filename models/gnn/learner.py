"""What all graph models share while they train: an epoch, a measurement, a state."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.data.graph import Graph, Nodes
from models.gnn._kernels import threads_at_most
from models.gnn.designs import Training

STATE_FILE = "state.pt"
_MB = 1e6
# Predictions that a process measures before its first report: else a trial that is cut into many legs would be measured
# by how long it takes to warm up.
_FIRST_PREDICTIONS = 4


class NodeLearner(ABC):
    """A model that tells the class of nodes, in training (a `Learner`; one step is one epoch).

    Args:
        module: drawn from `random`, from which every later random number comes too.
        threads: processor threads, for the whole process; reports are equal for equal numbers of threads.
    """

    def __init__(
        self, graph: Graph, module: nn.Module, random: torch.Generator, training: Training, threads: int
    ) -> None:
        torch.set_num_threads(threads)
        threads_at_most(threads)
        self.graph = graph
        self._module = module
        self._random = random
        self._optimizer = torch.optim.Adam(
            module.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
        )
        self._fastest = float("inf")

    @abstractmethod
    def fit(self) -> None:
        """Learn one epoch: every training node once."""

    @abstractmethod
    def scores(self, nodes: Nodes | None = None) -> NDArray[np.float32]:
        """(nodes, classes) soft predictions, rows in the order of `nodes`; of all by default."""

    @property
    @abstractmethod
    def stored_bytes(self) -> int:
        """Bytes that predicting needs beside the weights."""

    def step(self, resource: int) -> dict[str, float]:
        """Learn one epoch and measure on the validation nodes.

        Returns:
            error: share of validation nodes that are taken for another class; NaN if a prediction is.
            loss: log loss there.
            inference_ms: time to predict all nodes from features that are propagated already, the shortest of this
                process so far.
            memory_mb: 10^6 bytes of weights and of what predicting looks at.
        """
        self.fit()
        for _ in range(1 if np.isfinite(self._fastest) else _FIRST_PREDICTIONS):
            began = time.perf_counter()
            scores = self.scores()
            self._fastest = min(self._fastest, time.perf_counter() - began)
        valid = self.graph.valid
        chosen = np.maximum(_shares(scores[valid])[np.arange(len(valid)), self.graph.labels[valid]], 1e-12)
        loss = float(-np.log(chosen).mean(dtype=np.float64))
        return {
            # The largest of scores that are no numbers would be the first, and a diverged model right about that class.
            "error": math.nan if math.isnan(loss) else 1.0 - accuracy(scores[valid], self.graph.labels[valid]),
            "loss": loss,
            "inference_ms": 1e3 * self._fastest,
            "memory_mb": self.memory_mb,
        }

    @property
    def memory_mb(self) -> float:
        """10^6 bytes of weights and of what predicting looks at; the same for every epoch."""
        weights = sum(weight.numel() * weight.element_size() for weight in self._module.parameters())
        return (weights + self.stored_bytes) / _MB

    def accuracy(self, nodes: Nodes) -> float:
        """Share of nodes whose class is told right."""
        return accuracy(self.scores(nodes), self.graph.labels[nodes])

    def save(self, directory: Path) -> None:
        """Write weights, the optimizer's state and the generator's."""
        state = {
            "module": self._module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": self._random.get_state(),
        }
        torch.save(state, directory / STATE_FILE)

    def restore(self, directory: Path) -> None:
        """Continue from a saved state."""
        state: dict[str, Any] = torch.load(directory / STATE_FILE, weights_only=True)
        self._module.load_state_dict(state["module"])
        # Its settings stay those of this configuration, which may be a changed copy of the one that was saved.
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self._optimizer.param_groups]
        self._optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self._optimizer.param_groups, settings, strict=True):
            group.update(own)
        self._random.set_state(state["random"])


def accuracy(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Share of rows whose largest score stands at the label."""
    return float((scores.argmax(axis=1) == labels).mean())


def _shares(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    # Predictions that were propagated and summed are no distribution any more.
    return np.asarray(scores / np.maximum(scores.sum(axis=1, keepdims=True), np.float32(1e-12)), dtype=np.float32)
