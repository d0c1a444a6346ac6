"""Triton kernels: layout transforms, grouped matrix products and top-k gating. PyTorch's primitives are their oracle.

Products accumulate in float32 by IEEE rules, so that results compare with PyTorch's to rounding. Program numbers are
32 bits wide; they are widened before a width multiplies them, for results may hold more than 2**31 numbers.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.moe.execution import Primitives

_COLUMNS, _TILE, _DEPTH = 64, 32, 32


@triton.jit  # type: ignore[untyped-decorator]
def _gather(rows: Any, indices: Any, result: Any, width: Any, block: tl.constexpr) -> None:
    row, columns = tl.program_id(0).to(tl.int64), tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < width
    source = tl.load(indices + row)
    tl.store(result + row * width + columns, tl.load(rows + source * width + columns, mask=inside), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _combine(rows: Any, order: Any, starts: Any, result: Any, width: Any, block: tl.constexpr) -> None:
    # One program adds up all rows of one result, in order: no atomic additions, the same sum every time.
    target, columns = tl.program_id(0).to(tl.int64), tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < width
    total = tl.zeros((block,), dtype=tl.float32)
    for place in range(tl.load(starts + target), tl.load(starts + target + 1)):
        source = tl.load(order + place)
        total += tl.load(rows + source * width + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(result + target * width + columns, total, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _product(
    rows: Any,
    matrices: Any,
    result: Any,
    tile_groups: Any,
    tile_starts: Any,
    tile_ends: Any,
    inner: Any,
    outer: Any,
    by_group: Any,
    by_inner: Any,
    by_outer: Any,
    tile: tl.constexpr,
    columns_tile: tl.constexpr,
    depth: tl.constexpr,
) -> None:
    at = tl.program_id(0)
    matrix = matrices + tl.load(tile_groups + at) * by_group
    row = tl.load(tile_starts + at) + tl.arange(0, tile)
    in_rows = row < tl.load(tile_ends + at)
    column = tl.program_id(1) * columns_tile + tl.arange(0, columns_tile)
    total = tl.zeros((tile, columns_tile), dtype=tl.float32)
    for start in range(0, inner, depth):
        k = start + tl.arange(0, depth)
        left = tl.load(
            rows + row[:, None] * inner + k[None, :], mask=in_rows[:, None] & (k < inner)[None, :], other=0.0
        )
        right = tl.load(
            matrix + k[:, None] * by_inner + column[None, :] * by_outer,
            mask=(k < inner)[:, None] & (column < outer)[None, :],
            other=0.0,
        )
        total += tl.dot(left, right, input_precision="ieee")
    tl.store(result + row[:, None] * outer + column[None, :], total, mask=in_rows[:, None] & (column < outer)[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def _outer(
    left: Any,
    right: Any,
    result: Any,
    starts: Any,
    height: Any,
    width: Any,
    tile: tl.constexpr,
    columns_tile: tl.constexpr,
    depth: tl.constexpr,
) -> None:
    group = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * tile + tl.arange(0, tile)
    j = tl.program_id(2) * columns_tile + tl.arange(0, columns_tile)
    end = tl.load(starts + group + 1)
    total = tl.zeros((tile, columns_tile), dtype=tl.float32)
    for start in range(tl.load(starts + group), end, depth):
        k = start + tl.arange(0, depth)
        a = tl.load(left + k[None, :] * height + i[:, None], mask=(k < end)[None, :] & (i < height)[:, None], other=0.0)
        b = tl.load(right + k[:, None] * width + j[None, :], mask=(k < end)[:, None] & (j < width)[None, :], other=0.0)
        total += tl.dot(a, b, input_precision="ieee")
    place = group * height * width + i[:, None] * width + j[None, :]
    tl.store(result + place, total, mask=(i < height)[:, None] & (j < width)[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def _top_k(logits: Any, weights: Any, choices: Any, n_experts: Any, k: tl.constexpr, block: tl.constexpr) -> None:
    row, expert = tl.program_id(0).to(tl.int64), tl.arange(0, block)
    inside = expert < n_experts
    values = tl.load(logits + row * n_experts + expert, mask=inside, other=-float("inf")).to(tl.float32)
    powers = tl.exp(values - tl.max(values, axis=0))
    gates = powers / tl.sum(powers, axis=0)
    left = tl.where(inside, gates, -1.0)
    for choice in range(k):
        best = tl.argmax(left, axis=0)
        tl.store(weights + row * k + choice, tl.max(left, axis=0))
        tl.store(choices + row * k + choice, best.to(tl.int64))
        left = tl.where(expert == best, -1.0, left)


def gather(rows: Tensor, indices: Tensor) -> Tensor:
    """rows[indices]: (T, d), (A,) to (A, d)."""
    result = rows.new_empty(len(indices), rows.shape[1])
    if len(indices):
        grid = (len(indices), triton.cdiv(rows.shape[1], _COLUMNS))
        _gather[grid](rows.contiguous(), indices, result, rows.shape[1], _COLUMNS)
    return result


def combine(rows: Tensor, indices: Tensor, n: int) -> Tensor:
    """Sums of rows with equal index: (A, d), (A,) to (n, d); always in the same order."""
    result = rows.new_empty(n, rows.shape[1])
    order = torch.argsort(indices, stable=True)
    starts = _starts(torch.bincount(indices, minlength=n))
    grid = (n, triton.cdiv(rows.shape[1], _COLUMNS))
    _combine[grid](rows.contiguous(), order, starts, result, rows.shape[1], _COLUMNS)
    return result


def product(rows: Tensor, matrices: Tensor, counts: list[int]) -> Tensor:
    """As `models.moe.execution.grouped_product`; matrices may be a transposed view."""
    inner, outer = matrices.shape[1:]
    result = rows.new_empty(len(rows), outer)
    groups, starts, ends, start = [], [], [], 0
    for group, count in enumerate(counts):
        for tile in range(start, start + count, _TILE):
            groups.append(group)
            starts.append(tile)
            ends.append(start + count)
        start += count
    if groups:
        tiles = (torch.tensor(values, device=rows.device) for values in (groups, starts, ends))
        grid = (len(groups), triton.cdiv(outer, _COLUMNS))
        strides = matrices.stride()
        _product[grid](rows.contiguous(), matrices, result, *tiles, inner, outer, *strides, _TILE, _COLUMNS, _DEPTH)
    return result


def outer(left: Tensor, right: Tensor, counts: list[int]) -> Tensor:
    """As `models.moe.execution.grouped_outer`."""
    height, width = left.shape[1], right.shape[1]
    result = left.new_empty(len(counts), height, width)
    starts = _starts(torch.tensor(counts, device=left.device))
    grid = (len(counts), triton.cdiv(height, _TILE), triton.cdiv(width, _COLUMNS))
    _outer[grid](left.contiguous(), right.contiguous(), result, starts, height, width, _TILE, _COLUMNS, _DEPTH)
    return result


def top_k(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of a softmax over logits (T, E): weights and experts, (T, k) each, largest first."""
    n_tokens, n_experts = logits.shape
    weights = torch.empty(n_tokens, k, device=logits.device)
    choices = torch.empty(n_tokens, k, dtype=torch.int64, device=logits.device)
    block = triton.next_power_of_2(n_experts)
    _top_k[(n_tokens,)](logits.contiguous(), weights, choices, n_experts, k, block)
    return weights, choices


def _starts(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


TRITON = Primitives(gather=gather, combine=combine, product=product, outer=outer)
