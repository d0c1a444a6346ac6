"""Trials and their reports."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.dependencies import Cursor, Limit, ServicesDep, read
from service.problems import answers
from tunewright.views import LogPage, Measurement, Page, TrialDetail

MAX_LOG_CHARACTERS = 256 * 1024

router = APIRouter(prefix="/v1/trials", tags=["trials"])


@router.get("/{trial_id}", responses=answers(404))
async def get_trial(trial_id: str, services: ServicesDep) -> TrialDetail:
    """One trial with its jobs, tracebacks and the end of its log."""
    return await read(services, services.repository.trial, trial_id)


@router.get("/{trial_id}/reports", responses=answers(404))
async def list_reports(
    trial_id: str, services: ServicesDep, limit: Limit = 100, cursor: Cursor = None
) -> Page[Measurement]:
    """A trial's reports, by resource."""
    return await read(services, services.repository.reports, trial_id, limit=limit, cursor=cursor)


@router.get("/{trial_id}/log", responses=answers(404))
async def get_log(
    trial_id: str,
    services: ServicesDep,
    position: Annotated[int, Query(ge=0, lt=2**53, description="`next_position` of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LOG_CHARACTERS, description="Characters at most")] = 64 * 1024,
) -> LogPage:
    """What a trial has printed, in pages. Of a very long log the beginning and the end are kept."""
    return await read(services, services.repository.log, trial_id, position=position, limit=limit)
