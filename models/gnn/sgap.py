"""SGAP models: propagate, train without a graph, propagate again (PaSca, algorithm 1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.data.graph import Graph, Nodes
from models.gnn.cache import propagated
from models.gnn.designs import LEARNED, Design, Training
from models.gnn.layers import ResidualPerceptron
from models.gnn.learner import NodeLearner
from models.gnn.messages import LearnedMessage, aggregate
from models.gnn.operators import normalised, propagate

# Nodes in one step of the optimizer, and nodes that are predicted together.
BATCH, PREDICTED = 8192, 8192


class SgapModule(nn.Module):
    """The stage in the middle: a perceptron, behind a learned aggregator if the design has one."""

    def __init__(self, design: Design, features: int, classes: int, random: torch.Generator) -> None:
        super().__init__()
        learned = design.message in LEARNED
        inputs = features * (design.steps + 1 if design.message == "concat" else 1)
        self.message = LearnedMessage(design.message, design.steps, features, random) if learned else None
        self.perceptron = ResidualPerceptron(inputs, design.width, classes, design.depth, design.dropout, random)

    def forward(self, x: Tensor) -> Tensor:
        """(n, classes) logits; x: (1, n, d) put together already, or (K + 1, n, d) for a learned aggregator."""
        logits: Tensor = self.perceptron(x[0] if self.message is None else self.message(x))
        return logits


class SgapLearner(NodeLearner):
    """A design in training. An epoch costs what its training nodes cost, however large the graph.

    Args:
        seed: of initial weights, the order of nodes and dropped units.
        cache: directory of propagated features; see `cache.propagated`.
    """

    def __init__(
        self,
        design: Design,
        training: Training,
        graph: Graph,
        *,
        seed: int = 0,
        threads: int = 1,
        cache: Path | None = None,
    ) -> None:
        random = torch.Generator().manual_seed(seed)
        module = SgapModule(design, graph.features.shape[1], graph.n_classes, random)
        super().__init__(graph, module, random, training, threads)
        self._design = design
        steps = propagated(graph, design.operator, design.steps, root=cache)
        self._inputs = steps if design.message in LEARNED else [aggregate(steps, design.message)]
        self._x_train = self._rows(graph.train)
        self._y_train = torch.tensor(graph.labels[graph.train])
        post = design.post_operator
        self._post = normalised(graph, post.kind, post.r, post.alpha) if design.post_steps else None

    def fit(self) -> None:
        """Learn from every training node once, in a new random order."""
        self._module.train()
        order = torch.randperm(len(self._y_train), generator=self._random)
        for nodes in torch.split(order, BATCH):
            whole = len(nodes) == len(order)
            x, y = (self._x_train, self._y_train) if whole else (self._x_train[:, nodes], self._y_train[nodes])
            self._optimizer.zero_grad()
            functional.cross_entropy(self._module(x), y).backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()

    def scores(self, nodes: Nodes | None = None) -> NDArray[np.float32]:
        """(nodes, classes); after-propagation needs all nodes' predictions, whichever are asked for."""
        if self._post is None:
            return self._predicted(nodes)
        steps = propagate(self._post, self._predicted(None), self._design.post_steps)
        made = aggregate(steps, self._design.post_message)
        return made if nodes is None else made[nodes]

    @property
    def stored_bytes(self) -> int:
        """Propagated features, as the aggregator needs them, and the operator that follows."""
        post = self._post
        operator = 0 if post is None else post.indptr.nbytes + post.indices.nbytes + post.values.nbytes
        return sum(part.nbytes for part in self._inputs) + operator + 4 * self.graph.n * self.graph.n_classes

    def _predicted(self, nodes: Nodes | None) -> NDArray[np.float32]:
        self._module.eval()
        count = self.graph.n if nodes is None else len(nodes)
        made = np.empty((count, self.graph.n_classes), dtype=np.float32)
        with torch.no_grad():
            for start in range(0, count, PREDICTED):
                part = slice(start, start + PREDICTED)
                x = self._rows(part if nodes is None else nodes[part])
                made[part] = torch.softmax(self._module(x), dim=1).numpy()
        return made

    def _rows(self, rows: slice | Nodes) -> Tensor:
        """(1 or K + 1, rows, d)"""
        return torch.from_numpy(np.stack([part[rows] for part in self._inputs]))
