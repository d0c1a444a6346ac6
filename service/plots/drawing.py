"""What all plots are made of: traces and axes as Plotly reads them, one palette, and thinning.

Names and values come from users: `plain` keeps them from being read as markup. The colours stand on light and dark
pages alike; whatever surrounds them (text, grid, background) is the viewer's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunewright.study import Objective

BLUE, ORANGE, GREEN, RED, GREY, PURPLE = "#3f7fd0", "#d9822b", "#2f9e6e", "#d0524f", "#8d96a5", "#8a63c9"
# From worst to best, for values that are drawn as colours.
SCALE = ["#b9c0cc", "#8fb3e0", "#5b93d6", "#2f6fc4", "#d9822b"]
MAX_MARKS = 2_000
# From this ratio of largest to smallest value on, a logarithmic axis shows more.
LOG_RATIO = 30

Trace = dict[str, Any]
Axis = dict[str, Any]


@dataclass(frozen=True)
class Drawing:
    """A plot: traces and two axes, or a note that says why there is nothing to draw.

    Attributes:
        summary: the plot in one sentence, for those who cannot see it.
        note: what is not shown, or why nothing is.
    """

    traces: Sequence[Trace] = ()
    x: Axis = field(default_factory=dict)
    y: Axis = field(default_factory=dict)
    summary: str = ""
    note: str = ""


def plain(text: object) -> str:
    """Text that Plotly draws as it is: it reads a little HTML, and templates."""
    return "".join(f"&#{ord(character)};" if character in "&<>{}" else character for character in str(text))


def axis(title: str, values: Sequence[float] | NDArray[np.float64] | None = None, **more: Any) -> Axis:
    """An axis; logarithmic where its values span decades."""
    made: Axis = {"title": plain(title), **more}
    if values is not None and len(values):
        low, high = float(np.min(values)), float(np.max(values))
        if low > 0 and high / low >= LOG_RATIO:
            made |= {"type": "log", **log_ticks(low, high)}
    return made


def log_ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks at 1, 2, 5, 10 with their full numbers; over many decades at powers of ten alone."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = [1, 2, 5] if last - first <= 2 else [1]
    stride = max(1, math.ceil((last - first) / 8))
    values = [float(f"{step}e{power}") for power in range(first, last + 1, stride) for step in steps]
    return {"tickmode": "array", "tickvals": values, "ticktext": [f"{value:g}" for value in values]}


def objective_title(objective: Objective) -> str:
    """An objective's name with unit and direction."""
    unit = f" ({objective.unit})" if objective.unit else ""
    return f"{objective.metric}{unit} · {'lower' if objective.direction == 'minimize' else 'higher'} is better"


def marks(name: str, x: Any, y: Any, color: Any, *, text: Sequence[str] | None = None, **marker: Any) -> Trace:
    """Points."""
    made: Trace = {"type": "scatter", "mode": "markers", "name": plain(name), "x": _list(x), "y": _list(y)}
    made["marker"] = {"color": color, "size": 6, "opacity": 0.75, **marker}
    if text is not None:
        made["text"] = [plain(each).replace("\n", "<br>") for each in text]
        made["hoverinfo"] = "text"
    return made


def line(name: str, x: Any, y: Any, color: str, *, shape: str = "linear", width: float = 2, **more: Any) -> Trace:
    """A line through points in order."""
    made: Trace = {"type": "scatter", "mode": "lines", "name": plain(name), "x": _list(x), "y": _list(y)}
    made["line"] = {"color": color, "width": width, "shape": shape}
    return {**made, **more}


def thinned(count: int, best: NDArray[np.int64], most: int = MAX_MARKS) -> NDArray[np.int64]:
    """Rows to draw of very many: a quarter are the best ones, the others lie evenly among all; in order.

    Args:
        best: (count,) rows, the best first.
    """
    if count <= most:
        return np.arange(count)
    kept = best[: most // 4]
    others = np.unique(np.linspace(0, count - 1, most - len(kept)).astype(np.int64))
    return np.union1d(kept, others)


def short(value: Any) -> str:
    """A value as people read it, four significant digits at most."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, int | float):
        return str(value)
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def described(number: int, config: Mapping[str, Any], lines: Sequence[str] = (), most: int = 12) -> str:
    """A trial in words, for whoever points at it."""
    settings = [f"{name} = {short(value)}" for name, value in list(config.items())[:most]]
    more = [f"and {len(config) - most} more"] if len(config) > most else []
    return "\n".join([f"trial {number}", *lines, *settings, *more])


def _list(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)
