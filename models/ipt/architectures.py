"""What the families of language models differ in: how a text enters, how one layer runs, how the last one ends.

Each family is driven layer by layer, so that a prompt may enter anywhere and the layers below it run once for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

HIDDEN = torch.finfo(torch.float32).min


class Architecture(ABC):
    """One family of models, wrapped around one of them.

    Attributes:
        types: values of `model_type` in a model's config.json.
        class_name: transformers' class that loads it without a head.
        speaking_class: the one that loads it with its language-model head; None: it is used without one.
        voice: name of that head.
        causal: whether a token sees only what stands before it.
        lora_targets: names of the query and value projections.
    """

    types: ClassVar[tuple[str, ...]]
    class_name: ClassVar[str] = "AutoModel"
    speaking_class: ClassVar[str | None] = None
    voice: ClassVar[str] = ""
    causal: ClassVar[bool] = False
    lora_targets: ClassVar[tuple[str, ...]] = ("query", "value")

    def __init__(self, model: Any) -> None:
        self.model = model
        config = model.config
        self.heads = int(config.num_attention_heads)
        self.width = int(config.hidden_size)
        self.head_width = int(getattr(config, "d_kv", self.width // self.heads))

    @property
    @abstractmethod
    def layers(self) -> nn.ModuleList: ...

    @abstractmethod
    def attention(self, index: int) -> nn.Module:
        """The self-attention of a layer, which prefixes are given to."""

    @property
    def words(self) -> nn.Embedding:
        """The table of token embeddings."""
        table: nn.Embedding = self.model.get_input_embeddings()
        return table

    @property
    def first_position(self) -> int:
        """Number of the first token's position."""
        return 0

    @property
    def window(self) -> int | None:
        """Tokens that fit; None where positions are relative."""
        return int(self.model.config.max_position_embeddings) - self.first_position

    @abstractmethod
    def enter(self, embedded: Tensor, positions: Tensor) -> Tensor:
        """What the first layer sees, for token embeddings (batch, length, width) and positions (1, length)."""

    def mask(self, seen: Tensor) -> Tensor:
        """What is added to attention scores: (batch, 1, 1 or length, length), for (batch, length) with 1 at tokens."""
        hidden = (1.0 - seen.to(torch.float32)) * HIDDEN
        if not self.causal:
            return hidden[:, None, None, :]
        length = seen.shape[1]
        later = torch.full((length, length), HIDDEN).triu(1)
        return torch.maximum(hidden[:, None, None, :] + later, torch.tensor(HIDDEN))

    def run(self, index: int, hidden: Tensor, mask: Tensor) -> Tensor:
        """One layer."""
        return _first(self.layers[index](hidden, attention_mask=mask))

    def finish(self, hidden: Tensor) -> Tensor:
        """What comes after the last layer."""
        return hidden


class Bert(Architecture):
    """BERT and what is built alike."""

    types: ClassVar[tuple[str, ...]] = ("bert",)
    speaking_class: ClassVar[str | None] = "AutoModelForMaskedLM"
    voice: ClassVar[str] = "cls"

    @property
    def layers(self) -> nn.ModuleList:
        found: nn.ModuleList = self.model.encoder.layer
        return found

    def attention(self, index: int) -> nn.Module:
        found: nn.Module = self.model.encoder.layer[index].attention.self
        return found

    def enter(self, embedded: Tensor, positions: Tensor) -> Tensor:
        return _first(self.model.embeddings(inputs_embeds=embedded, position_ids=positions))


class Roberta(Bert):
    """RoBERTa: the same layers; positions are counted from behind the padding token."""

    types = ("roberta", "xlm-roberta", "camembert")
    voice = "lm_head"

    @property
    def first_position(self) -> int:
        return int(self.model.config.pad_token_id) + 1


class GPT2(Architecture):
    """GPT-2: each token sees those before it, so the last one speaks for the text."""

    types = ("gpt2",)
    speaking_class = "AutoModelForCausalLM"
    voice = "lm_head"
    causal = True
    lora_targets = ("c_attn",)

    @property
    def layers(self) -> nn.ModuleList:
        found: nn.ModuleList = self.model.h
        return found

    def attention(self, index: int) -> nn.Module:
        found: nn.Module = self.model.h[index].attn
        return found

    def enter(self, embedded: Tensor, positions: Tensor) -> Tensor:
        entered: Tensor = embedded + self.model.wpe(positions)
        return entered

    def finish(self, hidden: Tensor) -> Tensor:
        ended: Tensor = self.model.ln_f(hidden)
        return ended


class T5(Architecture):
    """The encoder of T5: relative positions, whose bias the first layer owns and all share."""

    types = ("t5",)
    class_name = "T5EncoderModel"
    lora_targets = ("q", "v")

    @property
    def layers(self) -> nn.ModuleList:
        found: nn.ModuleList = self.model.encoder.block
        return found

    def attention(self, index: int) -> nn.Module:
        found: nn.Module = self.model.encoder.block[index].layer[0].SelfAttention
        return found

    @property
    def window(self) -> int | None:
        return None

    def enter(self, embedded: Tensor, positions: Tensor) -> Tensor:
        return embedded

    def run(self, index: int, hidden: Tensor, mask: Tensor) -> Tensor:
        length = hidden.shape[1]
        bias = self.model.encoder.block[0].layer[0].SelfAttention.compute_bias(length, length)
        return _first(self.layers[index](hidden, mask, bias))

    def finish(self, hidden: Tensor) -> Tensor:
        ended: Tensor = self.model.encoder.final_layer_norm(hidden)
        return ended


ARCHITECTURES = {name: family for family in (Bert, Roberta, GPT2, T5) for name in family.types}


def _first(outputs: Any) -> Tensor:
    found: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
    return found
