"""What people do to studies and trials beside steering them: name, tag and note them, try again, clone."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.api.dependencies import CallerDep, ServicesDep
from service.api.submission import IdempotencyKey, request_key, submit
from service.json_body import JsonRoute
from service.problems import answers
from tunewright.study import Notes, Priority, StudyName, Tags, changed_spec
from tunewright.views import QueuedConfig, Study, TrialDetail

router = APIRouter(prefix="/v1", route_class=JsonRoute)

MAX_REVISION = 2**31 - 1


class StudyChanges(BaseModel):
    """What is to be different; what is left out stays.

    Attributes:
        tags: all that the study has from now on.
        revision: of the study as it was when the changes were thought of; refused if it was changed since.
    """

    model_config = ConfigDict(extra="forbid")

    name: StudyName | None = None
    tags: Tags | None = None
    notes: Notes | None = None
    priority: Priority | None = None
    revision: int | None = Field(default=None, ge=0, le=MAX_REVISION)


@router.patch("/studies/{study_id}", tags=["studies"], responses=answers(404, 409, 413, 415, 507))
def change_study(study_id: str, changes: StudyChanges, services: ServicesDep) -> Study:
    """Change a study's name, tags, notes or priority, also while it runs and after it has ended."""
    given = changes.model_dump(exclude_none=True, exclude={"revision"})
    study = services.repository.change(study_id, given, changes.revision)
    services.conductor.nudge()
    return study


class TrialChanges(BaseModel):
    """What is to be different of a trial."""

    model_config = ConfigDict(extra="forbid")

    notes: Notes


@router.patch("/trials/{trial_id}", tags=["trials"], responses=answers(404, 413, 415, 507))
def change_trial(trial_id: str, changes: TrialChanges, services: ServicesDep) -> TrialDetail:
    """Note something about a trial; an empty text removes what was noted."""
    return services.repository.note_trial(trial_id, changes.notes)


@router.post(
    "/studies/{study_id}/trials/{number}/retry", status_code=201, tags=["trials"], responses=answers(404, 409, 507)
)
def retry_trial(
    study_id: str,
    number: Annotated[int, Path(ge=0, lt=10**9)],
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> QueuedConfig:
    """Try a failed trial again: its configuration is enqueued once more, for a new trial that names this one."""
    key = request_key(caller, idempotency_key, study_id, "retry", number)
    return services.repository.retry(study_id, number, key)


@router.post("/studies/{study_id}/clone", status_code=201, tags=["studies"], responses=answers(404, 409, 413, 415, 507))
def clone_study(
    study_id: str,
    services: ServicesDep,
    caller: CallerDep,
    changes: Annotated[
        dict[str, Any] | None, Body(description="Fields of the study to replace, such as name, seed, budget, optimizer")
    ] = None,
    idempotency_key: IdempotencyKey = None,
) -> Study:
    """Submit a study like another one, which may be in any state. Notes stay with the study that they are about."""
    try:
        spec = changed_spec(services.repository.study(study_id).spec, {"notes": "", **(changes or {})})
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    return submit(services, caller, spec, request_key(caller, idempotency_key, study_id, "clone", changes or {}))
