"""What is drawn of a study."""

from __future__ import annotations

from asyncio import to_thread
from typing import Annotated

from fastapi import APIRouter, Query, Response

from service import plots
from service.api.dependencies import Services, ServicesDep, read
from service.problems import answers
from tunewright.views import Plot, PlotInfo

router = APIRouter(prefix="/v1/studies", tags=["plots"])

Parameter = Annotated[
    str | None, Query(max_length=200, description="A parameter of the study's space; the first by default")
]
Second = Annotated[str | None, Query(max_length=200, description="Another one, for plots over two")]


@router.get("/{study_id}/plots", responses=answers(404))
async def list_plots(study_id: str, services: ServicesDep) -> list[PlotInfo]:
    """The plots that say something about a study."""
    return plots.listed(await read(services, services.repository.study, study_id))


@router.get("/{study_id}/plots/{plot}", responses=answers(404))
async def get_plot(
    study_id: str, plot: str, services: ServicesDep, parameter: Parameter = None, second: Second = None
) -> Plot:
    """One plot as data for Plotly, thinned for drawing."""
    return await to_thread(_draw, services, study_id, plot, parameter, second)


@router.get(
    "/{study_id}/plots/{plot}/table",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}}, **answers(404)},
)
async def get_plot_table(
    study_id: str, plot: str, services: ServicesDep, parameter: Parameter = None, second: Second = None
) -> Response:
    """The points of a plot as CSV."""
    drawn = await to_thread(_draw, services, study_id, plot, parameter, second)
    headers = {"Content-Disposition": f'attachment; filename="{drawn.name}.csv"'}
    return Response(plots.table(drawn), media_type="text/csv; charset=utf-8", headers=headers)


def _draw(services: Services, study_id: str, plot: str, parameter: str | None, second: str | None) -> Plot:
    repository = services.repository
    return plots.draw(repository.engine, repository.study(study_id), plot, parameter, second)
