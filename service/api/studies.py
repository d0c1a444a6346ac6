"""Studies: submit, list, look at, steer, delete.

Reads are `async` and leave the event loop for the store alone, if at all (`dependencies.read`). FastAPI would run a
plain `def` in a thread and check its answer in another one, which on two processors costs more than the query.
"""

from __future__ import annotations

from asyncio import to_thread
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from service.api.dependencies import CallerDep, Cursor, Limit, MetricOrFirst, ServicesDep, read
from service.api.submission import IdempotencyKey, request_key, submit
from service.json_body import JsonRoute
from service.problems import answers
from service.store import progression
from service.store.repository import Repository
from tunewright.access import ProjectName
from tunewright.errors import SpecError
from tunewright.story_views import Progression
from tunewright.study import Budget, StudySpec, StudyState, Tag, TrialState, first_goal
from tunewright.views import Curves, Improvement, Page, QueuedConfig, Study, StudySummary, Trial
from workers.checkpoints import CheckpointStore
from workers.journal import Wanted

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=JsonRoute)


@router.post("", status_code=201, responses=answers(409, 413, 415, 507))
def create_study(
    spec: StudySpec, services: ServicesDep, caller: CallerDep, idempotency_key: IdempotencyKey = None
) -> Study:
    """Submit a study. It is completed from its workload, checked, stored, and started as soon as there is room."""
    return submit(services, caller, spec, request_key(caller, idempotency_key, spec.model_dump(mode="json")))


@router.get("")
async def list_studies(
    services: ServicesDep,
    caller: CallerDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: StudyState | None = None,
    project: ProjectName | None = None,
    tag: Annotated[list[Tag] | None, Query(max_length=50, description="Only those that have all of these tags")] = None,
) -> Page[StudySummary]:
    """Studies, newest first."""
    return await read(
        services,
        services.repository.studies,
        limit=limit,
        cursor=cursor,
        state=state,
        project=caller.confined(project),
        tags=tag or (),
    )


@router.get("/{study_id}", responses=answers(404))
async def get_study(study_id: str, services: ServicesDep) -> Study:
    """One study with its state, progress, incumbent and full specification."""
    return await read(services, services.repository.study, study_id)


@router.post("/{study_id}/pause", status_code=202, responses=answers(404, 409, 507))
def pause_study(study_id: str, services: ServicesDep) -> Study:
    """Pause: running trials save their state and stop; nothing new starts until the study is resumed."""
    return _steer(services, study_id, Wanted.PAUSE)


@router.post("/{study_id}/resume", status_code=202, responses=answers(404, 409, 507))
def resume_study(study_id: str, services: ServicesDep) -> Study:
    """Resume a paused study: trials go on from their last state."""
    return _steer(services, study_id, Wanted.RUN)


@router.post("/{study_id}/cancel", status_code=202, responses=answers(404, 409, 507))
def cancel_study(study_id: str, services: ServicesDep) -> Study:
    """Cancel for good: running trials are stopped; everything measured so far stays."""
    return _steer(services, study_id, Wanted.CANCEL)


class Enqueue(BaseModel):
    """A configuration to try; what it leaves out are the defaults of the search space."""

    model_config = ConfigDict(extra="forbid")

    config: dict[str, Any]


@router.post("/{study_id}/queue", status_code=201, responses=answers(404, 409, 413, 415, 507))
def enqueue_config(
    study_id: str, body: Enqueue, services: ServicesDep, caller: CallerDep, idempotency_key: IdempotencyKey = None
) -> QueuedConfig:
    """Enqueue a configuration. New trials take what is enqueued, in order, before what the optimizer chooses."""
    key = request_key(caller, idempotency_key, study_id, body.config)
    return services.repository.enqueue(study_id, body.config, key)


@router.get("/{study_id}/queue", responses=answers(404))
async def list_queue(
    study_id: str, services: ServicesDep, limit: Limit = 100, cursor: Cursor = None
) -> Page[QueuedConfig]:
    """Configurations that were enqueued, oldest first, and the trials that they became."""
    return await read(services, services.repository.queued, study_id, limit=limit, cursor=cursor)


class Extension(BaseModel):
    """The budget that a study has from now on, what it has used already included."""

    model_config = ConfigDict(extra="forbid")

    budget: Budget


@router.post("/{study_id}/extend", status_code=202, responses=answers(404, 409, 413, 415, 507))
def extend_study(study_id: str, body: Extension, services: ServicesDep) -> Study:
    """Extend a study that has ended: it goes on under a larger budget, with all that it knows."""
    study = services.repository.extend(study_id, body.budget)
    services.conductor.nudge()
    return study


@router.delete("/{study_id}", status_code=204, responses=answers(404, 409, 507))
def delete_study(study_id: str, services: ServicesDep) -> None:
    """Delete a study that is over, with its trials, reports and checkpoints."""
    services.repository.require_over(study_id)
    # Files first: when that fails the study is still there, and deleting it can be tried again.
    CheckpointStore(services.settings.leg().checkpoint_url).remove(study_id)
    services.repository.delete_study(study_id)


@router.get("/{study_id}/trials", responses=answers(404))
async def list_trials(
    study_id: str, services: ServicesDep, limit: Limit = 100, cursor: Cursor = None, state: TrialState | None = None
) -> Page[Trial]:
    """A study's trials, newest first."""
    return await read(services, services.repository.trials, study_id, limit=limit, cursor=cursor, state=state)


@router.get("/{study_id}/curves", responses=answers(404))
async def get_curves(
    study_id: str,
    services: ServicesDep,
    metric: MetricOrFirst = None,
    trials: Annotated[int, Query(ge=1, le=1000, description="Curves to send at most")] = 200,
    points: Annotated[int, Query(ge=2, le=1000, description="Points per curve at most")] = 100,
) -> Curves:
    """Learning curves, thinned for drawing: the incumbent's and those of the newest trials."""
    return await to_thread(_curves, services.repository, study_id, metric, trials, points)


@router.get("/{study_id}/improvements", responses=answers(404))
async def list_improvements(study_id: str, services: ServicesDep) -> list[Improvement]:
    """How the incumbent got better, oldest first."""
    return await read(services, services.repository.improvements, study_id)


@router.get("/{study_id}/progression", responses=answers(404))
async def get_progression(
    study_id: str,
    services: ServicesDep,
    points: Annotated[int, Query(ge=2, le=1000, description="Steps to send at most")] = 300,
) -> Progression:
    """How the incumbent got better by what had been spent: trials, time and resource."""
    study = await read(services, services.repository.study, study_id)
    return await to_thread(progression.read, services.repository.engine, study, points)


def _curves(repository: Repository, study_id: str, metric: str | None, trials: int, points: int) -> Curves:
    spec = repository.study(study_id).spec
    name = metric or first_goal(spec.objectives).metric
    curves, total = repository.curves(study_id, name, trials=trials, points=points)
    direction = next((o.direction for o in spec.objectives if o.metric == name), "minimize")
    if spec.fidelity is None:
        raise SpecError(f"study {study_id} has no fidelity")
    return Curves(metric=name, direction=direction, resource=spec.fidelity.name, curves=curves, total=total)


def _steer(services: ServicesDep, study_id: str, wanted: Wanted) -> Study:
    study = services.repository.steer(study_id, wanted)
    services.conductor.nudge()
    return study
