"""Figures of a study, for notebooks and reports: the same plots as on the dashboard. Needs `plotly`.

from tunewright import plots
plots.history("06h1jh9o3qc1sija").show()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunewright.client import Client
from tunewright.errors import TunewrightError
from tunewright.views import Plot, StudySummary

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def history(study: StudySummary | str, *, client: Client | None = None) -> Figure:
    """Every trial's value, and the best so far, by trial."""
    return figure(study, "history", client=client)


def history_time(study: StudySummary | str, *, client: Client | None = None) -> Figure:
    """The best value so far over the time that the study ran."""
    return figure(study, "history_time", client=client)


def history_resource(study: StudySummary | str, *, client: Client | None = None) -> Figure:
    """The best value so far by the resource that all trials together were trained for."""
    return figure(study, "history_resource", client=client)


def pareto(study: StudySummary | str, *, client: Client | None = None) -> Figure:
    """Whole trials by two objectives, and the front."""
    return figure(study, "pareto", client=client)


def hypervolume(study: StudySummary | str, *, client: Client | None = None) -> Figure:
    """How much the front covers, by trial."""
    return figure(study, "hypervolume", client=client)


def importance(study: StudySummary | str, *, client: Client | None = None) -> Figure:
    """Share of the objective's variance that each parameter explains by itself, with its interval."""
    return figure(study, "importance", client=client)


def parallel(study: StudySummary | str, *, client: Client | None = None) -> Figure:
    """Whole trials as lines over all parameters."""
    return figure(study, "parallel", client=client)


def slice(study: StudySummary | str, parameter: str | None = None, *, client: Client | None = None) -> Figure:
    """The objective against one parameter."""
    return figure(study, "slice", parameter=parameter, client=client)


def contour(
    study: StudySummary | str, parameter: str | None = None, second: str | None = None, *, client: Client | None = None
) -> Figure:
    """The objective over two numeric parameters."""
    return figure(study, "contour", parameter=parameter, second=second, client=client)


def rungs(study: StudySummary | str, *, client: Client | None = None) -> Figure:
    """How many trials reached each resource."""
    return figure(study, "rungs", client=client)


def brackets(study: StudySummary | str, *, client: Client | None = None) -> Figure:
    """The learned weights of the brackets, or how many trials began in each."""
    return figure(study, "brackets", client=client)


def timeline(study: StudySummary | str, *, client: Client | None = None) -> Figure:
    """Who ran what, and when."""
    return figure(study, "timeline", client=client)


def figure(
    study: StudySummary | str,
    name: str,
    *,
    parameter: str | None = None,
    second: str | None = None,
    client: Client | None = None,
) -> Figure:
    """A plot by its name, as `Client.plots` lists them.

    Args:
        study: as a client gave it, or its id.
        client: to ask; without one, that of TUNEWRIGHT_URL.
    Raises:
        TunewrightError: plotly is not installed.
        ApiError: there is no such study, plot or parameter.
    """
    identifier = study if isinstance(study, str) else study.id
    if client is not None:
        return _figure(client.plot(identifier, name, parameter=parameter, second=second))
    with Client() as own:
        return _figure(own.plot(identifier, name, parameter=parameter, second=second))


def _figure(plot: Plot) -> Figure:
    try:
        from plotly.graph_objects import Figure
    except ImportError as error:
        raise TunewrightError("figures need plotly: pip install plotly") from error
    layout: dict[str, Any] = {
        "title": {"text": plot.title, "subtitle": {"text": plot.note}},
        "template": "plotly_white",
    }
    layout |= {"xaxis": _axis(plot.x), "yaxis": _axis(plot.y), "barmode": "stack"}
    return Figure(data=plot.data, layout=layout)


def _axis(axis: dict[str, Any]) -> dict[str, Any]:
    return {**axis, "title": {"text": axis.get("title", "")}}
