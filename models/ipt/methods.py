"""Ways to fit a frozen model to a task: instance-wise prompts, and what they are compared with, in one shape.

| strategy | what is tuned, beside the head |
| --- | --- |
| lookup, conv, bilstm, attention, late | a task prompt and an encoder that makes each text's own (IPT) |
| task | the task prompt alone: prompt tuning at the input, P-tuning v2 in every layer |
| probe | nothing: a linear probe |
| lora | low-rank changes of the query and value projections (peft) |
| adapters | a bottleneck behind every layer |
| bitfit | the model's biases |
| full | the whole model |
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.ipt.backbone import Backbone, Tokens
from models.ipt.encoders import STRATEGIES, drawn
from models.ipt.heads import LinearHead, Verbaliser
from models.ipt.prompts import Prompts, as_prefixes, prefix_start, word_start

BASELINES = ("task", "probe", "lora", "adapters", "bitfit", "full")


class Method(nn.Module, ABC):
    """A backbone and what is tuned of it; the backbone is no submodule, so that `parameters()` holds the tuned alone.

    Attributes:
        fixed_layers: the lowest layers whose outcome no tuned parameter changes: it may be kept for every text.
        head: from final hidden states to scores; tuned as well.
    """

    fixed_layers = 0
    head: nn.Module

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self._backbone = [backbone]

    @property
    def backbone(self) -> Backbone:
        return self._backbone[0]

    @property
    def tuned_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def tuned_share(self) -> float:
        """Tuned parameters, the head's included, by those of the model."""
        return float(self.tuned_parameters / self.backbone.parameters)

    def forward(self, tokens: Tokens, below: Tensor | None = None) -> Tensor:
        """Scores (batch, classes); `below`: hidden states after `fixed_layers`, where they are known."""
        if below is None and self.fixed_layers:
            with torch.no_grad():
                below = self.backbone.lower(tokens, self.fixed_layers)
        scores: Tensor = self.head(self.backbone, self.hidden(tokens, below), tokens)
        return scores

    @abstractmethod
    def hidden(self, tokens: Tokens, below: Tensor | None) -> Tensor:
        """Final hidden states (batch, length, width) of the texts."""


class Probe(Method):
    """A head on the frozen model, and nothing else."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.fixed_layers = backbone.depth

    def hidden(self, tokens: Tokens, below: Tensor | None) -> Tensor:
        assert below is not None
        return self.backbone.parts.finish(below)


class InputPrompts(Method):
    """Prompts before the text's embeddings."""

    def __init__(self, config: dict[str, Any], backbone: Backbone, random: torch.Generator) -> None:
        super().__init__(backbone)
        words = backbone.parts.words
        start = word_start(words, int(config["task_length"]), random)
        instance = config["strategy"] in STRATEGIES
        self.prompts = Prompts(
            config, start, backbone.parts.width, words.num_embeddings, instance=instance, random=random
        )

    def hidden(self, tokens: Tokens, below: Tensor | None) -> Tensor:
        embedded = self.backbone.parts.words(tokens.ids)
        return self.backbone.prompted(tokens, self.prompts(tokens.ids, tokens.seen, embedded))


class LayerPrompts(Method):
    """Prompts as keys and values of every layer; `late` ones come from a layer's hidden states, for those above it."""

    def __init__(self, config: dict[str, Any], backbone: Backbone, random: torch.Generator) -> None:
        super().__init__(backbone)
        parts = backbone.parts
        if config["strategy"] == "late":
            self.fixed_layers = late_layer(backbone, float(config["late_share"]))
        self._layers = backbone.depth - self.fixed_layers
        start = prefix_start(int(config["task_length"]), self._layers * 2 * parts.heads * parts.head_width, random)
        instance = config["strategy"] in STRATEGIES
        self.prompts = Prompts(config, start, parts.width, parts.words.num_embeddings, instance=instance, random=random)

    def hidden(self, tokens: Tokens, below: Tensor | None) -> Tensor:
        source = self.backbone.parts.words(tokens.ids) if below is None else below
        prompts = self.prompts(tokens.ids, tokens.seen, source)
        prefixes = as_prefixes(prompts, self._layers, self.backbone.parts.heads)
        entered = self.backbone.lower(tokens, 0) if below is None else below
        return self.backbone.upper(entered, tokens.seen, self.fixed_layers, prefixes)


class Adapters(Method):
    """A bottleneck behind every layer, whose outcome is added to the layer's (Houlsby et al.); it begins as nothing."""

    def __init__(self, config: dict[str, Any], backbone: Backbone, random: torch.Generator) -> None:
        super().__init__(backbone)
        depth, width, rank = backbone.depth, backbone.parts.width, int(config["bottleneck"])
        self.down = drawn((depth, width, rank), 1 / math.sqrt(width), random)
        self.down_bias = nn.Parameter(torch.zeros(depth, rank))
        self.up = nn.Parameter(torch.zeros(depth, rank, width))

    def hidden(self, tokens: Tokens, below: Tensor | None) -> Tensor:
        return self.backbone.upper(self.backbone.lower(tokens, 0), tokens.seen, 0, behind=self._adapted)

    def _adapted(self, index: int, hidden: Tensor) -> Tensor:
        normed = nn.functional.layer_norm(hidden, hidden.shape[-1:])
        codes = nn.functional.gelu(normed @ self.down[index] + self.down_bias[index])
        return hidden + codes @ self.up[index]


class Inside(Method):
    """Parameters of the model itself: all of them, its biases, or low-rank changes."""

    def __init__(self, config: dict[str, Any], backbone: Backbone, random: torch.Generator) -> None:
        super().__init__(backbone)
        # From now on its weights are not those of its files.
        backbone.origin = None
        if config["strategy"] == "lora":
            _add_lora(backbone, int(config["lora_rank"]), random)
            chosen = [(name, p) for name, p in backbone.model.named_parameters() if "lora_" in name]
        else:
            biases = config["strategy"] == "bitfit"
            chosen = [(n, p) for n, p in backbone.model.named_parameters() if not biases or _is_bias(n)]
        # The pooler behind BERT's first token has no part in what is predicted.
        chosen = [(name, parameter) for name, parameter in chosen if not name.startswith("pooler.")]
        for name, parameter in chosen:
            parameter.requires_grad_(True)
            self.register_parameter("model_" + name.replace(".", "/"), parameter)

    def hidden(self, tokens: Tokens, below: Tensor | None) -> Tensor:
        return self.backbone.upper(self.backbone.lower(tokens, 0), tokens.seen, 0)


def build(
    config: dict[str, Any],
    backbone: Backbone,
    classes: int,
    random: torch.Generator,
    words: Sequence[Sequence[int]] | None = None,
) -> Method:
    """The method that a configuration asks for, its first values drawn from the generator.

    The strategies lora, bitfit and full change the backbone: it belongs to the method from then on.

    Args:
        config: as `IptWorkload.space` declares it.
        words: token numbers of each class's words, for a backbone that speaks; None: a linear head.
    """
    method = _method(config, backbone, random)
    if words is None:
        method.head = LinearHead(backbone.parts.width, classes, float(config["dropout"]), random)
    else:
        method.head = Verbaliser(words)
    return method


def _method(config: dict[str, Any], backbone: Backbone, random: torch.Generator) -> Method:
    strategy = config["strategy"]
    if strategy == "probe":
        return Probe(backbone)
    if strategy == "adapters":
        return Adapters(config, backbone, random)
    if strategy in ("lora", "bitfit", "full"):
        return Inside(config, backbone, random)
    if strategy == "late" or config["insertion"] == "layers":
        return LayerPrompts(config, backbone, random)
    return InputPrompts(config, backbone, random)


def late_layer(backbone: Backbone, share: float) -> int:
    """Layers below late prompts: a share of all, at least one and not all."""
    return min(max(round(share * backbone.depth), 1), backbone.depth - 1)


def _is_bias(name: str) -> bool:
    # T5 has no biases but those of relative positions, which are a table and no offset.
    return name.endswith(".bias") and "relative" not in name


def _add_lora(backbone: Backbone, rank: int, random: torch.Generator) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(backbone.parts.lora_targets))
    settings.fan_in_fan_out = backbone.parts.causal
    # peft draws from the global generator; its numbers are replaced by our own.
    with torch.random.fork_rng(devices=[]):
        inject_adapter_in_model(settings, backbone.model)
    backbone.model.eval()
    for name, parameter in backbone.model.named_parameters():
        if "lora_A" in name:
            nn.init.kaiming_uniform_(parameter, a=math.sqrt(5), generator=random)
