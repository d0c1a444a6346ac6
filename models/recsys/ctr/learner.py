"""A click-through model in training, chunk by chunk of rows."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.data._click_table import Clicks
from models.recsys.ctr.losses import loss
from models.recsys.ctr.measures import auc, log_loss
from models.recsys.ctr.model import ClickModel, Relaxation
from models.recsys.ctr.optimisers import RowOptimizer, dense_optimizer
from models.recsys.ctr.pairs import Pair
from tunewright.space import Config

STATE_FILE = "state.pt"
CHUNK_ROWS = 16_384
# Larger gradients of the dense part are scaled down to this norm.
MAX_GRADIENT_NORM = 5.0
_SCORED_AT_ONCE = 8_192
_REQUEST_ROWS, _REQUESTS = 256, 5


class CtrLearner:
    """A model in training (a `Learner`; one step is one chunk of rows).

    Rows come in an endless stream of passes over the training rows, each pass in an order of its own. Order, sampled
    negatives and dropped units of a chunk follow from the seed and the chunk's number alone.

    Args:
        config: of `ctr_space(table.fields)`.
        chunk_rows: rows of the stream that one step learns from, before negatives are left out.
        pairs: as `ClickModel` takes them.
        relaxation: a choice that is learned on the way; validation rows then teach, and measures are not honest.
        test: whether to measure on the test rows as well; for benchmarks, never to choose by.
    Raises:
        WorkloadError: the configuration does not fit the table.
    """

    def __init__(
        self,
        config: Config,
        table: Clicks,
        *,
        seed: int,
        threads: int = 1,
        chunk_rows: int = CHUNK_ROWS,
        pairs: Sequence[Pair] | None = None,
        relaxation: Relaxation | None = None,
        test: bool = False,
    ) -> None:
        torch.set_num_threads(threads)
        self._config, self._table, self._seed, self._chunk = config, table, seed, chunk_rows
        self._random = torch.Generator().manual_seed(seed)
        self.model = ClickModel(config, table, self._random, pairs)
        self._index = self.model.index(table.codes)
        self._labels = torch.tensor(table.labels)
        self._relaxation = relaxation
        self._parts = ("valid", "test") if test else ("valid",)
        self._rows = RowOptimizer(config, self.model.tables)
        self._dense = dense_optimizer(config, self.model.parameters())

    def step(self, resource: int) -> dict[str, float]:
        """Learn from one chunk and measure on the validation rows."""
        began = time.perf_counter()
        self.learn(resource)
        seconds = time.perf_counter() - began
        found: dict[str, float] = {}
        for part in self._parts:
            odds, labels = self.scores(part), self._table.labels[self._table.rows(part)]
            prefix = "" if part == "valid" else f"{part}_"
            found |= {f"{prefix}auc": auc(odds, labels), f"{prefix}log_loss": log_loss(odds, labels)}
        return {**found, "parameters": self.model.size, "latency_ms": self._latency(), "train_seconds": seconds}

    def learn(self, resource: int) -> None:
        """Learn from the chunk of rows with this number, from 1."""
        self.model.train()
        self._random.manual_seed(_mixed(self._seed, resource))
        kept = float(self._config["negatives_kept"])
        # With fewer negatives the odds rise; the model itself learns those of the whole stream.
        shift = -math.log(kept)
        rows = self._stream(resource, kept)
        for batch in torch.split(torch.from_numpy(rows), int(self._config["batch_size"])):
            self._dense.zero_grad()
            odds = self.model(self._index[batch], self._relaxation)
            found = loss(self._config, odds + shift, self._labels[batch])
            found.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
            self._dense.step()
            self._rows.step()
            if self._relaxation is not None:
                self._relaxation.step(self._held_out)

    def _held_out(self) -> Tensor:
        """Loss on a random batch of validation rows, under the relaxation."""
        rows = self._table.rows("valid")
        size = min(int(self._config["batch_size"]), rows.stop - rows.start)
        batch = torch.randint(rows.start, rows.stop, (size,), generator=self._random)
        odds = self.model(self._index[batch], self._relaxation)
        return functional.binary_cross_entropy_with_logits(odds, self._labels[batch])

    def scores(self, part: str) -> NDArray[np.float32]:
        """Log-odds (n,) of a part's rows."""
        self.model.eval()
        rows = self._table.rows(part)
        with torch.inference_mode():
            found = [self.model(batch) for batch in torch.split(self._index[rows], _SCORED_AT_ONCE)]
        scores: NDArray[np.float32] = torch.cat(found).numpy()
        return scores

    def save(self, directory: Path) -> None:
        """Write weights and the optimizers' states; all randomness follows from seed and step."""
        state = {"model": self.model.state_dict(), "dense": self._dense.state_dict(), "rows": self._rows.state()}
        torch.save(state, directory / STATE_FILE)

    def restore(self, directory: Path) -> None:
        """Continue from a saved state."""
        state: dict[str, Any] = torch.load(directory / STATE_FILE, weights_only=True)
        self.model.load_state_dict(state["model"])
        # Its settings stay those of this configuration, which may be a changed copy of the one that was saved.
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self._dense.param_groups]
        self._dense.load_state_dict(state["dense"])
        for group, own in zip(self._dense.param_groups, settings, strict=True):
            group.update(own)
        self._rows.restore(state["rows"])

    def _stream(self, resource: int, kept: float) -> NDArray[np.int64]:
        """The chunk's rows, some negatives left out; at least two."""
        n, first = self._table.n_train, (resource - 1) * self._chunk
        found: list[NDArray[np.int64]] = []
        while first < resource * self._chunk:
            turn, start = divmod(first, n)
            order = np.random.default_rng([self._seed, turn]).permutation(n)
            found.append(order[start : start + resource * self._chunk - first])
            first += len(found[-1])
        rows = np.concatenate(found)
        if kept < 1.0:
            luck = np.random.default_rng([self._seed, resource, 1]).random(len(rows))
            rows = rows[(self._table.labels[rows] > 0.5) | (luck < kept) | (np.arange(len(rows)) < 2)]
        # A last batch of one row would have no deviation to normalise by.
        return rows[:-1] if len(rows) % int(self._config["batch_size"]) == 1 and len(rows) > 1 else rows

    def _latency(self) -> float:
        """Milliseconds to score 256 rows, the median of some requests."""
        request: Tensor = self._index[:_REQUEST_ROWS]
        times = []
        with torch.inference_mode():
            for _ in range(_REQUESTS):
                began = time.perf_counter()
                self.model(request)
                times.append(1e3 * (time.perf_counter() - began))
        return float(np.median(times))


def _mixed(seed: int, resource: int) -> int:
    return int(np.random.SeedSequence([seed, resource]).generate_state(1, np.uint64)[0] >> 1)
