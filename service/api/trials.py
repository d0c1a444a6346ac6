"""Trials and their reports."""

from __future__ import annotations

import logging
from asyncio import to_thread
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import StreamingResponse

from service.api.dependencies import Cursor, Limit, MetricOrFirst, Services, ServicesDep, read
from service.problems import answers
from service.store import trial_story
from service.store.errors import NotFound
from service.store.repository import split_trial_id
from tunewright.story_views import Lineage, TrialCurve
from tunewright.study import first_goal
from tunewright.views import LogPage, Measurement, Page, TrialDetail
from workers import state_archive
from workers.checkpoints import CheckpointStore, StoredState

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


@router.get(
    "/{trial_id}/checkpoint",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-tar": {}}}, **answers(404, 503)},
)
def get_checkpoint(
    trial_id: str,
    services: ServicesDep,
    resource: Annotated[
        float | None, Query(ge=0, allow_inf_nan=False, description="What it was trained to; defaults to the newest")
    ] = None,
) -> StreamingResponse:
    """A state that a trial has saved, as a tar archive of the files that its workload wrote.

    The header `Tunewright-Resource` says what it has been trained to. When a study has ended, the states of its best
    trials are kept.
    """
    store = _checkpoints(services)
    try:
        state = _state(services, store, trial_id, resource)
    except OSError as error:
        log.warning("states of trial %s cannot be looked at: %s", trial_id, error)
        raise HTTPException(503, "The checkpoints cannot be reached now; try again.") from None
    headers = {
        "Content-Disposition": f'attachment; filename="checkpoint-{trial_id}-{state.resource:.12g}.tar"',
        "Content-Length": str(state_archive.length(state.files)),
        "Tunewright-Resource": repr(state.resource),
    }
    return StreamingResponse(state_archive.pieces(store, state.files), media_type="application/x-tar", headers=headers)


def _curve(services: Services, trial_id: str, metric: str | None, points: int) -> TrialCurve:
    repository = services.repository
    # First, so that a trial which does not exist is called that.
    study_id, _ = split_trial_id(trial_id)
    spec = repository.study(study_id).spec
    name = metric or first_goal(spec.objectives).metric
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
        return _checkpoints(services).kept(*split_trial_id(trial_id))
    except OSError as error:
        # An object store that is away is no reason to hide the rest.
        log.warning("states of trial %s cannot be looked at: %s", trial_id, error)
        return None


def _state(services: Services, store: CheckpointStore, trial_id: str, resource: float | None) -> StoredState:
    study, number = split_trial_id(trial_id)
    # Whether there is such a trial at all.
    services.repository.trial(trial_id)
    state = store.look(study, number, at=resource)
    if state is None:
        raise NotFound(_no_state(trial_id, resource, store.kept(study, number)))
    return state


def _no_state(trial_id: str, resource: float | None, kept: Sequence[float]) -> str:
    if kept:
        at = ", ".join(f"{each:.12g}" for each in kept)
        return f"trial {trial_id} has no state at {resource:.12g}; there is one at {at}"
    return (
        f"no state of trial {trial_id} is kept: its workload has saved none yet, a client keeps it that trains it, "
        "or its study has ended and others were better"
    )


def _checkpoints(services: Services) -> CheckpointStore:
    return CheckpointStore(services.settings.leg().checkpoint_url)
