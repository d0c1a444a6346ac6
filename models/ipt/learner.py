"""A method in training: every random number from one generator, and a state that holds tuned parameters alone."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.data.text import TextSet
from models.ipt.backbone import Backbone, Tokens
from models.ipt.heads import LabelWords, word_tokens
from models.ipt.kept import lower_states
from models.ipt.methods import Method, build
from models.metrics import classification_metrics

TUNED_FILE, STATE_FILE, CARD_FILE = "tuned.safetensors", "state.pt", "ipt.json"
MAX_GRADIENT_NORM = 1.0
# A head starts from nothing: it needs larger steps than a model that knows much already.
HEAD_RATE = 3e-3
EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Card:
    """What an export says of itself, beside the tuned parameters."""

    config: dict[str, Any]
    model: str
    classes: tuple[str, ...]
    max_tokens: int
    tuned_share: float
    label_words: Mapping[str, Sequence[str]] | None = None

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Raises ValueError, TypeError or OSError where the file is not what `Learner.save` writes."""
        fields = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        return cls(**{**fields, "classes": tuple(fields["classes"])})


class Texts:
    """Tokens of texts, and the lower hidden states of each where the method leaves them as they are."""

    def __init__(self, method: Method, tokens: Tokens, *, keep: bool) -> None:
        self.tokens = tokens
        self._below: Tensor | None = None
        if keep and method.fixed_layers:
            self._below = lower_states(method.backbone, method.fixed_layers, tokens)

    def rows(self, index: Tensor) -> tuple[Tokens, Tensor | None]:
        """Some texts and their lower hidden states, if kept."""
        tokens = self.tokens.rows(index)
        below = None if self._below is None else self._below[index, : tokens.ids.shape[1]]
        return tokens, below

    def by_length(self) -> Sequence[Tensor]:
        """Batches to evaluate, of texts that are about as long as each other."""
        order = torch.argsort(self.tokens.seen.sum(dim=1), stable=True)
        return torch.split(order, EVALUATION_BATCH)


class Learner:
    """Fits a method to labelled texts (a `models.training.Learner`; one step is `chunk_steps` optimizer steps).

    The learning rate rises over the warm-up and stays: a schedule would have to know how long the trial will be.

    Args:
        config: as `IptWorkload.space` declares it.
        backbone: changed by the strategies lora, bitfit and full, so load one for each learner.
        threads: processor threads, for the whole process; reports are equal for equal numbers of threads.
        label_words: words of each label, for a backbone that speaks.
    Raises:
        WorkloadError: words are not what the labels and the model need.
    """

    def __init__(
        self,
        config: dict[str, Any],
        backbone: Backbone,
        texts: TextSet,
        *,
        seed: int,
        max_tokens: int,
        chunk_steps: int,
        threads: int,
        label_words: LabelWords | None = None,
    ) -> None:
        torch.set_num_threads(threads)
        self._config, self._chunk_steps = dict(config), chunk_steps
        self._random = torch.Generator().manual_seed(seed)
        words = word_tokens(backbone.tokenizer, label_words, texts.classes)
        self.method = build(self._config, backbone, len(texts.classes), self._random, words)
        self.card = Card(
            self._config, backbone.reference, texts.classes, max_tokens, self.method.tuned_share, label_words
        )
        train, valid = (backbone.tokenize(part, max_tokens) for part in (texts.train, texts.valid))
        self.truncated = train.truncated + valid.truncated
        warn_of_cut(self.truncated, max_tokens)
        self._train, self._valid = (Texts(self.method, tokens, keep=True) for tokens in (train, valid))
        self._y, self._y_valid = torch.tensor(texts.y_train), texts.y_valid
        self._optimizer = _optimizer(self._config, self.method)
        self._steps = 0
        self._order = torch.empty(0, dtype=torch.int64)

    def step(self, resource: int) -> dict[str, float]:
        """Learn for one chunk of optimizer steps and measure on the validation texts."""
        self.method.train()
        began = time.perf_counter()
        for _ in range(self._chunk_steps):
            self._learn(self._next_rows())
        seconds = (time.perf_counter() - began) / self._chunk_steps
        return {**self.measure(), "tuned_share": self.method.tuned_share, "step_seconds": seconds}

    def measure(self) -> dict[str, float]:
        """Log loss, error, accuracy and macro F1 on the validation texts."""
        scores = scored(self.method, self._valid)
        found = classification_metrics(scores, self._y_valid)
        f1 = macro_f1(scores.argmax(axis=1), self._y_valid, len(self.card.classes))
        return {**found, "f1": f1 if math.isfinite(found["error"]) else math.nan}

    def save(self, directory: Path) -> None:
        """Write an export that `models.ipt.load` reads, and what further learning needs beside it."""
        from safetensors.torch import save_file

        tuned = {name: parameter.detach().contiguous() for name, parameter in self.method.named_parameters()}
        save_file(tuned, directory / TUNED_FILE)
        (directory / CARD_FILE).write_text(json.dumps(asdict(self.card), indent=2) + "\n", encoding="utf-8")
        state = {
            "optimizer": self._optimizer.state_dict(),
            "random": self._random.get_state(),
            "steps": self._steps,
            "order": self._order,
        }
        torch.save(state, directory / STATE_FILE)

    def restore(self, directory: Path) -> None:
        """Continue from a saved state."""
        load_tuned(self.method, directory)
        state: dict[str, Any] = torch.load(directory / STATE_FILE, weights_only=True)
        # Its settings stay those of this configuration, which may be a changed copy of the one that was saved.
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self._optimizer.param_groups]
        self._optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self._optimizer.param_groups, settings, strict=True):
            group.update(own)
        self._random.set_state(state["random"])
        self._steps, self._order = int(state["steps"]), state["order"]

    def _next_rows(self) -> Tensor:
        """The next batch of a random order of all texts; a new order begins when the old one is used up."""
        size = min(int(self._config["batch_size"]), len(self._y))
        if len(self._order) < size:
            self._order = torch.randperm(len(self._y), generator=self._random)
        rows, self._order = self._order[:size], self._order[size:].clone()
        return rows

    def _learn(self, rows: Tensor) -> None:
        self._steps += 1
        warm = min(1.0, self._steps / max(1, int(self._config["warmup_steps"])))
        for group in self._optimizer.param_groups:
            group["lr"] = warm * group["full_rate"]
        self._optimizer.zero_grad()
        loss = functional.cross_entropy(self.method(*self._train.rows(rows)), self._y[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.method.parameters(), MAX_GRADIENT_NORM)
        self._optimizer.step()


def warn_of_cut(truncated: int, max_tokens: int) -> None:
    """Say how many texts are cut off, if any."""
    if truncated:
        warnings.warn(
            f"{truncated} texts are longer than {max_tokens} tokens, or than the window, and are cut off", stacklevel=3
        )


def _optimizer(config: dict[str, Any], method: Method) -> torch.optim.Optimizer:
    rate = float(config["learning_rate"])
    head = list(method.head.parameters())
    rest = [parameter for name, parameter in method.named_parameters() if not name.startswith("head.")]
    groups = [{"params": head, "full_rate": max(rate, HEAD_RATE)}, {"params": rest, "full_rate": rate}]
    return torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=float(config["weight_decay"]))


def scored(method: Method, texts: Texts) -> NDArray[np.float32]:
    """Scores (n, classes) of texts, in their order."""
    method.eval()
    batches = texts.by_length()
    with torch.no_grad():
        scores = torch.cat([method(*texts.rows(rows)) for rows in batches])
    found: NDArray[np.float32] = scores[torch.argsort(torch.cat(list(batches)))].numpy()
    return found


def load_tuned(method: Method, directory: Path) -> None:
    """Set the tuned parameters to those of an export.

    Raises:
        RuntimeError: they are not those of this method.
    """
    from safetensors.torch import load_file

    method.load_state_dict(load_file(directory / TUNED_FILE), strict=True)


def macro_f1(predicted: NDArray[np.int64], true: NDArray[np.int64], classes: int) -> float:
    """Mean over classes of the harmonic mean of precision and recall; 0 for a class that neither has."""
    found = []
    for k in range(classes):
        hits = np.count_nonzero((predicted == k) & (true == k))
        either = np.count_nonzero(predicted == k) + np.count_nonzero(true == k)
        found.append(2 * hits / either if either else 0.0)
    return math.fsum(found) / classes
