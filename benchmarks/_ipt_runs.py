"""One run of a method on a draw of texts, the choice of its learning rate, and what a step of it costs."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._memory import from_here
from models.data.text import TextSet, load_texts
from models.ipt.backbone import Backbone, load_backbone
from models.ipt.learner import Learner, Texts, scored
from models.ipt.workload import SPACE
from tunewright.space import Config

MAX_TOKENS = 32
TUNING_SEED = 1000
# IPT's default was chosen while looking at the first held-out texts of each set; judges look at later ones.
SEEN = 400
# What a step costs is the median of so many, after one that is not counted.
COST_STEPS = 4


@dataclass(frozen=True)
class Contender:
    """A method, and the learning rates it may choose from: three for each, a factor of about three apart."""

    name: str
    config: Mapping[str, Any]
    rates: tuple[float, float, float]

    def at(self, rate: float, batch: int) -> Config:
        return SPACE.complete({**self.config, "learning_rate": rate, "batch_size": batch})

    @property
    def inside(self) -> bool:
        """Whether it changes the model, so that each run needs a new one."""
        return self.config["strategy"] in ("full", "lora", "bitfit")


CONTENDERS = (
    Contender("linear probe", {"strategy": "probe"}, (3e-3, 1e-2, 3e-2)),
    Contender("prompt tuning", {"strategy": "task", "insertion": "input", "task_length": 8}, (3e-3, 1e-2, 3e-2)),
    Contender("P-tuning v2", {"strategy": "task", "insertion": "layers", "task_length": 8}, (3e-3, 1e-2, 3e-2)),
    Contender("LoRA", {"strategy": "lora", "lora_rank": 8}, (1e-3, 3e-3, 1e-2)),
    Contender("adapters", {"strategy": "adapters"}, (1e-3, 3e-3, 1e-2)),
    Contender("BitFit", {"strategy": "bitfit"}, (1e-3, 3e-3, 1e-2)),
    Contender("full fine-tuning", {"strategy": "full"}, (1e-4, 3e-4, 1e-3)),
    Contender("IPT attention", {"strategy": "attention"}, (1e-3, 3e-3, 1e-2)),
    Contender("IPT look-up", {"strategy": "lookup"}, (1e-3, 3e-3, 1e-2)),
    Contender("IPT late", {"strategy": "late"}, (1e-3, 3e-3, 1e-2)),
)


@dataclass(frozen=True)
class Setting:
    """What a run learns from.

    Attributes:
        shots: texts of each class.
        steps, batch: optimizer steps, and texts in each.
        select, test: held-out texts to choose the learning rate by, at most `SEEN`, and others to judge on.
    """

    dataset: str
    shots: int
    steps: int
    batch: int
    select: int
    test: int

    def texts(self, seed: int, *, choosing: bool) -> TextSet:
        """A draw of training texts, with the held-out texts of this purpose."""
        few = load_texts(self.dataset).few(self.shots, 0, seed)
        part = slice(self.select) if choosing else slice(SEEN, SEEN + self.test)
        return replace(few, valid=few.valid[part], y_valid=few.y_valid[part])


class Runs:
    """Runs contenders; the frozen model is loaded once and shared by those that leave it as it is."""

    def __init__(self) -> None:
        self._frozen: Backbone = load_backbone("minilm")

    def right(
        self, contender: Contender, rate: float, setting: Setting, seed: int, *, choosing: bool = False
    ) -> NDArray[np.bool_]:
        """(n,) whether each of the purpose's held-out texts is labelled rightly after all steps."""
        backbone = load_backbone("minilm") if contender.inside else self._frozen
        texts = setting.texts(seed, choosing=choosing)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            learner = Learner(
                contender.at(rate, setting.batch),
                backbone,
                # What the learner itself measures is not looked at.
                replace(texts, valid=texts.valid[:1], y_valid=texts.y_valid[:1]),
                seed=seed,
                max_tokens=MAX_TOKENS,
                chunk_steps=setting.steps,
                threads=1,
            )
        learner.step(1)
        scores = scored(learner.method, Texts(learner.method, backbone.tokenize(texts.valid, MAX_TOKENS), keep=False))
        return np.asarray(scores.argmax(axis=1) == texts.y_valid)

    def best_rate(self, contender: Contender, setting: Setting) -> float:
        """The learning rate of the highest accuracy, on a draw and on held-out texts that nothing is reported of."""
        found = [
            (self.right(contender, rate, setting, TUNING_SEED, choosing=True).mean(), -rate) for rate in contender.rates
        ]
        return -max(found)[1]


def cost(contender: Contender, setting: Setting) -> dict[str, float]:
    """Processor seconds of an optimizer step and MiB of memory beyond the loaded model, in a process of its own."""
    order = json.dumps({"contender": contender.name, "dataset": setting.dataset, "batch": setting.batch})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks._ipt_runs"], input=order, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure_cost(order: Mapping[str, Any]) -> dict[str, float]:
    contender = next(found for found in CONTENDERS if found.name == order["contender"])
    setting = Setting(order["dataset"], 16, 1, order["batch"], 0, 4)
    backbone = load_backbone("minilm")
    warnings.simplefilter("ignore", UserWarning)
    learner = Learner(
        contender.at(contender.rates[1], setting.batch),
        backbone,
        setting.texts(0, choosing=False),
        seed=0,
        max_tokens=MAX_TOKENS,
        chunk_steps=1,
        threads=1,
    )
    # Loading needed more for a moment than learning may: the peak is counted anew from here.
    risen = from_here()
    seconds = []
    for number in range(COST_STEPS + 1):
        began = time.process_time()
        learner.step(number + 1)
        seconds.append(time.process_time() - began)
    return {"step_seconds": statistics.median(seconds[1:]), "memory_mb": risen()}


if __name__ == "__main__":
    print(json.dumps(_measure_cost(json.load(sys.stdin))))
