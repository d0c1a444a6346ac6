"""How a study is submitted, whichever request brings it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header

from service.api.dependencies import Services
from service.caller import Caller
from service.store.request_keys import RequestKey
from tunewright.study import StudySpec
from tunewright.views import Study
from workers.study_runner import make_optimizer

IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="Repeat a request safely: the same key gives the same answer"),
]


def request_key(caller: Caller, key: str | None, *sent: Any) -> RequestKey | None:
    """What tells a request from others that come with the same key; None without one."""
    return None if key is None else RequestKey.of(key, *sent, project=caller.project)


def complete(services: Services, caller: Caller, spec: StudySpec) -> StudySpec:
    """A study with all that its workload and its caller's token say, checked as far as that goes without storing it.

    Raises:
        SpecError, WorkloadError, OptimizerError: it is wrong; names the field.
        Forbidden: its project is not the caller's.
    """
    project = caller.project_for(spec.project)
    found = services.workloads.complete(spec).model_copy(update={"project": project})
    # Everything that the optimizer would refuse later is refused now.
    make_optimizer(found)
    if found.resources is not None:
        services.conductor.check(found.resources)
    return found


def submit(services: Services, caller: Caller, spec: StudySpec, key: RequestKey | None) -> Study:
    """Complete a study from its workload, check it, store it, and have it started as soon as there is room.

    Raises:
        SpecError, WorkloadError, OptimizerError: it is wrong; names the field.
        Forbidden: its project is not the caller's.
        Conflict: the key was used for another request.
    """
    study = services.repository.create_study(complete(services, caller, spec), key, only=caller.only)
    services.conductor.nudge(study.id)
    return study
