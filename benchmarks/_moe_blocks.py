"""Mixture-of-experts blocks of transformers with the weights of one of ours, for `benchmarks.moe_layer`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MixtralConfig, Qwen3MoeConfig, SwitchTransformersConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock
from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersSparseMLP

from models.moe.gates import Place, create
from models.moe.layer import Experts, MoE

SWITCH_CAPACITY = 1.25
# Its gathered copies of weights, one per assignment, would take more memory than this: left out.
LARGEST_BATCHED = 1 << 30


@dataclass(frozen=True)
class Shape:
    """One point of the grid.

    Attributes:
        block: whose proportions and gate: "switch", "mixtral" or "qwen".
        tokens, experts, k, width, hidden: T, E, k, d, f.
    """

    block: str
    tokens: int
    experts: int
    k: int
    width: int
    hidden: int


Run = Callable[[Tensor], Tensor]


# Our gate and its settings for each block; k comes from the shape.
_GATES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "switch": ("switch", {"capacity_factor": SWITCH_CAPACITY}),
    "mixtral": ("topk", {"normalise": True}),
    "qwen": ("topk", {"normalise": False}),
}


def layer(shape: Shape, seed: int, execution: str) -> MoE:
    """Our layer; equal seeds give equal weights."""
    random = torch.Generator().manual_seed(seed)
    name, settings = _GATES[shape.block]
    if name == "topk":
        settings = {**settings, "k": shape.k}
    place = Place(shape.width, shape.experts, random)
    activation = "relu" if shape.block == "switch" else "swiglu"
    return MoE(
        create(name, place, settings), Experts(shape.experts, shape.width, shape.hidden, activation, random), execution
    )


def peers(shape: Shape, ours: MoE) -> Mapping[str, tuple[nn.Module, Run]]:
    """transformers' blocks with our weights, each by all its implementations: name -> (module, (T, d) -> (T, d))."""
    if shape.block == "switch":
        return {"transformers Switch": _called(_switch(shape, ours))}
    found = {}
    for implementation in ("eager", "grouped_mm", "batched_mm"):
        copied = 4 * shape.tokens * shape.k * 2 * shape.hidden * shape.width
        if implementation != "batched_mm" or copied <= LARGEST_BATCHED:
            found[f"transformers {implementation}"] = _called(_gated(shape, ours, implementation))
    return found


def _called(block: nn.Module) -> tuple[nn.Module, Run]:
    return block, lambda x: block(x[None])[0]


def _switch(shape: Shape, ours: MoE) -> nn.Module:
    config = SwitchTransformersConfig(
        d_model=shape.width,
        d_ff=shape.hidden,
        num_experts=shape.experts,
        expert_capacity=math.ceil(shape.tokens / shape.experts * SWITCH_CAPACITY),
        router_jitter_noise=0.0,
        dropout_rate=0.0,
        dense_act_fn="relu",
        router_bias=False,
    )
    block: Any = SwitchTransformersSparseMLP(config)
    with torch.no_grad():
        block.router.classifier.weight.copy_(ours.gate.weight)
        for index in range(shape.experts):
            expert = block.experts[f"expert_{index}"]
            expert.wi.weight.copy_(ours.experts.up[index])
            expert.wo.weight.copy_(ours.experts.down[index])
    trained: nn.Module = block.train()
    return trained


def _gated(shape: Shape, ours: MoE, implementation: str) -> nn.Module:
    common = {
        "hidden_size": shape.width,
        "num_experts_per_tok": shape.k,
        "hidden_act": "silu",
        "experts_implementation": implementation,
    }
    block: Any
    if shape.block == "mixtral":
        block = MixtralSparseMoeBlock(
            MixtralConfig(intermediate_size=shape.hidden, num_local_experts=shape.experts, **common)
        )
    else:
        block = Qwen3MoeSparseMoeBlock(
            Qwen3MoeConfig(
                moe_intermediate_size=shape.hidden, num_experts=shape.experts, norm_topk_prob=False, **common
            )
        )
    with torch.no_grad():
        block.gate.weight.copy_(ours.gate.weight)
        block.experts.gate_up_proj.copy_(ours.experts.up)
        block.experts.down_proj.copy_(ours.experts.down)
    assert block.experts.config._experts_implementation == implementation
    trained: nn.Module = block.train()
    return trained
