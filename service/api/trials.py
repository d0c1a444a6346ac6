"""Trials and their reports."""

from __future__ import annotations

import logging
from asyncio import to_thread
from typing import Annotated

from fastapi import APIRouter, Query

from service.api.dependencies import Cursor, Limit, MetricOrFirst, Services, ServicesDep, read
from service.problems import answers
from service.store import trial_story
from service.store.repository import split_trial_id
from tunewright.story_views import Lineage, TrialCurve
from tunewright.views import LogPage, Measurement, Page, TrialDetail
from workers.checkpoints import CheckpointStore

log = logging.getLogger(__name__)

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


@router.get("/{trial_id}/curve", responses=answers(404))
async def get_trial_curve(
    trial_id: str,
    services: ServicesDep,
    metric: MetricOrFirst = None,
    points: Annotated[int, Query(ge=2, le=1000, description="Points per curve at most")] = 200,
) -> TrialCurve:
    """A trial's learning curve, and the median of the study's completed trials beside it."""
    return await to_thread(_curve, services, trial_id, metric, points)


@router.get("/{trial_id}/lineage", responses=answers(404))
async def get_lineage(trial_id: str, services: ServicesDep) -> Lineage:
    """Where a trial came from, what came of it, and which of its states are kept."""
    return await to_thread(_lineage, services, trial_id)


def _curve(services: Services, trial_id: str, metric: str | None, points: int) -> TrialCurve:
    repository = services.repository
    # First, so that a trial which does not exist is called that.
    study_id, _ = split_trial_id(trial_id)
    spec = repository.study(study_id).spec
    name = metric or spec.objectives[0].metric
    own, median, finished = trial_story.curve(repository.engine, trial_id, name, points)
    return TrialCurve(
        metric=name,
        direction=next((o.direction for o in spec.objectives if o.metric == name), None),
        resource=spec.fidelity.name if spec.fidelity else "resource",
        points=own,
        median=median,
        finished=finished,
    )


def _lineage(services: Services, trial_id: str) -> Lineage:
    ancestors, descendants = trial_story.lineage(services.repository.engine, trial_id)
    return Lineage(ancestors=ancestors, descendants=descendants, states=_states(services, trial_id))


def _states(services: Services, trial_id: str) -> list[float] | None:
    try:
        return CheckpointStore(services.settings.leg().checkpoint_url).kept(*split_trial_id(trial_id))
    except OSError as error:
        # An object store that is away is no reason to hide the rest.
        log.warning("states of trial %s cannot be looked at: %s", trial_id, error)
        return None
