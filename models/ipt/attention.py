"""Attention that looks at key-value prefixes first, under every architecture that speaks transformers' interface.

A prefix takes no position and asks nothing: it is a row of keys and values before the text's own. Encoders of the T5
kind refuse a cache, so prefixes come in here and not through one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

NAME = "tunewright_prefix"
Prefix: TypeAlias = tuple[Tensor, Tensor]
"""Keys and values, each (batch, heads, length, head width)."""

_ATTRIBUTE = "_tunewright_prefix"


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention with the module's prefix, if it has one, before its keys and values.

    Args:
        query, key, value: (batch, heads, length, head width).
        attention_mask: added to the scores, (batch, 1, 1 or queries, keys); None: nothing is hidden.
        position_bias: added to the scores too (T5); prefixes get 0.
    Returns:
        (batch, queries, heads, head width), and no weights.
    """
    bias = attention_mask
    if position_bias is not None:
        bias = position_bias if bias is None else bias + position_bias
    prefix: Prefix | None = getattr(module, _ATTRIBUTE, None)
    if prefix is not None:
        key, value = torch.cat([prefix[0], key], dim=2), torch.cat([prefix[1], value], dim=2)
        if bias is not None:
            bias = functional.pad(bias, (prefix[0].shape[2], 0))
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scaling)
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)


@contextmanager
def prefixed(module: nn.Module, prefix: Prefix | None) -> Iterator[None]:
    """Let an attention module see a prefix inside the block."""
    setattr(module, _ATTRIBUTE, prefix)
    try:
        yield
    finally:
        setattr(module, _ATTRIBUTE, None)
