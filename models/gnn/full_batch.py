"""Models that pass messages while they train, on the whole graph in every epoch: GCN, JK-Net, APPNP, GraphSAGE."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.data.graph import Graph, Nodes
from models.gnn.designs import Training
from models.gnn.layers import Dropout, linear
from models.gnn.learner import NodeLearner
from models.gnn.operators import CSR, normalised
from models.gnn.sparse import Inputs, SparseMatrix, inputs

MODELS = ("gcn", "jknet", "appnp", "sage")


@dataclass(frozen=True)
class Architecture:
    """Which model of `MODELS`.

    Attributes:
        layers: that pass messages; of APPNP, steps of propagation.
        alpha: share of its own prediction that a node keeps at each step of APPNP.
    """

    model: str = "gcn"
    layers: int = 2
    width: int = 16
    dropout: float = 0.5
    alpha: float = 0.1


class FullBatchModule(nn.Module):
    """One of the models; its first layer takes `Inputs`, which may be sparse."""

    def __init__(
        self, how: Architecture, operator: SparseMatrix, features: int, classes: int, random: torch.Generator
    ) -> None:
        super().__init__()
        self._how, self._operator, self._random = how, operator, random
        self.drop = Dropout(how.dropout, random)
        ends = how.model in ("gcn", "sage")
        # APPNP's perceptron has two layers, whatever its steps.
        hidden = 1 if how.model == "appnp" else how.layers - ends
        sizes = [features, *[how.width] * hidden, *([classes] if ends or how.model == "appnp" else [])]
        pairs = list(pairwise(sizes))
        self.linears = nn.ModuleList(linear(a, b, random) for a, b in pairs)
        # GraphSAGE has weights of their own for the node itself.
        self.own = nn.ModuleList(linear(a, b, random) for a, b in pairs if how.model == "sage")
        self.last = linear(how.layers * how.width, classes, random) if how.model == "jknet" else None

    def forward(self, x: Inputs) -> Tensor:
        """(n, classes) logits."""
        dropped = x.dropped(self._how.dropout, self._random) if self.training else x
        forward = {"gcn": self._gcn, "jknet": self._jknet, "appnp": self._appnp, "sage": self._sage}
        return forward[self._how.model](dropped)

    def _first(self, x: Inputs, layers: nn.ModuleList | None = None) -> Tensor:
        layer = (self.linears if layers is None else layers)[0]
        assert isinstance(layer, nn.Linear)
        return x.linear(layer)

    def _gcn(self, x: Inputs) -> Tensor:
        """Kipf and Welling, ICLR 2017, equation 9."""
        h = self._operator @ self._first(x)
        for layer in self.linears[1:]:
            h = self._operator @ layer(self.drop(functional.relu(h)))
        return h

    def _jknet(self, x: Inputs) -> Tensor:
        """Xu et al., ICML 2018: a linear layer on the outputs of all layers, side by side."""
        h = functional.relu(self._operator @ self._first(x))
        every = [h]
        for layer in self.linears[1:]:
            h = functional.relu(self._operator @ layer(self.drop(h)))
            every.append(h)
        assert self.last is not None
        logits: Tensor = self.last(self.drop(torch.cat(every, dim=1)))
        return logits

    def _appnp(self, x: Inputs) -> Tensor:
        """Gasteiger et al., ICLR 2019, equation 4: a perceptron's predictions, propagated while training."""
        predicted: Tensor = self.linears[1](self.drop(functional.relu(self._first(x))))
        h = predicted
        for _ in range(self._how.layers):
            h = (1 - self._how.alpha) * (self._operator @ h) + self._how.alpha * predicted
        return h

    def _sage(self, x: Inputs) -> Tensor:
        """Hamilton et al., NIPS 2017, mean over the neighbourhood (the node included), no sampling."""
        h = self._operator @ self._first(x) + self._first(x, self.own)
        for layer, own in zip(self.linears[1:], self.own[1:], strict=True):
            h = self.drop(functional.relu(h))
            h = self._operator @ layer(h) + own(h)
        return h


class FullBatchLearner(NodeLearner):
    """A baseline in training: an epoch is one step of the optimizer, over the whole graph.

    Args:
        seed: of initial weights and dropped units.
    """

    def __init__(self, how: Architecture, training: Training, graph: Graph, *, seed: int = 0, threads: int = 1) -> None:
        random = torch.Generator().manual_seed(seed)
        self._csr: CSR = normalised(graph, "random_walk" if how.model == "sage" else "symmetric")
        operator = SparseMatrix(self._csr, symmetric=how.model != "sage")
        module = FullBatchModule(how, operator, graph.features.shape[1], graph.n_classes, random)
        super().__init__(graph, module, random, training, threads)
        self._how = how
        self._inputs: Any = inputs(graph.features)
        self._train = torch.tensor(graph.train)
        self._y_train = torch.tensor(graph.labels[graph.train])

    def fit(self) -> None:
        """One step of the optimizer on all training nodes."""
        self._module.train()
        self._optimizer.zero_grad()
        logits = self._module(self._inputs)
        functional.cross_entropy(logits[self._train], self._y_train).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def scores(self, nodes: Nodes | None = None) -> NDArray[np.float32]:
        """(nodes, classes); the whole graph is passed through, whichever nodes are asked for."""
        self._module.eval()
        with torch.no_grad():
            made: NDArray[np.float32] = torch.softmax(self._module(self._inputs), dim=1).numpy()
        return made if nodes is None else made[nodes]

    @property
    def stored_bytes(self) -> int:
        """Features, operator, and the outputs of all layers that are held at once."""
        held = self._how.layers * self._how.width if self._how.model == "jknet" else 2 * self._how.width
        operator = self._csr.indptr.nbytes + self._csr.indices.nbytes + self._csr.values.nbytes
        return int(self._inputs.nbytes) + operator + 4 * self.graph.n * (held + self.graph.n_classes)
