"""Hidden states of texts below everything that is tuned: no trial changes them, so trials of one process share them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable

import torch
from torch import Tensor

from models.ipt.backbone import Backbone, Tokens

# Of all texts together; those that were not asked for the longest go first.
KEPT_BYTES = 512 * 2**20
_BATCH = 32
_kept: OrderedDict[Hashable, Tensor] = OrderedDict()


def lower_states(backbone: Backbone, layers: int, tokens: Tokens) -> Tensor | None:
    """Hidden states (n, length, width) of texts after the first layers, to be read alone.

    They are what they would be if they were computed anew: what is kept is known by the model's files, the tokens and
    the number of threads.

    Returns:
        None where they would take more than `KEPT_BYTES`.
    """
    size = 4 * tokens.ids.numel() * backbone.parts.width
    if size > KEPT_BYTES:
        return None
    if backbone.origin is None:
        return _computed(backbone, layers, tokens)
    content = hashlib.sha256(tokens.ids.numpy().tobytes() + tokens.seen.numpy().tobytes()).digest()
    key = (backbone.origin, layers, torch.get_num_threads(), tokens.ids.shape, content)
    if key not in _kept:
        while _kept and size + sum(states.nbytes for states in _kept.values()) > KEPT_BYTES:
            _kept.popitem(last=False)
        _kept[key] = _computed(backbone, layers, tokens)
    _kept.move_to_end(key)
    return _kept[key]


def _computed(backbone: Backbone, layers: int, tokens: Tokens) -> Tensor:
    batches = zip(torch.split(tokens.ids, _BATCH), torch.split(tokens.seen, _BATCH), strict=True)
    with torch.no_grad():
        return torch.cat([backbone.lower(Tokens(ids, seen, 0), layers) for ids, seen in batches])
