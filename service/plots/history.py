"""How the values went: against trials, against time, and which compromises were found."""

from __future__ import annotations

from typing import Literal

import numpy as np

from optimizers.pareto import Front, hypervolume
from service.plots.columns import Columns
from service.plots.drawing import (
    BLUE,
    GREY,
    ORANGE,
    Drawing,
    Trace,
    axis,
    described,
    line,
    marks,
    objective_title,
    thinned,
)
from tunewright.story_views import Step
from tunewright.study import Objective

# Exact hypervolume is for up to three objectives; over time it is measured at no more points than this.
VOLUME_OBJECTIVES = 3
VOLUME_POINTS = 200
# How far beyond the worst value the reference point lies, as a share of the range of values.
MARGIN = 0.1


def history(columns: Columns) -> Drawing:
    """The first objective of every trial, and the best so far.

    Trials that were stopped early are drawn pale: their values are of less resource.
    """
    objective = columns.goal
    rows = np.flatnonzero(np.isfinite(columns.goal_values))
    if not len(rows):
        return Drawing(note="Nothing has been measured yet.")
    steps, best = _best(columns, "trials")
    return Drawing(
        [*_points(columns, rows, objective), *best],
        axis("trial"),
        axis(objective_title(objective), columns.goal_values[rows]),
        summary=f"{objective.metric} of {len(rows)} trials{_said(steps)}.",
        note=_setback(columns, steps),
    )


def best_by(columns: Columns, spent: Literal["seconds", "resource"]) -> Drawing:
    """The best value so far by active time, or by the resource that all trials together were trained for."""
    objective = columns.goal
    steps, best = _best(columns, spent)
    if not steps:
        missed = bool(columns.progression.steps)
        return Drawing(note=f"No trial {'within the bounds ' if missed else ''}has become the incumbent yet.")
    fidelity = columns.study.spec.fidelity
    resource = (fidelity.unit or fidelity.name) if fidelity else "resource"
    title = "active time (s)" if spent == "seconds" else f"resource spent ({resource})"
    return Drawing(
        best,
        axis(title),
        axis(objective_title(objective), [step.value for step in steps if step.value is not None]),
        summary=f"{objective.metric} by {title}{_said(steps)}.",
        note=_setback(columns, steps),
    )


def _best(columns: Columns, spent: str) -> tuple[list[Step], list[Trace]]:
    """The incumbent's steps, and their line up to now."""
    progression = columns.progression
    steps = [step for step in progression.steps if step.value is not None]
    if not steps:
        return [], []
    x = [getattr(step, spent) for step in steps]
    y = [step.value for step in steps]
    end = max(getattr(progression.now, spent), x[-1])
    return steps, [line("best so far", [*x, end], [*y, y[-1]], ORANGE, shape="hv", mode="lines+markers")]


def _said(steps: list[Step]) -> str:
    return f"; the best is {steps[-1].value:.4g}, of trial {steps[-1].trial}" if steps else ""


def _setback(columns: Columns, steps: list[Step]) -> str:
    """Why the best so far was better before; of several objectives another one may have become better."""
    losses = [columns.goal.sign * step.value for step in steps if step.value is not None]
    if len(columns.aims) > 1 or np.all(np.diff(losses) <= 0):
        return ""
    return "A value at more resource replaces the best at less, even where it is worse."


def _points(columns: Columns, rows: np.ndarray, objective: Objective) -> list[dict[str, object]]:
    shown = rows[thinned(len(rows), np.argsort(columns.goal_losses[rows], kind="stable"))]
    whole = np.isin(shown, columns.whole)
    made = []
    for name, part, color in (("stopped or still running", shown[~whole], GREY), ("whole trials", shown[whole], BLUE)):
        text = [
            described(
                int(columns.numbers[row]),
                columns.configs[row],
                [f"{objective.metric} {columns.goal_values[row]:.4g} at {columns.resources[row]:g}"],
            )
            for row in part
        ]
        if len(part):
            made.append(marks(name, columns.numbers[part], columns.goal_values[part], color, text=text))
    return made


def pareto(columns: Columns) -> Drawing:
    """Whole trials by their first two objectives, and the front: those that no other beats in all objectives."""
    if len(columns.aims) < 2:
        return Drawing(note="The study has one objective, so one trial is best.")
    rows = columns.allowed
    if not len(rows):
        return Drawing(note="No whole trial has measured all objectives within their bounds yet.")
    front = _front(columns)
    a, b = columns.aims[:2]
    shown = rows[thinned(len(rows), np.searchsorted(rows, front))]
    rest = shown[~np.isin(shown, front)]
    # A third objective may keep a trial in the front that two alone would not.
    ranked = front[np.argsort(columns.values[front, a], kind="stable")]
    names = [columns.objectives[i].metric for i in columns.aims]

    def text(part: np.ndarray) -> list[str]:
        return [
            described(
                int(columns.numbers[row]),
                columns.configs[row],
                [f"{name} {columns.values[row, i]:.4g}" for name, i in zip(names, columns.aims, strict=True)],
            )
            for row in part
        ]

    traces = [
        marks("dominated", columns.values[rest, a], columns.values[rest, b], GREY, text=text(rest)),
        line("", columns.values[ranked, a], columns.values[ranked, b], ORANGE, width=1, hoverinfo="skip"),
        marks("Pareto front", columns.values[ranked, a], columns.values[ranked, b], ORANGE, text=text(ranked), size=8),
    ]
    return Drawing(
        traces if len(columns.aims) == 2 else [traces[0], traces[2]],
        axis(objective_title(columns.objectives[a]), columns.values[shown, a]),
        axis(objective_title(columns.objectives[b]), columns.values[shown, b]),
        summary=f"{len(front)} of {len(rows)} whole trials are on the Pareto front of {' and '.join(names)}.",
        note="" if len(columns.aims) == 2 else "The first two of the objectives are drawn; the front is that of all.",
    )


def volume(columns: Columns) -> Drawing:
    """Hypervolume of the front after each whole trial, as a share of the box between the best and the worst values.

    The reference lies a tenth of the range beyond the worst value of each objective, the ideal at the best; both are
    those of all trials so far, so the share is comparable along the line and not between studies.
    """
    if len(columns.aims) < 2:
        return Drawing(note="The study has one objective.")
    if len(columns.aims) > VOLUME_OBJECTIVES:
        return Drawing(note=f"Hypervolume is measured for up to {VOLUME_OBJECTIVES} objectives.")
    rows = columns.allowed
    if len(rows) < 2:
        return Drawing(note="At least two whole trials are needed.")
    losses = columns.losses[rows][:, columns.aims]
    ideal, worst = losses.min(axis=0), losses.max(axis=0)
    reach = np.where(worst > ideal, worst - ideal, 1.0)
    reference = np.full(len(columns.aims), 1.0 + MARGIN)
    scaled = (losses - ideal) / reach
    front = Front()
    at = set(np.unique(np.linspace(0, len(rows) - 1, VOLUME_POINTS).astype(int)).tolist())
    x, y = [], []
    for row, point in enumerate(scaled):
        front.add(row, point)
        if row in at:
            x.append(int(columns.numbers[rows[row]]))
            y.append(hypervolume(scaled[front.rows], reference) / float(np.prod(reference)))
    return Drawing(
        [line("hypervolume", x, y, BLUE, shape="hv")],
        axis("trial"),
        axis("hypervolume (share of the box)", range=[0, 1.02]),
        summary=f"The front covers {y[-1]:.3f} of the box after {len(rows)} whole trials.",
    )


def _front(columns: Columns) -> np.ndarray:
    front = Front()
    rows = columns.allowed
    for place, point in enumerate(columns.losses[rows][:, columns.aims]):
        front.add(place, point)
    return rows[front.rows]
