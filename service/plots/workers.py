"""Who ran what and when, and how far trials got: the timeline of workers, the rungs, the weights of brackets."""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from service.plots.columns import Columns, Span
from service.plots.drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, Drawing, Trace, axis, line, plain
from tunewright.study import TrialState

MAX_SPANS = 1_500
MAX_POINTS = 500
STATE_COLORS = {"completed": BLUE, "running": GREEN, "failed": RED, "lost": ORANGE, "cancelled": GREY}


def timeline(columns: Columns, now: float | None = None) -> Drawing:
    """The newest jobs as bars over time, a row for each place at which one can run; of several attempts the last."""
    spans = [span for span in columns.jobs(newest=MAX_SPANS) if span.worker]
    if not spans:
        return Drawing(note="No worker has begun a job yet.")
    now = time.time() if now is None else now
    begin = min(span.attempt_at for span in spans)
    # Workers are processes that come and go; what people look for is which places are busy. A job that waits for its
    # worker, or was lost with an earlier one, takes none.
    lanes = _lanes(spans, now)
    traces: list[Trace] = []
    for state in dict.fromkeys(span.state for span in spans):
        part = [(span, lane) for span, lane in zip(spans, lanes, strict=True) if span.state == state]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": plain(state),
                "base": [span.attempt_at - begin for span, _ in part],
                "x": [max(0.0, (span.ended_at or now) - span.attempt_at) for span, _ in part],
                "y": [f"place {lane + 1}" for _, lane in part],
                "marker": {"color": STATE_COLORS.get(state, PURPLE), "line": {"width": 0.5, "color": "#ffffff"}},
                "text": [_words(span, now) for span, _ in part],
                "textposition": "none",
                "hoverinfo": "text",
            }
        )
    places = max(lanes) + 1
    order = [f"place {lane + 1}" for lane in reversed(range(places))]
    again = sum(span.attempts > 1 for span in spans)
    shown = "" if len(spans) < MAX_SPANS else f"The newest {MAX_SPANS:,} jobs are drawn. "
    return Drawing(
        traces,
        axis("time since the first of them (s)"),
        axis("", type="category", categoryorder="array", categoryarray=order),
        summary=f"{len(spans)} jobs side by side on at most {places} places; {again} ran more than once.",
        note=f"{shown}{again} ran more than once." if again else shown.strip(),
    )


def rungs(columns: Columns) -> Drawing:
    """How many trials reached each resource, and what became of them there."""
    if not len(columns.numbers):
        return Drawing(note="Nothing has been measured yet.")
    levels = columns.leg_ends()
    levels = levels[levels <= columns.resources.max()] if len(levels) else np.unique(columns.resources)
    if not len(levels):
        return Drawing(note="No trial has come to the end of its first leg yet.")
    running = {TrialState.RUNNING, TrialState.WAITING}
    counts: dict[str, list[int]] = {"went on": [], "ended here": [], "running or waiting": []}
    for i, level in enumerate(levels):
        above = columns.resources >= levels[i + 1] if i + 1 < len(levels) else np.zeros(len(columns.resources), bool)
        here = (columns.resources >= level) & ~above
        open_ = sum(columns.states[row] in running for row in np.flatnonzero(here))
        counts["went on"].append(int(above.sum()))
        counts["ended here"].append(int(here.sum()) - open_)
        counts["running or waiting"].append(open_)
    names = [f"{level:g}" for level in levels]
    colors = {"went on": BLUE, "ended here": GREY, "running or waiting": GREEN}
    traces = [
        {"type": "bar", "name": name, "x": names, "y": values, "marker": {"color": colors[name]}}
        for name, values in counts.items()
    ]
    fidelity = columns.study.spec.fidelity
    reached = [sum(values) for values in zip(*counts.values(), strict=True)]
    return Drawing(
        traces,
        axis(fidelity.name if fidelity else "resource", type="category"),
        axis("trials"),
        summary="Trials by the resource they reached: "
        + ", ".join(f"{count} at {name}" for count, name in zip(reached, names, strict=True))
        + ".",
    )


def brackets(columns: Columns) -> Drawing:
    """Weights of the brackets over time where the optimizer learns them, else the brackets that new trials went to."""
    legs = columns.first_legs()
    if not len(legs):
        return Drawing(note="The optimizer has no brackets.")
    shown = legs[np.unique(np.linspace(0, len(legs) - 1, MAX_POINTS).astype(int))]
    weights = columns.weights(shown[:, 0].tolist())
    if not weights:
        return _begun(legs[:, 2])
    learned = [(trial, weights[job]) for job, trial, _ in shown.tolist() if job in weights]
    palette = [BLUE, ORANGE, GREEN, PURPLE, RED, GREY]
    traces = [
        line(
            f"bracket {bracket}",
            [trial for trial, _ in learned],
            [each[bracket] if bracket < len(each) else None for _, each in learned],
            palette[bracket % len(palette)],
            shape="hv",
        )
        for bracket in range(max(len(each) for _, each in learned))
    ]
    last = ", ".join(f"{weight:.2f}" for weight in learned[-1][1])
    return Drawing(
        traces,
        axis("trial"),
        axis("weight of the bracket", range=[0, 1.02]),
        summary=f"The newest weights of the brackets are {last}.",
    )


def _begun(brackets: NDArray[np.int64]) -> Drawing:
    ranked, counts = (each.tolist() for each in np.unique(brackets, return_counts=True))
    names = [f"bracket {bracket}" for bracket in ranked]
    counted = zip(counts, ranked, strict=True)
    return Drawing(
        [{"type": "bar", "name": "trials", "x": names, "y": counts, "marker": {"color": BLUE}}],
        axis("", type="category"),
        axis("trials begun"),
        summary="Trials begun: " + ", ".join(f"{count} in bracket {bracket}" for count, bracket in counted) + ".",
    )


def _lanes(spans: list[Span], now: float) -> list[int]:
    """For each span the first row that is free when it starts, so that rows are places that work side by side."""
    free: dict[int, float] = defaultdict(float)
    lanes = []
    for span in sorted(range(len(spans)), key=lambda i: spans[i].attempt_at):
        start, end = spans[span].attempt_at, spans[span].ended_at or now
        lane = next((lane for lane in sorted(free) if free[lane] <= start), len(free))
        free[lane] = end
        lanes.append((span, lane))
    return [lane for _, lane in sorted(lanes)]


def _words(span: Span, now: float) -> str:
    seconds = (span.ended_at or now) - span.attempt_at
    tries = f", attempt {span.attempts}" if span.attempts > 1 else ""
    leg = f"from {span.start:g} to {span.end:g}"
    return "<br>".join(
        plain(part) for part in (f"trial {span.trial} {leg}", f"{span.state} {seconds:.1f} s{tries}", span.worker)
    )
