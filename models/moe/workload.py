"""`moe.lm`: a language model with mixtures of experts; the fidelity is blocks of optimizer steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from models.moe.options import DATA_OPTIONS, TextOptions, read_options
from models.options import require_at_least
from models.training import train
from tunewright.space import Categorical, Config, Float, Int, Ordinal, SearchSpace
from tunewright.study import Fidelity, Objective
from tunewright.workload import Checkpoint, Leg, Report, Workload

if TYPE_CHECKING:
    from models.moe.learner import LanguageLearner

SAM_GROUPS = 2
_CAPACITY = ["switch", "gshard", "topk", "ktop1", "sam", "expert_choice", "dense_to_sparse"]
_BALANCE = ["switch", "gshard", "topk", "ktop1", "sam", "dense_to_sparse"]
_K = ["topk", "ktop1", "expert_choice", "loss_free"]
_MIXTURES = [*_CAPACITY, "base", "hash", "loss_free", "soft"]
_DTS = {"gate": "dense_to_sparse"}


class LanguageWorkload(Workload):
    """Learns text; a trial continues from weights, gates, optimizer state and the random generator."""

    name = "moe.lm"
    description = (
        "GPT-style language model with mixture-of-experts layers on text. The loss is the validation cross-entropy "
        "per token in nats; compute is the mean of floating point operations per trained token so far."
    )
    space = SearchSpace(
        Int("layers", 1, 4, default=2),
        Ordinal("width", [32, 64, 128], default=64),
        Categorical("gate", ["switch", *(name for name in _MIXTURES if name != "switch"), "dense"]),
        Ordinal("experts", [4, 8, 16, 32], default=8, when={"gate": _MIXTURES}),
        Ordinal("k", [2, 4], when={"gate": _K}),
        Ordinal("sam_k", [1, 2], default=2, when={"gate": "sam"}),
        Float("sam_alignment", 1e-4, 0.1, log=True, default=1e-2, when={"gate": "sam"}),
        Float("capacity_factor", 0.5, 4.0, log=True, default=1.25, when={"gate": _CAPACITY}),
        Float("balance", 1e-4, 0.3, log=True, default=1e-2, when={"gate": _BALANCE}),
        Float("bias_rate", 1e-4, 1e-1, log=True, default=1e-2, when={"gate": "loss_free"}),
        Categorical("hash_by", ["balanced", "random"], when={"gate": "hash"}),
        Ordinal("slots", [1, 2, 4], when={"gate": "soft"}),
        Float("tau_start", 0.5, 4.0, log=True, default=2.0, when=_DTS),
        Float("tau_end", 0.05, 0.5, log=True, default=0.3, when=_DTS),
        Int("tau_horizon", 20, 2000, log=True, default=300, when=_DTS),
        Categorical("tau_schedule", ["linear", "exponential"], when=_DTS),
        Float("threshold", 1e-3, 0.3, log=True, default=1e-3, when=_DTS),
        Categorical("mix", ["gate", "softmax"], when=_DTS),
        Categorical("start", ["separate", "diversified"], when={"gate": _MIXTURES}),
        Int("shared_steps", 5, 500, log=True, default=50, when={"start": "diversified"}),
        Float("mask_share", 0.0, 0.5, default=0.2, when={"start": "diversified"}),
        Float("learning_rate", 1e-4, 2e-2, log=True, default=3e-3),
        Int("warmup", 0, 200, default=30),
        Float("weight_decay", 1e-4, 0.3, log=True, default=1e-2),
    )
    objectives = (Objective(metric="loss"), Objective(metric="flops_per_token"))
    fidelity = Fidelity(name="blocks", min=1, max=27)
    data_options = DATA_OPTIONS

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        """Train until `leg.end` blocks of `data.steps` optimizer steps.

        Reports `loss` and `flops_per_token`, and `perplexity`, `bits_per_byte`, `train_loss`,
        `inference_flops_per_token`, `experts_per_token`, `load_imbalance` (largest load over the mean),
        `dropped_share` and `tokens_per_second`.

        Raises:
            WorkloadError: a data option or a setting is wrong.
        """
        learner = learner_of(config, read_options(data), leg.seed)
        train(learner, leg, checkpoint=checkpoint, report=report)


def learner_of(config: Config, options: TextOptions, seed: int) -> LanguageLearner:
    """The learner of a configuration.

    Raises:
        WorkloadError: a value is none that the space could have; names the parameter, or the gate's setting.
    """
    require_at_least(config, layers=1, width=1, experts=1, warmup=0, shared_steps=0)
    from models.moe.language_model import ModelShape
    from models.moe.learner import LanguageLearner, Training
    from models.moe.text import tokenize

    gate = str(config["gate"])
    shape = ModelShape(
        vocabulary=options.vocabulary,
        context=options.context,
        layers=int(config["layers"]),
        width=int(config["width"]),
        gate=gate,
        n_experts=int(config.get("experts", 1)),
        settings=gate_settings(gate, config),
    )
    training = Training(
        learning_rate=float(config["learning_rate"]),
        warmup=int(config["warmup"]),
        weight_decay=float(config["weight_decay"]),
        shared_steps=int(config.get("shared_steps", 0)),
        mask_share=float(config.get("mask_share", 0.0)),
        batch=options.batch,
        steps=options.steps,
        validation=options.validation,
    )
    tokens = tokenize(options.corpus, options.vocabulary, options.context)
    return LanguageLearner(shape, training, tokens, seed=seed, threads=options.threads)


def gate_settings(gate: str, config: Config) -> dict[str, Any]:
    """What `models.moe.gates.create` takes, or `SoftMoE`, from the sub-space of a gate."""
    names = {"balance": "balance", "capacity_factor": "capacity_factor", "k": "k", "bias_rate": "rate", "hash_by": "by"}
    names |= {"tau_start": "start", "tau_end": "end", "tau_horizon": "horizon", "tau_schedule": "schedule"}
    names |= {"slots": "slots", "threshold": "threshold", "mix": "mix", "sam_k": "k", "sam_alignment": "alignment"}
    settings = {setting: config[name] for name, setting in names.items() if name in config}
    return settings | ({"groups": SAM_GROUPS} if gate == "sam" else {})
