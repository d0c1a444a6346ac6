"""The language model in training."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from models.moe.language_model import LanguageModel, ModelShape
from models.moe.layer import Load, diversify
from models.moe.text import Tokens

STATE_FILE = "state.pt"
MAX_GRADIENT_NORM = 1.0
BETAS = (0.9, 0.99)
# A backward pass costs two forward passes: a product each for the inputs' and the weights' gradients.
PASSES = 3


@dataclass(frozen=True)
class Training:
    """How the model is trained.

    Attributes:
        learning_rate, warmup: rises linearly over so many optimizer steps, then stays: no schedule has to know how
            long the trial will be.
        shared_steps: at first only one expert per layer is trained; the others are spawned from it; 0: not so.
        mask_share: of each spawned expert's weights, set to 0.
        batch, steps: windows of an optimizer step; optimizer steps of one unit of the fidelity.
        validation: windows of the validation loss.
    """

    learning_rate: float
    warmup: int
    weight_decay: float
    shared_steps: int
    mask_share: float
    batch: int
    steps: int
    validation: int


@dataclass
class _Sums:
    """Over the last unit of the fidelity."""

    loss: float = 0.0
    assigned: float = 0.0
    dropped: int = 0
    imbalance: float = 0.0
    routed: int = 0


class LanguageLearner:
    """A language model in training (a `Learner`; one step is `training.steps` optimizer steps).

    Args:
        seed: of initial weights, windows, and the gates' noise.
        threads: for the whole process; reports are equal for equal numbers of threads.
    """

    def __init__(self, shape: ModelShape, training: Training, tokens: Tokens, *, seed: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self._tokens, self._training, self._seed = tokens, training, seed
        self._random = torch.Generator().manual_seed(seed)
        self.model = LanguageModel(shape, self._random, tokens.frequencies)
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=training.learning_rate, betas=BETAS, weight_decay=training.weight_decay
        )
        self._done = 0
        # Whether the experts are their own: until then one is trained in the name of all.
        self._spawned = training.shared_steps == 0
        # Floating point operations of all training so far, per token of a step, summed over steps.
        self._flops = 0.0

    def step(self, resource: int) -> dict[str, float]:
        """Take the unit's optimizer steps and measure on the validation windows."""
        self.model.train()
        sums = _Sums()
        began = time.perf_counter()
        for _ in range(self._training.steps):
            self._update(sums)
        seconds = time.perf_counter() - began
        steps, layers = self._training.steps, max(1, len(self.model.mixtures))
        n_tokens = steps * self._training.batch * self.model.shape.context
        loss, assigned = self._validate()
        return {
            "loss": loss,
            "perplexity": math.exp(min(loss, 700.0)),
            "bits_per_byte": loss / math.log(2) / self._tokens.bytes_per_token,
            "train_loss": sums.loss / steps,
            "flops_per_token": self._flops / self._done,
            "inference_flops_per_token": self.model.flops(assigned),
            "experts_per_token": sums.assigned / steps,
            "load_imbalance": sums.imbalance / (steps * layers),
            "dropped_share": sums.dropped / max(1, sums.routed),
            "tokens_per_second": n_tokens / seconds,
        }

    def save(self, directory: Path) -> None:
        """Write weights and gates' states, the optimizer's state, the generator's, and the counts."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": self._random.get_state(),
            "done": self._done,
            "flops": self._flops,
            "spawned": self._spawned,
        }
        torch.save(state, directory / STATE_FILE)

    def restore(self, directory: Path) -> None:
        """Continue from a saved state."""
        state: dict[str, Any] = torch.load(directory / STATE_FILE, weights_only=True)
        self.model.load_state_dict(state["model"])
        # Its settings stay those of this configuration, which may be a changed copy of the one that was saved.
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self._optimizer.param_groups]
        self._optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self._optimizer.param_groups, settings, strict=True):
            group.update(own)
        self._random.set_state(state["random"])
        self._done, self._flops = state["done"], state["flops"]
        # States of before had no such word.
        self._spawned = state.get("spawned", self._done > self._training.shared_steps)

    def _update(self, sums: _Sums) -> None:
        training, model = self._training, self.model
        if not self._spawned and self._done >= training.shared_steps:
            self._spawned = True
            for mixture in model.mixtures:
                diversify(mixture.experts, training.mask_share, self._random)
        model.shared = not self._spawned
        rate = training.learning_rate * min(1.0, (self._done + 1) / (training.warmup + 1))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        # Of the step alone: gates that draw noise see the same windows as those that do not.
        windows = np.random.default_rng([self._seed, self._done])
        inputs, targets = self._tokens.batch(training.batch, model.shape.context, windows)
        self._optimizer.zero_grad()
        loss = _cross_entropy(model(inputs), targets)
        (loss + self._auxiliary()).backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        self._optimizer.step()
        self._done += 1
        sums.loss += float(loss.detach())
        assigned = self._count(sums, inputs.numel())
        sums.assigned += assigned
        self._flops += PASSES * model.flops(assigned)

    def _auxiliary(self) -> Tensor | float:
        if self.model.shared:
            return 0.0
        return sum((load.auxiliary for load in self._loads()), 0.0)

    def _loads(self) -> list[Load]:
        return [mixture.load for mixture in self.model.mixtures if mixture.load is not None]

    def _count(self, sums: _Sums, n_tokens: int) -> float:
        """Add up what the gates did with one batch; experts per token and layer."""
        loads = self._loads()
        if self.model.shared or not loads:
            sums.imbalance += len(self.model.mixtures) or 1
            return 1.0
        kept, dropped = sum(load.assigned for load in loads), sum(load.dropped for load in loads)
        sums.dropped += dropped
        sums.routed += kept + dropped
        sums.imbalance += sum(load.imbalance for load in loads)
        return kept / (len(loads) * n_tokens)

    def _validate(self) -> tuple[float, float]:
        """Loss per token, and experts per token and layer."""
        self.model.eval()
        losses, assigned, windows = 0.0, 0.0, self._training.validation
        with torch.no_grad():
            for inputs, targets in self._tokens.validation(windows, self._training.batch, self.model.shape.context):
                share = len(inputs) / windows
                losses += share * float(_cross_entropy(self.model(inputs), targets))
                assigned += share * self._count(_Sums(), inputs.numel())
        return losses, assigned


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
