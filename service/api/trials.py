"""Trials and their reports."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.dependencies import Cursor, Limit, ServicesDep, read
from service.problems import answers
from tunewright.views import Measurement, Page, TrialDetail

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
