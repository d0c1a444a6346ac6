"""`ipt.classify`: fit a frozen language model to labelled texts; the fidelity is chunks of optimizer steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.ipt.options import DATA_OPTIONS, read_options
from models.training import train
from tunewright.space import Categorical, Config, Float, Int, Ordinal, SearchSpace
from tunewright.study import Fidelity, Objective
from tunewright.workload import Checkpoint, Leg, Report, Workload

# The same names as in `models.ipt.encoders` and `methods`, which load PyTorch.
INSTANCE = ("lookup", "conv", "bilstm", "attention", "late")
PROMPTED = (*INSTANCE, "task")
STRATEGIES = (*PROMPTED, "probe", "lora", "adapters", "bitfit", "full")

SPACE = SearchSpace(
    Categorical("strategy", list(STRATEGIES), default="late"),
    Categorical("insertion", ["input", "layers"], default="layers", when={"strategy": [*INSTANCE[:-1], "task"]}),
    Int("task_length", 1, 16, log=True, default=8, when={"strategy": list(PROMPTED)}),
    Categorical("combine", ["concatenate", "add", "gate"], when={"strategy": list(INSTANCE)}),
    Int("instance_length", 1, 8, default=2, when={"combine": "concatenate"}),
    Ordinal("bottleneck", [4, 8, 16, 32], default=32, when={"strategy": [*INSTANCE, "adapters"]}),
    Categorical("pooling", ["mean", "max"], when={"strategy": ["lookup", "conv", "bilstm", "late"]}),
    Categorical("table", ["hashed", "random", "embedding"], when={"strategy": "lookup"}),
    Categorical("projection", ["linear", "phm"], when={"strategy": ["conv", "bilstm", "attention", "late"]}),
    Ordinal("late_share", [0.25, 0.5, 0.75], default=0.25, when={"strategy": "late"}),
    Ordinal("lora_rank", [2, 4, 8, 16], default=8, when={"strategy": "lora"}),
    Float("learning_rate", 1e-5, 0.1, log=True, default=3e-3),
    Int("warmup_steps", 0, 50, default=5),
    Float("weight_decay", 1e-6, 0.1, log=True, default=1e-3),
    Float("dropout", 0.0, 0.5, default=0.1),
    Ordinal("batch_size", [8, 16, 32], default=16),
)


class IptWorkload(Workload):
    """Instance-wise prompts and their rivals; a trial continues from its tuned parameters and its generator."""

    name = "ipt.classify"
    description = (
        "Instance-wise prompt tuning: classifies texts with a frozen language model steered by prompts made for each "
        "text; prompt tuning, P-tuning v2, LoRA, adapters, BitFit, a linear probe and full fine-tuning by one trainer."
    )
    space = SPACE
    objectives = (Objective(metric="error"),)
    fidelity = Fidelity(name="chunks", min=1, max=27)
    data_options = DATA_OPTIONS

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        """Train until `leg.end` chunks; reports `error`, `loss`, `accuracy`, `f1`, `tuned_share`, `step_seconds`.

        A checkpoint is also an export: `models.ipt.load` makes a classifier of it.

        Raises:
            WorkloadError: a data option is wrong, or the model or the texts cannot be used.
        """
        options = read_options(data)
        from models.ipt.backbone import load_backbone
        from models.ipt.learner import Learner

        learner = Learner(
            config,
            load_backbone(options.model, speaking=bool(options.label_words)),
            options.texts,
            seed=leg.seed,
            max_tokens=options.max_tokens,
            chunk_steps=options.chunk_steps,
            threads=options.threads,
            label_words=options.label_words,
        )
        train(learner, leg, checkpoint=checkpoint, report=report)
