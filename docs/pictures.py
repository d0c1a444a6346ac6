"""Draws the handbook's picture of Hyper-Tune from the simulator: `python -m docs.pictures`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks.data.modelled import ModelledTable, modelled
from optimizers.registry import create
from optimizers.simulate import simulate

PICTURE = Path(__file__).parent / "images" / "hyper-tune.svg"
WORKERS, SEEDS, STEPS = 8, 3, 120
# Of the plane, and where the curves lie on it.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 310, 60, 610, 34, 260
# Legible on white and on black.
METHODS = (("random", "random search", "#8a8a8a"), ("asha", "ASHA", "#d9822b"), ("hypertune", "Hyper-Tune", "#3b82c4"))


def hyper_tune() -> Iterator[str]:
    """Median loss of the incumbent above the best known, on a logarithmic scale, against simulated time."""
    table = modelled("network", 1)
    horizon = 6 * table.training_seconds
    times = [horizon * step / STEPS for step in range(1, STEPS + 1)]
    curves = {name: regrets(table, name, times) for name, _, _ in METHODS}
    seen = [value for curve in curves.values() for value in curve if math.isfinite(value)]
    low, high = math.log10(min(seen)), math.log10(max(seen))

    def x(time: float) -> float:
        return LEFT + (RIGHT - LEFT) * time / horizon

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (math.log10(value) - low) / (high - low)

    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
    yield '<g font-family="sans-serif" font-size="13">'
    yield f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="#8a8a8a"/>'
    for label, place in (("0", 0.0), ("3", 0.5), ("6", 1.0)):
        yield f'<text x="{x(horizon * place):.0f}" y="{BOTTOM + 18}" fill="#8a8a8a" text-anchor="middle">{label}</text>'
    middle = (LEFT + RIGHT) / 2
    yield f'<text x="{middle}" y="{BOTTOM + 38}" fill="#8a8a8a" text-anchor="middle">whole trainings per worker</text>'
    for value in (10**low, 10**high):
        yield f'<text x="{LEFT - 6}" y="{y(value) + 4:.0f}" fill="#8a8a8a" text-anchor="end">{value:.2g}</text>'
    yield f'<text x="{LEFT}" y="{TOP - 14}" fill="#8a8a8a">loss above the best known</text>'
    for name, label, colour in METHODS:
        points = [(x(t), y(v)) for t, v in zip(times, curves[name], strict=True) if math.isfinite(v)]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
        yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield f'<text x="{RIGHT + 6}" y="{points[-1][1] + 4:.0f}" fill="{colour}">{label}</text>'
    yield "</g></svg>"


def regrets(table: ModelledTable, method: str, times: Sequence[float]) -> list[float]:
    """Median over seeds of the incumbent's loss at full resource above the best known, at each time."""
    traces = []
    for seed in range(SEEDS):
        problem = table.problem(seed=seed)
        traces.append(simulate(create(method, {}, problem), table, workers=WORKERS, max_seconds=times[-1]))
    full = float(table.fidelity.max)
    curves = []
    for trace in traces:
        whole = [step for step in trace.progress if step.resource == full]
        curves.append([min((s.loss for s in whole if s.seconds <= time), default=math.inf) for time in times])
    return [max(median(values) - table.best, 1e-4) for values in zip(*curves, strict=True)]


if __name__ == "__main__":
    PICTURE.write_text("\n".join(hyper_tune()) + "\n")
