"""Choices that are learned by gradients in one training, instead of being tried: widths and pairs.

Each strategy trains a model that holds all choices at once, reads off what it has learned to keep, and gives a
configuration (and pairs) to train anew: the relaxed model itself is never what is used.

- `auto_dim`: mixes candidate widths by weights learned on held-out rows (AutoDim; Zhao et al. 2021);
- `learned_threshold`: embeddings shrink by thresholds that are learned beside them, on held-out rows, and columns that
  are left without numbers go (PEP; Liu et al. 2021, there on training rows and for single numbers; here for columns, so
  that what is pruned is not stored);
- `gated_pairs`: a gate for each pair under an optimizer that lets gates go to exactly 0 (AutoFIS; Liu et al. 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from models.data._click_table import Clicks
from models.recsys.ctr.learner import CHUNK_ROWS, CtrLearner
from models.recsys.ctr.pairs import Pair
from models.recsys.ctr.space import WIDTHS, ctr_space
from tunewright.space import Config

# Share of a column's numbers that must be left for the column to stay.
_COLUMN_KEPT = 0.1


class _SoftWidths:
    """Tokens masked by a mixture of prefixes: candidate width w keeps the first w numbers."""

    def __init__(self, fields: int, width: int, rate: float) -> None:
        self.candidates = [w for w in (0, *map(int, WIDTHS)) if w <= width]
        self._masks = torch.stack([(torch.arange(width) < w).float() for w in self.candidates])
        self.logits = nn.Parameter(torch.zeros(fields, len(self.candidates)))
        self._optimizer = torch.optim.Adam([self.logits], lr=rate)

    def tokens(self, x: Tensor) -> Tensor:
        return x * (torch.softmax(self.logits, dim=1) @ self._masks)

    def scalars(self, x: Tensor) -> Tensor:
        return x

    def step(self, held_out: Callable[[], Tensor]) -> None:
        # First order: the gradient through the last batch's update of the model is left out.
        (self.logits.grad,) = torch.autograd.grad(held_out(), [self.logits])
        self._optimizer.step()


class _Thresholds:
    """Tokens moved towards 0 by sigmoid(threshold) of their field and column (PEP, equation 5)."""

    def __init__(self, fields: int, width: int, rate: float) -> None:
        self.thresholds = nn.Parameter(torch.full((fields, width), -6.0))
        self._optimizer = torch.optim.Adam([self.thresholds], lr=rate)

    def tokens(self, x: Tensor) -> Tensor:
        return torch.sign(x) * torch.relu(x.abs() - torch.sigmoid(self.thresholds))

    def scalars(self, x: Tensor) -> Tensor:
        return x

    def step(self, held_out: Callable[[], Tensor]) -> None:
        # From the training loss alone next to nothing would be pruned within some passes: there larger always helps.
        (self.thresholds.grad,) = torch.autograd.grad(held_out(), [self.thresholds])
        self._optimizer.step()


class _Gates:
    """Standardised interactions times gates, under generalised regularised dual averaging.

    Gate = sign(v) max(0, |v| - g(t)), v the start minus the sum of gradients times the rate, and
    g(t) = c rate^(1/2) (t rate)^mu: it grows, so what gradients do not keep up falls to exactly 0.
    """

    _MU, _START = 0.8, 0.3

    def __init__(self, pairs: int, rate: float, strength: float) -> None:
        self.gates = nn.Parameter(torch.full((pairs,), self._START))
        self._sum = self.gates.detach().clone()
        self._rate, self._strength, self._time = rate, strength, 0
        # Without scales of its own: else a gate could shrink while its interaction grows.
        self._norm = nn.BatchNorm1d(pairs, affine=False)

    def tokens(self, x: Tensor) -> Tensor:
        return x

    def scalars(self, x: Tensor) -> Tensor:
        gated: Tensor = self._norm(x) * self.gates
        return gated

    def step(self, held_out: Callable[[], Tensor]) -> None:
        assert self.gates.grad is not None
        self._time += 1
        self._sum -= self._rate * self.gates.grad
        self.gates.grad = None
        bound = self._strength * self._rate**0.5 * (self._time * self._rate) ** self._MU
        with torch.no_grad():
            self.gates.copy_(torch.sign(self._sum) * torch.relu(self._sum.abs() - bound))


def auto_dim(
    config: Config, table: Clicks, *, seed: int, chunks: int, chunk_rows: int = CHUNK_ROWS, rate: float = 0.02
) -> Config:
    """The configuration with a width learned for each field, of those up to its own; 0 drops the field.

    Args:
        config: has one width for all fields, and interactions or blocks that read the embeddings.
        chunks: of training, as `CtrLearner` counts them.
        rate: of the mixture's logits.
    """
    relaxed = _SoftWidths(len(table.fields), int(config["width"]), rate)
    _train(config, table, seed, chunks, chunk_rows, relaxed)
    best = relaxed.logits.argmax(dim=1).tolist()
    return _by_field(config, table, [relaxed.candidates[place] for place in best])


def learned_threshold(
    config: Config, table: Clicks, *, seed: int, chunks: int, chunk_rows: int = CHUNK_ROWS, rate: float = 0.1
) -> Config:
    """The configuration with each field as wide as columns are left after pruning. Args: as `auto_dim`."""
    relaxed = _Thresholds(len(table.fields), int(config["width"]), rate)
    learner = _train(config, table, seed, chunks, chunk_rows, relaxed)
    index = learner.model.index(table.codes[table.rows("train")][-chunk_rows:])
    with torch.no_grad():
        learner.model.eval()
        tokens, _ = learner.model.embeddings(index)
        left = (relaxed.tokens(tokens) != 0).float().mean(dim=0) > _COLUMN_KEPT
    return _by_field(config, table, left.sum(dim=1).tolist())


def gated_pairs(
    config: Config,
    table: Clicks,
    *,
    seed: int,
    chunks: int,
    chunk_rows: int = CHUNK_ROWS,
    rate: float = 0.1,
    strength: float = 0.3,
) -> tuple[Config, list[Pair]]:
    """The pairs whose gates stayed open, the widest first, and the configuration to train with them alone.

    Args:
        config: has all pairs meet; otherwise as for `auto_dim`.
        rate, strength: of the gates' optimizer; a larger strength closes more of them.
    """
    pairs = list(combinations(range(len(table.fields)), 2))
    relaxed = _Gates(len(pairs), rate, strength)
    _train(config, table, seed, chunks, chunk_rows, relaxed, pairs)
    gates = relaxed.gates.detach().abs().tolist()
    kept = sorted((k for k, gate in enumerate(gates) if gate > 0), key=lambda k: (-gates[k], k))
    # With every gate closed the best of a bad lot is left: a model without pairs is another configuration.
    return config, [pairs[k] for k in kept] or [pairs[int(relaxed._sum.abs().argmax())]]


def _train(
    config: Config,
    table: Clicks,
    seed: int,
    chunks: int,
    chunk_rows: int,
    relaxed: _SoftWidths | _Thresholds | _Gates,
    pairs: Sequence[Pair] | None = None,
) -> CtrLearner:
    learner = CtrLearner(config, table, seed=seed, chunk_rows=chunk_rows, relaxation=relaxed, pairs=pairs)
    for chunk in range(1, chunks + 1):
        learner.learn(chunk)
    return learner


def _by_field(config: Config, table: Clicks, widths: Sequence[int]) -> Config:
    """The configuration with these widths, rounded up to what the space offers; at least one field is kept.

    Fields stand in the model by falling width and else in their own order, which is the table's with one width.
    """
    offered = [0, *(int(width) for width in WIDTHS)]
    rounded = [min(w for w in offered if w >= width) for width in widths]
    if not any(rounded):
        rounded = [int(offered[1])] * len(rounded)
    named: Mapping[str, int] = {f"width_{name}": w for name, w in zip(table.fields, rounded, strict=True)}
    left = {name: value for name, value in config.items() if name not in ("widths", "width", "width_power")}
    return ctr_space(table.fields).validate_config({**left, "widths": "by_field", **named})
