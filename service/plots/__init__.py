"""What is drawn of a study: data for Plotly, made on the server, so that pages, notebooks and tables show the same.

However many trials a study has, a plot has a few thousand points at most; what is left out is said in its note.
"""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

from sqlalchemy import Engine

from service.exporting import cell
from service.plots import history, parameters, workers
from service.plots.columns import Columns
from service.plots.drawing import Drawing
from service.store.errors import NotFound
from tunewright.errors import SpecError
from tunewright.space import Categorical, Ordinal
from tunewright.views import Plot, PlotInfo, Study


@dataclass(frozen=True)
class _Kind:
    """A plot that can be asked for; `chosen` are the parameters of the space that it is of (`numeric`: numbers)."""

    title: str
    draw: Callable[..., Drawing]
    chosen: tuple[str, ...] = ()
    numeric: bool = False
    fits: Callable[[Study], bool] = lambda study: True


def _several(study: Study) -> bool:
    return sum(objective.bound is None for objective in study.spec.objectives or []) > 1


def _has_fidelity(study: Study) -> bool:
    return study.spec.fidelity is not None and study.spec.fidelity.max > 1


PLOTS = {
    "history": _Kind("Values by trial", history.history),
    "history_time": _Kind("Best value over time", lambda columns: history.best_by(columns, "seconds")),
    "history_resource": _Kind(
        "Best value by resource spent", lambda columns: history.best_by(columns, "resource"), fits=_has_fidelity
    ),
    "pareto": _Kind("Pareto front", history.pareto, fits=_several),
    "hypervolume": _Kind("Hypervolume", history.volume, fits=_several),
    "importance": _Kind("Importance of parameters", parameters.importance),
    "parallel": _Kind("Parallel coordinates", parameters.parallel),
    "slice": _Kind("Slice", parameters.parameter_slice, chosen=("parameter",)),
    "contour": _Kind("Contour", parameters.contour, chosen=("parameter", "second"), numeric=True),
    "rungs": _Kind("Rungs", workers.rungs, fits=_has_fidelity),
    "brackets": _Kind("Brackets", workers.brackets, fits=_has_fidelity),
    "timeline": _Kind("Timeline of workers", workers.timeline),
}


def listed(study: Study) -> list[PlotInfo]:
    """The plots that say something about a study."""
    return [
        PlotInfo(name=name, title=kind.title, choose=list(kind.chosen), parameters=_choices(study, kind))
        for name, kind in PLOTS.items()
        if kind.fits(study) and len(_choices(study, kind)) >= len(kind.chosen)
    ]


def draw(engine: Engine, study: Study, name: str, parameter: str | None, second: str | None) -> Plot:
    """Draw one plot.

    Raises:
        NotFound: there is no plot of this name.
        SpecError: a parameter is not in the study's space.
    """
    if name not in PLOTS:
        raise NotFound(f"plot {name[:100]} does not exist; known: {', '.join(PLOTS)}")
    kind = PLOTS[name]
    chosen = _chosen(study, kind, parameter, second)
    drawing = kind.draw(_columns(engine, study), *chosen)
    return Plot(
        name=name,
        title=f"{kind.title}: {' and '.join(chosen)}" if chosen else kind.title,
        summary=drawing.summary,
        note=drawing.note,
        data=list(drawing.traces),
        x=drawing.x,
        y=drawing.y,
    )


def table(plot: Plot) -> str:
    """A plot's points as CSV: name of the trace, x, y, and z of a surface; texts as in exported tables."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["trace", "x", "y", "value"])
    for trace in plot.data:
        name, x, y = trace.get("name", ""), trace.get("x", []), trace.get("y", [])
        if "z" in trace:
            rows = ([name, x[j], y[i], value] for i, row in enumerate(trace["z"]) for j, value in enumerate(row))
        else:
            starts = trace.get("base", [""] * len(x))
            rows = ([name, a, b, start] for a, b, start in zip(x, y, starts, strict=True) if a is not None)
        writer.writerows(map(_spelled, each) for each in rows)
    return out.getvalue()


def _spelled(value: Any) -> Any:
    """A cell; a text as it was before `drawing.plain`, but for one that a spreadsheet would take for a formula."""
    if not isinstance(value, str):
        return value
    text = html.unescape(value)
    # Choices are drawn as texts, also where they are numbers.
    return text if _is_number(text) else cell(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _chosen(study: Study, kind: _Kind, parameter: str | None, second: str | None) -> list[str]:
    names = list(study.spec.space.names) if study.spec.space else []
    given = {"parameter": parameter, "second": second}
    left = [name for name in _choices(study, kind) if name not in given.values()]
    found = []
    for field in kind.chosen:
        value = given[field]
        if value is None:
            if not left:
                raise SpecError(f"{field}: the study's space has too few parameters for this plot")
            value = left.pop(0)
        elif value not in names:
            raise SpecError(f'{field}: "{value[:100]}" is not a parameter of the study; known: {", ".join(names[:50])}')
        found.append(value)
    return found


def _choices(study: Study, kind: _Kind) -> list[str]:
    """Parameters that a plot may be of."""
    space = study.spec.space
    if space is None:
        return []
    return [name for name in space.searched if not (kind.numeric and isinstance(space[name], Categorical | Ordinal))]


def _columns(engine: Engine, study: Study) -> Columns:
    # The plots of a page are asked for at once: between two changes of the study they share what was read, and whoever
    # comes while it is being read waits for that.
    with _READING:
        return _read(_Key(engine, study))


class _Key:
    """A study at one moment, as the key of what was read of it."""

    def __init__(self, engine: Engine, study: Study) -> None:
        self.engine, self.study = engine, study
        self._same = (id(engine), study.id, study.state, study.active_seconds, str(sorted(study.counts.items())))

    def __hash__(self) -> int:
        return hash(self._same)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._same == other._same


_READING = Lock()


# One: a large study takes some hundred megabytes.
@lru_cache(maxsize=1)
def _read(key: _Key) -> Columns:
    return Columns(key.engine, key.study)
