"""What the parameters do to the first objective: how much each matters, and where good values lie."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizers.importance import importances
from service.plots.columns import Columns
from service.plots.drawing import (
    BLUE,
    GREY,
    SCALE,
    Drawing,
    Trace,
    axis,
    described,
    line,
    log_ticks,
    marks,
    objective_title,
    plain,
    short,
    thinned,
)
from tunewright.space import Categorical, Ordinal, Parameter, SearchSpace

# A forest on more trials shows the same and takes long.
FOREST_TRIALS = 2_000
FEWEST_TRIALS = 8
MAX_LINES = 400
MAX_AXES = 20
GRID = 40
# Earlier trials are paler.
AGE = [[0, "#c3d6ef"], [1, "#2458a6"]]
TOO_FEW = f"At least {FEWEST_TRIALS} whole trials are needed."


def importance(columns: Columns) -> Drawing:
    """Share of the objective's variance that each parameter explains by itself, with the 95% interval over trees."""
    rows = columns.whole
    if len(rows) < FEWEST_TRIALS:
        return Drawing(note=TOO_FEW)
    rows = rows[thinned(len(rows), np.argsort(columns.goal_losses[rows], kind="stable"), FOREST_TRIALS)]
    space = _space(columns)
    searched = set(space.searched)
    configs = [columns.configs[row] for row in rows]
    found = importances(space, configs, columns.goal_losses[rows].tolist(), np.random.default_rng(0))
    found = [each for each in found if each.parameter in searched][:MAX_AXES][::-1]
    bars: Trace = {
        "type": "bar",
        "orientation": "h",
        "name": "share",
        "y": [plain(each.parameter) for each in found],
        "x": [each.share for each in found],
        "marker": {"color": BLUE},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, each.high - each.share) for each in found],
            "arrayminus": [max(0.0, each.share - each.low) for each in found],
            "thickness": 1,
            "color": GREY,
        },
    }
    first = found[-1]
    left = len(searched) - len(found)
    return Drawing(
        [bars],
        axis("share of variance, main effect", range=[0, 1]),
        axis("", automargin=True),
        summary=f"{first.parameter} matters most: it explains {first.share:.0%} of the variance of "
        f"{columns.goal.metric} by itself.",
        note=f"{left} parameters that matter less are not drawn." if left else "",
    )


def parameter_slice(columns: Columns, parameter: str) -> Drawing:
    """The objective of whole trials against one parameter."""
    rows = _having(columns, [parameter])
    if not len(rows):
        return Drawing(note=f"No whole trial has used {parameter} yet.")
    shown = rows[thinned(len(rows), np.argsort(columns.goal_losses[rows], kind="stable"))]
    objective = columns.goal
    x = [_drawn(columns, parameter, columns.configs[row][parameter]) for row in shown]
    text = [_text(columns, row) for row in shown]
    trace = marks("whole trials", x, columns.goal_values[shown], _order(columns, shown), text=text, colorscale=AGE)
    return Drawing(
        [trace],
        _parameter_axis(columns, parameter),
        axis(objective_title(objective), columns.goal_values[shown]),
        summary=f"{objective.metric} of {len(rows)} whole trials against {parameter}. Later trials are darker.",
        note="Later trials are darker.",
    )


def contour(columns: Columns, parameter: str, second: str) -> Drawing:
    """The objective over two numeric parameters: the mean of the nearest whole trials at every place of a grid."""
    space = _space(columns)
    for name in (parameter, second):
        if isinstance(space[name], Categorical | Ordinal):
            return Drawing(note=f"{name} is not a number; choose two numeric parameters.")
    if parameter == second:
        return Drawing(note="Choose two different parameters.")
    rows = _having(columns, [parameter, second])
    if len(rows) < FEWEST_TRIALS:
        return Drawing(note=TOO_FEW)
    rows = rows[thinned(len(rows), np.argsort(columns.goal_losses[rows], kind="stable"), FOREST_TRIALS)]
    places = np.array(
        [[space[name].encode(columns.configs[row][name]) for name in (parameter, second)] for row in rows]
    )
    (xs, x_ticks), (ys, y_ticks) = (_grid(space[name]) for name in (parameter, second))
    z = _nearest(places, columns.goal_values[rows], x_ticks, y_ticks)
    surface: Trace = {
        "type": "contour",
        "x": xs,
        "y": ys,
        "z": z.tolist(),
        "colorscale": _scale(reverse=columns.goal.direction == "minimize"),
        "contours": {"coloring": "fill"},
        "line": {"width": 0.5},
        # Plotly's colour bar and its smooth shading have style attributes, which the Content-Security-Policy forbids.
        "showscale": False,
        "hoverinfo": "x+y+z",
        "name": plain(columns.goal.metric),
    }
    x, y = ([columns.configs[row][name] for row in rows] for name in (parameter, second))
    points = marks(
        "whole trials", x, y, "#ffffff", text=[_text(columns, row) for row in rows], size=5, line={"width": 1}
    )
    return Drawing(
        [surface, points],
        _parameter_axis(columns, parameter),
        _parameter_axis(columns, second),
        summary=f"{columns.goal.metric} over {parameter} and {second}, from {len(rows)} whole trials.",
        note=f"Mean of the nearest trials: {z.min():.4g} to {z.max():.4g}, orange is best.",
    )


def parallel(columns: Columns) -> Drawing:
    """Every whole trial within the bounds as a line over what is searched, coloured by its value; the best on top."""
    rows = columns.allowed
    left = len(columns.whole) - len(rows)
    if not len(rows):
        return Drawing(note="No whole trial is within the bounds yet." if left else "No trial is whole yet.")
    space = _space(columns)
    searched = space.searched
    names = searched[:MAX_AXES]
    order = np.argsort(columns.goal_losses[rows], kind="stable")
    rows = rows[thinned(len(rows), order, MAX_LINES)]
    ranked = rows[np.argsort(columns.goal_losses[rows], kind="stable")]
    traces = []
    for color, band in zip(reversed(SCALE), np.array_split(ranked, len(SCALE)), strict=True):
        x: list[Any] = []
        y: list[Any] = []
        for row in band[::-1]:
            config = columns.configs[row]
            heights = [space[name].encode(config[name]) if name in config else None for name in names]
            x += [*range(len(names)), None]
            y += [*heights, None]
        if len(band):
            best, worst = (f"{columns.goal_values[row]:.4g}" for row in (band[0], band[-1]))
            name = best if best == worst else f"{best} to {worst}"
            traces.append(line(name, x, y, color, width=1, opacity=0.7, hoverinfo="name"))
    notes = [f"The first {MAX_AXES} parameters are drawn."] if len(searched) > MAX_AXES else []
    notes += [f"{left} whole trials that miss a bound are not drawn."] if left else []
    return Drawing(
        traces[::-1],
        axis(
            "",
            tickmode="array",
            tickvals=list(range(len(names))),
            ticktext=[_labelled(space[n]) for n in names],
            range=[-0.35, len(names) - 0.65],
        ),
        axis("position in its range", range=[-0.03, 1.03]),
        summary=f"{len(rows)} whole trials over {len(names)} parameters; the best fifth is drawn in orange.",
        note=" ".join(notes),
    )


def _labelled(parameter: Parameter) -> str:
    if isinstance(parameter, Categorical | Ordinal):
        ends = [_choice(parameter, choice) for choice in (parameter.choices[0], parameter.choices[-1])]
    else:
        ends = [short(parameter.low), short(parameter.high)]
    name = parameter.name if len(parameter.name) <= 18 else f"{parameter.name[:17]}…"
    return f"{plain(name)}<br>{plain(ends[0])} … {plain(ends[1])}"


def _grid(parameter: Parameter) -> tuple[list[Any], NDArray[np.float64]]:
    """At most GRID values that lie evenly over a numeric parameter, and their places in the unit interval."""
    # A parameter of few values has each of them once.
    values = list(dict.fromkeys(parameter.decode((i + 0.5) / GRID) for i in range(GRID)))
    return values, np.array([parameter.encode(value) for value in values])


def _nearest(
    places: NDArray[np.float64], values: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(len(y), len(x)) weighted means of values at the nearest places."""
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    squared = ((grid[:, :, None, :] - places) ** 2).sum(axis=-1)
    weights = np.exp(-squared / (2 * 0.06**2)) + 1e-9 / (squared + 1e-6)
    return np.asarray((weights * values).sum(axis=-1) / weights.sum(axis=-1))


def _space(columns: Columns) -> SearchSpace:
    space = columns.study.spec.space
    assert space is not None
    return space


def _having(columns: Columns, names: list[str]) -> NDArray[np.int64]:
    return np.array([row for row in columns.whole if all(n in columns.configs[row] for n in names)], dtype=np.int64)


def _drawn(columns: Columns, name: str, value: Any) -> Any:
    parameter = _space(columns)[name]
    return plain(_choice(parameter, value)) if isinstance(parameter, Categorical | Ordinal) else value


def _choice(parameter: Categorical | Ordinal, value: Any) -> str:
    """A choice as a text that no other one has: 1 and "1" differ by their quotes."""
    text = short(value)
    alike = sum(short(choice) == text for choice in parameter.choices)
    return text if alike <= 1 else json.dumps(value, ensure_ascii=False)


def _parameter_axis(columns: Columns, name: str) -> dict[str, Any]:
    parameter = _space(columns)[name]
    if isinstance(parameter, Categorical | Ordinal):
        texts = [plain(_choice(parameter, choice)) for choice in parameter.choices]
        return axis(name, type="category", categoryorder="array", categoryarray=texts)
    return axis(name, type="log", **log_ticks(parameter.low, parameter.high)) if parameter.log else axis(name)


def _text(columns: Columns, row: int) -> str:
    objective = columns.goal
    return described(
        int(columns.numbers[row]), columns.configs[row], [f"{objective.metric} {columns.goal_values[row]:.4g}"]
    )


def _order(columns: Columns, rows: NDArray[np.int64]) -> list[float]:
    last = max(1, int(columns.numbers[-1]))
    return [float(columns.numbers[row]) / last for row in rows]


def _scale(reverse: bool = False) -> list[list[Any]]:
    colors = SCALE[::-1] if reverse else SCALE
    return [[i / (len(colors) - 1), color] for i, color in enumerate(colors)]
