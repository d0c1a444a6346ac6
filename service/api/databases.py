"""Live databases: attach, look at, list what can be tuned, give another password, detach.

To attach needs an admin's token: the service then connects to where it is told, with a password that it keeps. To give
it another password does as well. What is sent here may hold one, so refusals of a body quote nothing of it.
"""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service.api.dependencies import NO_NUL, CallerDep, Cursor, Limit, ServicesDep, read
from service.api.submission import IdempotencyKey, request_key
from service.databases import dry_run as attached_by
from service.json_body import BadBody, JsonRoute
from service.problems import answers
from service.store import databases
from tunewright.access import ProjectName
from tunewright.session_views import Attachment, DatabaseView, KnobView, NewPassword, ProbeView
from tunewright.views import Page

_SECRETS = {"dsn", "password"}


class SecretRoute(JsonRoute):
    """A route whose body may hold a secret."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_quietly(request: Request) -> Response:
            try:
                return await handle(request)
            except BadBody:
                raise BadBody(
                    "the body is no strict JSON, or a string in it holds a NUL; it may hold a password, so nothing of "
                    "it is shown here"
                ) from None

        return handle_quietly


router = APIRouter(prefix="/v1/databases", tags=["databases"], route_class=SecretRoute)


@router.post("", status_code=201, responses={200: {"model": DatabaseView}, **answers(409, 413, 415, 507)})
async def attach_database(
    attachment: Attachment,
    services: ServicesDep,
    caller: CallerDep,
    response: Response,
    dry_run: Annotated[bool, Query(description="Only look; nothing is kept, and the answer is a 200")] = False,
    idempotency_key: IdempotencyKey = None,
) -> DatabaseView:
    """Attach a database. It must answer; what its role may not do is told, with the statements that would allow it."""
    project = caller.project_for(attachment.project)
    found = await services.databases.look(attachment)
    if dry_run:
        response.status_code = 200
        return attached_by(found, project)
    # Of secrets not even a digest is kept; of what a DSN says, where it leads.
    address = found.address
    where = [address.host, address.port, address.user, address.database]
    body = attachment.model_dump(mode="json", exclude=_SECRETS)
    key = request_key(caller, idempotency_key, "attach", body, where)
    new = await to_thread(services.databases.new, found, project)
    return await to_thread(databases.add, services.repository.engine, new, key)


@router.get("")
async def list_databases(
    services: ServicesDep,
    caller: CallerDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    project: ProjectName | None = None,
    name: Annotated[
        str | None, Query(max_length=100, pattern=NO_NUL, description="Only the one of this name, in each project")
    ] = None,
) -> Page[DatabaseView]:
    """Attached databases, newest first."""
    return await read(
        services,
        databases.page,
        services.repository.engine,
        limit=limit,
        cursor=cursor,
        project=caller.confined(project),
        name=name,
    )


@router.get("/{database_id}", responses=answers(404))
async def get_database(database_id: str, services: ServicesDep) -> DatabaseView:
    """One database, and what was found when it was looked at last."""
    return await read(services, databases.view, services.repository.engine, database_id)


@router.delete("/{database_id}", status_code=204, responses=answers(404, 409, 507))
def detach_database(database_id: str, services: ServicesDep) -> None:
    """Forget a database and its password; refused while a session on it is not over."""
    databases.remove(services.repository.engine, database_id)


@router.post("/{database_id}:password", responses=answers(404, 409, 413, 415, 507))
async def replace_password(database_id: str, given: NewPassword, services: ServicesDep) -> DatabaseView:
    """Give a database another password. It is connected to with it first; where that fails, the former one stays.

    A session on it goes on over its connections, and takes the new password once the server asks for one.
    """
    kept = await services.databases.try_password(database_id, given)
    engine = services.repository.engine
    return await to_thread(databases.replace_password, engine, database_id, kept.source, kept.text)


@router.post("/{database_id}:probe", responses=answers(404, 409, 507))
async def probe_database(database_id: str, services: ServicesDep) -> ProbeView:
    """Look again: version, role, what works and what is lost without it, and the GRANTs that are missing."""
    found = await services.databases.probe(database_id)
    await to_thread(databases.note_probe, services.repository.engine, database_id, found)
    return found


@router.get("/{database_id}/knobs", responses=answers(404, 409))
async def list_knobs(database_id: str, services: ServicesDep) -> list[KnobView]:
    """Settings that may be tuned, as they stand now; what may lose data says in which words it must be accepted."""
    return await services.databases.knobs(database_id)
