"""What turns a text's final hidden states into scores of its classes: a linear head, or words of the model's own.

The linear head knows nothing at first. A verbaliser asks the model which of a few words it would say, in a masked
model's gap behind the text or after a causal model's last token, and takes a word's logit for its class's score. The
prompts, or whatever else is tuned, then only have to make the model say the right word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.ipt.backbone import Backbone, Tokens
from models.ipt.prompts import dropped
from tunewright.errors import WorkloadError

LabelWords = Mapping[str, Sequence[str]]


class LinearHead(nn.Module):
    """Scores that are linear in the text's pooled hidden states."""

    def __init__(self, width: int, classes: int, dropout: float, random: torch.Generator) -> None:
        super().__init__()
        self._dropout, self._random = dropout, random
        self.weight = nn.Parameter(torch.zeros(width, classes))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, backbone: Backbone, hidden: Tensor, tokens: Tokens) -> Tensor:
        """Scores (batch, classes)."""
        pooled = backbone.pooled(hidden, tokens.seen)
        # The scale of hidden states differs between models, and the head's learning rate should not.
        features = nn.functional.layer_norm(pooled, pooled.shape[-1:])
        kept = dropped(features, self._dropout, self._random if self.training else None)
        return kept @ self.weight + self.bias


class Verbaliser(nn.Module):
    """Scores that are the model's own logits of words, the mean where a class has several, and a tuned offset.

    Args:
        words: token numbers of each class's words, in the order of the classes.
    """

    def __init__(self, words: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self._words = [torch.tensor(each) for each in words]
        self.bias = nn.Parameter(torch.zeros(len(words)))

    def forward(self, backbone: Backbone, hidden: Tensor, tokens: Tokens) -> Tensor:
        """Scores (batch, classes)."""
        logits = backbone.said(hidden, tokens)
        return torch.stack([logits[:, each].mean(dim=1) for each in self._words], dim=1) + self.bias


def word_tokens(tokenizer: Any, label_words: LabelWords | None, classes: Sequence[str]) -> list[list[int]] | None:
    """Token numbers of each class's words; None where there are no words.

    Raises:
        WorkloadError: a class has no words, words are for no class, or one is no single token of this model.
    """
    if not label_words:
        return None
    unknown = sorted(set(label_words) - set(classes))
    lacking = sorted(set(classes) - set(label_words))
    if unknown or lacking:
        wrong = f"{unknown[0]!r} is no label" if unknown else f"the label {lacking[0]!r} has no word"
        raise WorkloadError(f"data.label_words: {wrong}; give words for {', '.join(map(repr, classes))}")
    return [[_token(tokenizer, label, word) for word in label_words[label]] for label in classes]


def _token(tokenizer: Any, label: str, word: str) -> int:
    # Inside a text a word has a space before it, and byte-pair encodings tell the difference.
    found = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
    if len(found) != 1 or found[0] == tokenizer.unk_token_id:
        said = "unknown to" if len(found) == 1 else f"{len(found)} tokens of"
        raise WorkloadError(f"data.label_words.{label}: {word!r} is {said} this model; take a word that is one token")
    return int(found[0])
