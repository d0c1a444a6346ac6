"""A study's results to take away."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from service.api.dependencies import ServicesDep
from service.exporting import MEDIA_TYPES, Format, What, export
from service.problems import answers

router = APIRouter(prefix="/v1/studies", tags=["studies"])


@router.get(
    "/{study_id}/export",
    response_class=StreamingResponse,
    responses={200: {"content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()}}, **answers(404)},
)
def export_study(
    study_id: str,
    services: ServicesDep,
    format: Annotated[Format, Query(description="json is the whole study, and can be imported again")] = Format.CSV,
    what: Annotated[What, Query(description="Rows of a csv or parquet table")] = What.TRIALS,
) -> StreamingResponse:
    """Export a study's trials or reports as a table, or the whole study as a document."""
    study = services.repository.study(study_id)
    pieces = export(services.repository.engine, study, format, what)
    part = "" if format is Format.JSON else f"-{what}"
    headers = {"Content-Disposition": f'attachment; filename="study-{study.id}{part}.{format}"'}
    return StreamingResponse(pieces, media_type=MEDIA_TYPES[format], headers=headers)
