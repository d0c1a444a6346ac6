"""A multilayer perceptron whose every random number comes from one generator, so that it can be saved with it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.data.catalog import Dataset
from models.metrics import classification_metrics, regression_metrics
from tunewright.space import Config

STATE_FILE = "state.pt"
# Larger gradients are scaled down to this norm, so that a learning rate that is too high seldom overflows.
MAX_GRADIENT_NORM = 1.0

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class Perceptron(nn.Module):
    """Linear layers of one width with an activation and dropout after each but the last.

    Args:
        sizes: features, widths of the hidden layers, outputs.
        random: gives the initial weights now, and the units to drop at every call in training.
    """

    def __init__(self, sizes: list[int], activation: str, dropout: float, random: torch.Generator) -> None:
        super().__init__()
        self._activation = ACTIVATIONS[activation]
        self._dropout = dropout
        self._random = random
        self.linears = nn.ModuleList(_linear(fan_in, fan_out, random) for fan_in, fan_out in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n, outputs) for features (n, features)."""
        *hidden, last = self.linears
        for linear in hidden:
            x = self._drop(self._activation(linear(x)))
        outputs: Tensor = last(x)
        return outputs

    def _drop(self, x: Tensor) -> Tensor:
        # functional.dropout takes no generator.
        if not self.training or self._dropout == 0:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self._dropout, generator=self._random)
        return x * kept / (1 - self._dropout)


class PerceptronLearner:
    """A perceptron in training (a `Learner`; one step is one epoch).

    Features, and the target of a regression, are scaled by their mean and deviation over the training rows. The
    learning rate stays constant: a schedule would have to know how long the trial will be.

    Args:
        config: as `MLPWorkload.space` declares it.
        seed: of initial weights, the order of rows and dropped units.
        threads: processor threads, for the whole process; reports are equal for equal numbers of threads.
    """

    def __init__(self, config: Config, dataset: Dataset, *, seed: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self._dataset = dataset
        self._batch_size = int(config["batch_size"])
        self._random = torch.Generator().manual_seed(seed)
        shift, scale = _moments(dataset.x_train)
        self._x_train = torch.tensor((dataset.x_train - shift) / scale)
        self._x_valid = torch.tensor((dataset.x_valid - shift) / scale)
        self._y_shift, self._y_scale = np.float32(0), np.float32(1)
        if dataset.task == "regression":
            self._y_shift, self._y_scale = _moments(dataset.y_train)
            self._y_train = torch.tensor((dataset.y_train - self._y_shift) / self._y_scale)
        else:
            self._y_train = torch.tensor(dataset.y_train)
        hidden = [int(config["width"])] * int(config["layers"])
        sizes = [dataset.x_train.shape[1], *hidden, dataset.n_classes or 1]
        self._model = Perceptron(sizes, str(config["activation"]), float(config["dropout"]), self._random)
        self._optimizer = _optimizer(config, self._model)

    def step(self, resource: int) -> dict[str, float]:
        """Learn from every training row once, in a new random order, and measure on the validation rows."""
        self._model.train()
        order = torch.randperm(len(self._x_train), generator=self._random)
        for rows in torch.split(order, self._batch_size):
            self._optimizer.zero_grad()
            loss = self._loss(self._model(self._x_train[rows]), self._y_train[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self._model.parameters(), MAX_GRADIENT_NORM)
            self._optimizer.step()
        return self._measure()

    def save(self, directory: Path) -> None:
        """Write weights, the optimizer's state and the generator's."""
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": self._random.get_state(),
        }
        torch.save(state, directory / STATE_FILE)

    def restore(self, directory: Path) -> None:
        """Continue from a saved state."""
        state: dict[str, Any] = torch.load(directory / STATE_FILE, weights_only=True)
        self._model.load_state_dict(state["model"])
        # Its settings stay those of this configuration, which may be a changed copy of the one that was saved.
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self._optimizer.param_groups]
        self._optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self._optimizer.param_groups, settings, strict=True):
            group.update(own)
        self._random.set_state(state["random"])

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self._dataset.task == "classification":
            return functional.cross_entropy(outputs, targets)
        return functional.mse_loss(outputs[:, 0], targets)

    def _measure(self) -> dict[str, float]:
        self._model.eval()
        with torch.no_grad():
            outputs: NDArray[np.float32] = self._model(self._x_valid).numpy()
        if self._dataset.task == "classification":
            return classification_metrics(outputs, self._dataset.y_valid)
        return regression_metrics(outputs[:, 0] * self._y_scale + self._y_shift, self._dataset.y_valid)


def _linear(fan_in: int, fan_out: int, random: torch.Generator) -> nn.Linear:
    # skip_init: the layer's own initialisation would draw from torch's global generator.
    linear: nn.Linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out)  # type: ignore[no-untyped-call]
    nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu", generator=random)
    nn.init.zeros_(linear.bias)
    return linear


def _moments(values: NDArray[np.float32]) -> tuple[Any, Any]:
    """Mean and deviation over the first axis, float32; a deviation of 0 (a constant column) counts as 1."""
    deviation = values.std(axis=0, dtype=np.float64).astype(np.float32)
    return values.mean(axis=0, dtype=np.float64).astype(np.float32), np.where(deviation == 0, np.float32(1), deviation)


def _optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    rate, decay = float(config["learning_rate"]), float(config["weight_decay"])
    if config["optimizer"] == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=float(config["momentum"]), weight_decay=decay)
