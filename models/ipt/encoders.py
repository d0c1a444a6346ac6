"""Instance encoders: from the frozen embeddings of a text to a few short codes that its prompts are made of.

Every encoder gives codes (batch, n, r); r is the bottleneck. Families: look-up tables (a vector for each token),
networks over the embeddings (convolution, BiLSTM, attention pooling), and a frozen layer's own hidden states.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

STRATEGIES = ("lookup", "conv", "bilstm", "attention", "late")
TABLES = ("random", "embedding", "hashed")
BUCKETS = 4096
KERNEL = 3
PHM_PARTS = 4
# A multiplier that spreads neighbouring token numbers over the buckets (Knuth's multiplicative hashing).
_SPREAD = 2654435761


class Phm(nn.Module):
    """A linear map whose matrix is a sum of Kronecker products: about `PHM_PARTS` times fewer parameters.

    W = sum over i of A_i (x) B_i, A_i square with `PHM_PARTS` rows (parameterised hypercomplex multiplication).
    """

    def __init__(self, fan_in: int, fan_out: int, random: torch.Generator) -> None:
        super().__init__()
        parts = math.gcd(math.gcd(fan_in, fan_out), PHM_PARTS)
        self.rules = drawn((parts, parts, parts), 1 / math.sqrt(parts), random)
        self.blocks = drawn((parts, fan_in // parts, fan_out // parts), 1 / math.sqrt(fan_in), random)

    def forward(self, x: Tensor) -> Tensor:
        weight = sum(torch.kron(rule, block) for rule, block in zip(self.rules, self.blocks, strict=True))
        return x @ weight


class Dense(nn.Module):
    """A linear map without a bias, drawn from a generator."""

    def __init__(self, fan_in: int, fan_out: int, random: torch.Generator) -> None:
        super().__init__()
        self.weight = drawn((fan_in, fan_out), 1 / math.sqrt(fan_in), random)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


PROJECTIONS: dict[str, type[Phm] | type[Dense]] = {"linear": Dense, "phm": Phm}


class InstanceEncoder(nn.Module):
    """Codes of texts.

    Args:
        config: `strategy`, `bottleneck`, and what the strategy needs of `pooling`, `table` and `projection`.
        width, vocabulary: of the frozen model.
        length: n, codes for each text.
    """

    def __init__(
        self, config: dict[str, Any], width: int, vocabulary: int, length: int, random: torch.Generator
    ) -> None:
        super().__init__()
        self._strategy, self._length = str(config["strategy"]), length
        self._max = config.get("pooling") == "max"
        rank = int(config["bottleneck"])
        self._buckets, self._hashed = 0, False
        self.table: nn.Parameter | None = None
        self.down: nn.Module | None = None
        table = config.get("table")
        if self._strategy == "lookup" and table != "embedding":
            self._buckets = BUCKETS if table == "hashed" else vocabulary
            self._hashed = self._buckets < vocabulary
            self.table = drawn((self._buckets, rank), 1 / math.sqrt(rank), random)
        else:
            self.down = PROJECTIONS[str(config.get("projection", "linear"))](width, rank, random)
        self.mixer = _mixer(self._strategy, rank, length, random)

    def forward(self, ids: Tensor, seen: Tensor, hidden: Tensor) -> Tensor:
        """Codes (batch, n, r).

        Args:
            ids, seen: (batch, length) tokens, and 1 where there is one.
            hidden: (batch, length, width) frozen embeddings, or a layer's hidden states (`late`).
        """
        if self.table is not None:
            rows = ids * _SPREAD % self._buckets if self._hashed else ids
            tokens = functional.embedding(rows, self.table)
        else:
            assert self.down is not None
            tokens = functional.gelu(self.down(functional.layer_norm(hidden, hidden.shape[-1:])))
        if isinstance(self.mixer, Queries):
            codes: Tensor = self.mixer(tokens, seen)
            return codes
        if self.mixer is not None:
            tokens = self.mixer(tokens * seen[:, :, None], seen)
        return pool(tokens, seen, self._length, self._max)


class Convolution(nn.Module):
    """A convolution over neighbouring tokens that leaves their number as it is."""

    def __init__(self, rank: int, random: torch.Generator) -> None:
        super().__init__()
        self.weight = drawn((rank, rank, KERNEL), 1 / math.sqrt(rank * KERNEL), random)

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        mixed = functional.conv1d(tokens.transpose(1, 2), self.weight, padding=KERNEL // 2)
        return functional.gelu(mixed).transpose(1, 2)


class BiLstm(nn.Module):
    """Long short-term memory in both directions, half of the width each."""

    def __init__(self, rank: int, random: torch.Generator) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.lstm = nn.LSTM(rank, rank // 2, batch_first=True, bidirectional=True)
        for parameter in self.lstm.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(rank), 1 / math.sqrt(rank), generator=random)

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        # Packed: the backward direction begins at each text's own end, not in what fills the batch up.
        lengths = seen.sum(dim=1).clamp(min=1).cpu().long()
        packed = pack_padded_sequence(tokens, lengths, batch_first=True, enforce_sorted=False)
        found: Tensor = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=tokens.shape[1])[0]
        return found


class Queries(nn.Module):
    """Attention pooling: each of n learned queries picks the tokens that its code is made of."""

    def __init__(self, rank: int, length: int, random: torch.Generator) -> None:
        super().__init__()
        self.queries = drawn((length, rank), 1.0, random)
        self.keys = drawn((rank, rank), 1 / math.sqrt(rank), random)

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        scores = torch.einsum("nr,blr->bnl", self.queries, tokens @ self.keys)
        weights = scores.masked_fill(seen[:, None, :] == 0, -torch.inf).softmax(dim=-1)
        return weights @ tokens


def pool(tokens: Tensor, seen: Tensor, length: int, by_max: bool) -> Tensor:
    """(batch, length, r): each text in as many stretches of equal length, the mean or the maximum of each.

    A text of fewer tokens than stretches repeats its tokens.
    """
    counts = seen.sum(dim=1, keepdim=True)
    places = torch.arange(length)[None, :]
    begin = places * counts // length
    end = torch.maximum((places + 1) * counts // length, begin + 1)
    column = torch.arange(tokens.shape[1])
    member = (column >= begin[:, :, None]) & (column < end[:, :, None])
    if by_max:
        spread = tokens[:, None, :, :].masked_fill(~member[:, :, :, None], -torch.inf)
        return spread.amax(dim=2)
    share = member.to(tokens.dtype)
    return (share / share.sum(dim=-1, keepdim=True)) @ tokens


def drawn(shape: tuple[int, ...], deviation: float, random: torch.Generator) -> nn.Parameter:
    """A parameter of normal random numbers."""
    return nn.Parameter(torch.empty(shape).normal_(0.0, deviation, generator=random))


def _mixer(strategy: str, rank: int, length: int, random: torch.Generator) -> nn.Module | None:
    if strategy == "conv":
        return Convolution(rank, random)
    if strategy == "bilstm":
        return BiLstm(rank, random)
    if strategy == "attention":
        return Queries(rank, length, random)
    return None
