"""What routes are given: the store, the conductor, the event feed and the workloads of this application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, ParamSpec, TypeVar

from fastapi import Depends, Query, Request

from service.caller import Caller
from service.conductor import Conductor
from service.databases import Databases
from service.desks import Desks
from service.events import EventFeed
from service.serving import Models, start_served
from service.settings import ServiceSettings
from service.store import databases, labelling, sessions
from service.store.errors import NotFound
from service.store.repository import Repository
from service.workload_catalog import WorkloadCatalog
from tunewright.study import METRIC_NAME

MAX_PAGE = 500
# A text that every store can be asked about.
NO_NUL = r"^[^\x00]*$"
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """The parts of a running application."""

    settings: ServiceSettings
    repository: Repository
    conductor: Conductor
    feed: EventFeed
    workloads: WorkloadCatalog
    desks: Desks

    @cached_property
    def databases(self) -> Databases:
        """Live databases that are attached."""
        return Databases(self.settings, self.repository.engine)

    @cached_property
    def models(self) -> Models:
        """Trained recommenders that answer requests."""
        return Models(partial(start_served, self))


# Not `def`: FastAPI would send every request through a thread for it.
async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def read(services: Services, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Read from the store without holding up other requests.

    A server's answer is awaited in a thread. SQLite answers out of this process's memory in less than a millisecond
    and, in WAL mode, waits for no writer; the two changes of thread would cost more than the query.
    """
    if services.repository.embedded:
        return call(*args, **kwargs)
    return await asyncio.to_thread(call, *args, **kwargs)


async def _caller(request: Request) -> Caller:
    found: Caller = request.scope["caller"]
    return found


async def own_study(request: Request) -> None:
    """Refuse a request about what is of another project (a study, trial, job, ...), as if there were no such thing.

    Raises:
        NotFound: it is not the caller's.
    """
    caller = request.scope["caller"]
    if caller is None or caller.only is None:
        return
    for name, project_of in _PROJECT_OF.items():
        given = request.path_params.get(name)
        if given is None:
            continue
        services = await _services(request)
        if await read(services, project_of, services, given) != caller.only:
            raise NotFound(f"{name.removesuffix('_id')} {given[:100]} does not exist")


def _of_part(services: Services, identifier: str) -> str | None:
    return services.repository.project_of(identifier.rpartition("-")[0])


# What a path may name, and how that names its project.
_PROJECT_OF: dict[str, Callable[[Services, str], str | None]] = {
    "study_id": lambda services, study: services.repository.project_of(study),
    "trial_id": _of_part,
    "job_id": _of_part,
    "database_id": lambda services, database: databases.project_of(services.repository.engine, database),
    "session_id": lambda services, session: sessions.project_of(services.repository.engine, session),
    "labelling_id": lambda services, found: labelling.project_of(services.repository.engine, found),
}

ServicesDep = Annotated[Services, Depends(_services)]
CallerDep = Annotated[Caller, Depends(_caller)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Items per page")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before")]
MetricOrFirst = Annotated[
    str | None,
    Query(max_length=100, pattern=METRIC_NAME, description="Defaults to the first objective without a bound"),
]
