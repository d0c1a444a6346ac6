"""Draws the handbook's pictures of Hyper-Tune and OnlineTune from the simulators: `python -m docs.pictures`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks._onlinetune_simulated import MARGIN, OURS, Method, play
from benchmarks.data.modelled import ModelledTable, modelled
from optimizers.onlinetune.simulated import HELD_OUT, SimulatedDatabase
from optimizers.registry import create
from optimizers.simulate import simulate

IMAGES = Path(__file__).parent / "images"
# Legible on white and on black.
GREY, ORANGE, BLUE = "#8a8a8a", "#d9822b", "#3b82c4"
# Of the whole picture, and where the plane lies in it.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 310, 60, 610, 34, 260

WORKERS, SEEDS, STEPS = 8, 3, 120
METHODS = (("random", "random search", GREY), ("asha", "ASHA", ORANGE), ("hypertune", "Hyper-Tune", BLUE))


@dataclass(frozen=True)
class Plane:
    """Two axes that begin at 0 and at `low`; ticks are labels by their places."""

    right: float
    low: float
    high: float
    title: str
    across: str
    ticks_x: Mapping[str, float]
    ticks_y: Mapping[str, float]

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return LEFT + (RIGHT - LEFT) * value / self.right

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return BOTTOM - (BOTTOM - TOP) * (value - self.low) / (self.high - self.low)

    def picture(self, drawn: Iterator[str]) -> Iterator[str]:
        """The whole picture, with what is drawn on the plane."""
        yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
        yield '<g font-family="sans-serif" font-size="13">'
        yield f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="{GREY}"/>'
        for label, place in self.ticks_x.items():
            yield text(self.x(place), BOTTOM + 18, label, anchor="middle")
        yield text((LEFT + RIGHT) / 2, BOTTOM + 38, self.across, anchor="middle")
        for label, place in self.ticks_y.items():
            yield text(LEFT - 6, self.y(place) + 4, label, anchor="end")
        yield text(LEFT, TOP - 14, self.title)
        yield from drawn
        yield "</g></svg>"

    def line(self, points: Sequence[tuple[float, float]], colour: str, **style: object) -> str:
        """A line through points."""
        path = "L".join(f"{self.x(a):.1f} {self.y(b):.1f}" for a, b in points)
        more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in style.items())
        return f'<path d="M{path}" fill="none" stroke="{colour}"{more}/>'

    def dots(self, points: Sequence[tuple[float, float]], colour: str) -> str:
        """A dot at each point."""
        circles = (f'<circle cx="{self.x(a):.1f}" cy="{self.y(b):.1f}" r="1.8"/>' for a, b in points)
        return f'<g fill="{colour}">{"".join(circles)}</g>'


def text(x: float, y: float, words: str, colour: str = GREY, anchor: str = "start") -> str:
    """A text that begins, ends or has its middle at a place."""
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{colour}" text-anchor="{anchor}">{words}</text>'


def hyper_tune() -> Iterator[str]:
    """Median loss of the incumbent above the best known, on a logarithmic scale, against simulated time."""
    table = modelled("network", 1)
    horizon = 6 * table.training_seconds
    times = [horizon * step / STEPS for step in range(1, STEPS + 1)]
    curves = {name: regrets(table, name, times) for name, _, _ in METHODS}
    seen = [value for curve in curves.values() for value in curve if math.isfinite(value)]
    low, high = math.log10(min(seen)), math.log10(max(seen))
    ticks = {f"{10**place:.2g}": place for place in (low, high)}
    whole = {"0": 0.0, "3": horizon / 2, "6": horizon}
    plane = Plane(horizon, low, high, "loss above the best known", "whole trainings per worker", whole, ticks)

    def drawn() -> Iterator[str]:
        for name, label, colour in METHODS:
            points = [(t, math.log10(v)) for t, v in zip(times, curves[name], strict=True) if math.isfinite(v)]
            yield plane.line(points, colour, stroke_width=2)
            yield text(RIGHT + 6, plane.y(points[-1][1]) + 4, label, colour)

    return plane.picture(drawn())


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


def online_tune() -> Iterator[str]:
    """True gain over the former settings, interval by interval, of OnlineTune and of GP-UCB on one simulated server."""
    safe, bold = (gains(method) for method in (OURS, Method("gp_ucb", baseline="gp_ucb")))
    # Room for the label of a line that ends at the top.
    plane = Plane(
        len(safe),
        -100.0,
        60.0,
        "performance against the former settings (%)",
        "intervals",
        {"0": 0, f"{len(safe) // 2}": len(safe) // 2, f"{len(safe)}": len(safe)},
        {"-100": -100, "-50": -50, "0": 0, "+50": 50},
    )

    def drawn() -> Iterator[str]:
        for height, style in ((0.0, {}), (-100 * MARGIN, {"stroke_dasharray": "4 4"})):
            yield plane.line([(0, height), (plane.right, height)], GREY, **style)
        yield text(RIGHT + 6, plane.y(-100 * MARGIN) + 16, "unsafe below")
        yield plane.dots(list(enumerate(bold, start=1)), ORANGE)
        yield plane.line(list(enumerate(safe, start=1)), BLUE, stroke_width=2)
        yield text(RIGHT + 6, plane.y(bold[-1]) - 8, "GP-UCB", ORANGE)
        yield text(RIGHT + 6, plane.y(safe[-1]) + 6, "OnlineTune", BLUE)

    return plane.picture(drawn())


def gains(method: Method) -> list[float]:
    """What a method truly gains in each interval, in per cent."""
    session = play(SimulatedDatabase(HELD_OUT[0], "gradual", seed=0), method)
    return [float(gain) for gain in 100 * (session.work - 1.0)]


if __name__ == "__main__":
    for name, picture in (("hyper-tune", hyper_tune), ("online-tune", online_tune)):
        (IMAGES / f"{name}.svg").write_text("\n".join(picture()) + "\n")
