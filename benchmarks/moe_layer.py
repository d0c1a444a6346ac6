"""How fast is a mixture-of-experts layer, forward and backward? Sorted execution, one-hot einsum, transformers' blocks.

    python -m benchmarks.moe_layer [--quick] [--json FILE]

A grid of tokens T, experts E, experts per token k, widths d and hidden widths f, in the proportions of Switch
Transformers (k 1, f 4d), Mixtral (8 experts, k 2, f 3.5d) and Qwen3-MoE (many small experts, k 8, f 3/8 d). All hold
the same weights and see the same tokens; `error` is the largest difference of outputs and input gradients from the
sorted execution, as a share of the largest value. Mixtral and Qwen run by every implementation that transformers has
for this machine; batched_mm is left out where its copies of weights would take over 1 GiB. Times are processor time of
one thread, the median of turns taken in rotation; memory is what the resident set rises by.

speedup_vs_einsum_max          largest ratio over the grid
speedup_vs_best_peer_geomean   over the grid, against the fastest of transformers' implementations at each point
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks._harness import Cell, Result, arguments, publish
from benchmarks._memory import peak_mib
from benchmarks._moe_blocks import Run, Shape, layer, peers

NAME = "moe_layer"
# A layer's results may differ by rounding; more is an error of the benchmark.
LARGEST_ERROR = 1e-3


@dataclass(frozen=True)
class Scale:
    """How much is run."""

    shapes: Sequence[Shape]
    turns: int
    seconds: float


def _switch(tokens: int, experts: int, width: int) -> Shape:
    return Shape("switch", tokens, experts, 1, width, 4 * width)


def _mixtral(tokens: int, width: int, experts: int = 8) -> Shape:
    return Shape("mixtral", tokens, experts, 2, width, 7 * width // 2)


def _qwen(tokens: int, experts: int, width: int) -> Shape:
    return Shape("qwen", tokens, experts, 8, width, 3 * width // 8)


QUICK = Scale(
    [
        *(_switch(tokens, experts, 64) for tokens in (512, 2048) for experts in (8, 64)),
        *(_switch(4096, experts, 128) for experts in (16, 64)),
        *(_mixtral(tokens, 128) for tokens in (512, 2048)),
        *(_qwen(tokens, experts, 128) for tokens in (512, 2048) for experts in (32, 128)),
    ],
    turns=5,
    seconds=5.0,
)
FULL = Scale(
    [
        *(
            _switch(tokens, experts, width)
            for tokens in (512, 2048, 4096)
            for experts in (8, 32, 128)
            for width in (64, 256)
        ),
        *(_mixtral(tokens, width) for tokens in (512, 2048, 4096) for width in (64, 128, 256)),
        *(_qwen(tokens, experts, width) for tokens in (512, 2048) for experts in (32, 128) for width in (64, 128, 256)),
    ],
    turns=7,
    seconds=12.0,
)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    asked = arguments(NAME, "How fast is a mixture-of-experts layer, forward and backward?", argv)
    scale = scale or (QUICK if asked.quick else FULL)
    torch.set_num_threads(1)
    result = Result(NAME, asked.command)
    by_einsum, by_peer = [], []
    for shape in scale.shapes:
        rows = _measured(shape, scale)
        result.rows += rows
        times = {str(row["method"]): float(row["ms"] or 0) for row in rows}
        best_peer = min(value for name, value in times.items() if name.startswith("transformers"))
        by_einsum.append(times["einsum"] / times["sorted"])
        by_peer.append(best_peer / times["sorted"])
    result.headline["speedup_vs_einsum_max"] = max(by_einsum)
    result.headline["speedup_vs_einsum_geomean"] = statistics.geometric_mean(by_einsum)
    result.headline["speedup_vs_best_peer_geomean"] = statistics.geometric_mean(by_peer)
    result.headline["speedup_vs_best_peer_min"] = min(by_peer)
    result.headline["max_error"] = max(float(row["error"] or 0) for row in result.rows)
    publish(result, asked.json)


def _measured(shape: Shape, scale: Scale) -> list[dict[str, Cell]]:
    ours = layer(shape, seed=1, execution="sorted")
    one_hot = layer(shape, seed=1, execution="einsum")
    methods: dict[str, tuple[nn.Module, Run]] = {"sorted": (ours, ours), "einsum": (one_hot, one_hot)}
    methods |= peers(shape, ours)
    x = torch.randn(shape.tokens, shape.width, generator=torch.Generator().manual_seed(2))
    calls = {name: _step(module, run, x) for name, (module, run) in methods.items()}
    results = {name: call() for name, call in calls.items()}
    errors = {name: _error(results[name], results["sorted"]) for name in methods}
    if max(errors.values()) > LARGEST_ERROR:
        raise RuntimeError(f"{shape}: results differ: {errors}")
    times = _times(calls, scale)
    return [
        {
            "block": shape.block,
            "T": shape.tokens,
            "E": shape.experts,
            "k": shape.k,
            "d": shape.width,
            "f": shape.hidden,
            "method": name,
            "ms": times[name],
            "speed-up of sorted": times[name] / times["sorted"],
            "peak MiB": peak_mib(calls[name]),
            "error": errors[name],
        }
        for name in methods
    ]


def _step(module: nn.Module, run: Run, x: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
    """One forward and backward pass; gives outputs and the gradient of the tokens."""

    def step() -> tuple[Tensor, Tensor]:
        module.zero_grad(set_to_none=True)
        tokens = x.clone().requires_grad_()
        y = run(tokens)
        y.backward(torch.ones_like(y))  # type: ignore[no-untyped-call]
        assert tokens.grad is not None
        return y.detach(), tokens.grad

    return step


def _times(calls: Mapping[str, Callable[[], object]], scale: Scale) -> dict[str, float]:
    """Median milliseconds of processor time, methods in rotation, until the turns or the seconds are over."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    began = time.process_time()
    for turn in range(scale.turns):
        if turn >= 2 and time.process_time() - began > scale.seconds:
            break
        for name, call in calls.items():
            started = time.process_time()
            call()
            found[name].append(1e3 * (time.process_time() - started))
    return {name: statistics.median(values) for name, values in found.items()}


def _error(result: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor]) -> float:
    shares = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(result, reference, strict=True)]
    return max(shares) if all(math.isfinite(share) for share in shares) else math.inf


if __name__ == "__main__":
    main()
