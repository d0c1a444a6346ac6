"""Errors as problem documents (RFC 9457): every answer that is not a success has one form.

`type` names the kind of problem, `detail` says what happened and what to do, `errors` lists offending fields.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from optimizers.errors import OptimizerError
from service.caller import Forbidden
from service.json_body import BadBody
from service.logs import HEADER as REQUEST_ID
from service.logs import request_id
from service.store.cursors import BadCursor
from service.store.errors import Conflict, DatabaseUnusable, NotFound, WrongField
from service.store.timing import store_is_full
from tunewright.errors import SpaceError, SpecError, WorkloadError
from workers import logs

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
# Messages may quote what was sent, and a workload's import may have printed a lot.
MAX_MESSAGE = 4_000
MAX_ERRORS = 100


class FieldProblem(BaseModel):
    """One field that is wrong."""

    field: str
    message: str


class Problem(BaseModel):
    """A problem document."""

    type: str
    title: str
    status: int
    detail: str = ""
    errors: list[FieldProblem] = Field(default_factory=list)


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems; those of every route stand in `app.py`."""
    return {status: {"model": Problem, "description": HTTPStatus(status).phrase} for status in statuses}


def install(app: FastAPI) -> None:
    """Turn every exception of the rooms into its problem document, and say so in the OpenAPI document."""
    app.add_exception_handler(NotFound, _handler(404, "not-found", "No such resource"))
    app.add_exception_handler(Conflict, _handler(409, "conflict", "Not possible in the present state"))
    app.add_exception_handler(DatabaseUnusable, _handler(409, "database", "The database cannot be used now"))
    app.add_exception_handler(WrongField, _named_field)
    app.add_exception_handler(Forbidden, _handler(403, "forbidden", "Not allowed"))
    app.add_exception_handler(BadCursor, _field_handler("cursor"))
    app.add_exception_handler(WorkloadError, _field_handler("workload"))
    app.add_exception_handler(OptimizerError, _field_handler("optimizer"))
    app.add_exception_handler(SpaceError, _field_handler("config"))
    app.add_exception_handler(SpecError, _field_handler("study"))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(BadBody, _bad_body)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DBAPIError, store_problem)
    app.add_exception_handler(PoolTimeout, store_problem)
    app.add_exception_handler(Exception, _unexpected)
    _document_media_type(app)


def response(status: int, kind: str, title: str, detail: str = "", errors: Sequence[FieldProblem] = ()) -> JSONResponse:
    """A problem document as an answer."""
    problem = Problem(
        type=f"https://tunewright.dev/problems/{kind}", title=title, status=status, detail=detail, errors=list(errors)
    )
    return JSONResponse(problem.model_dump(), status_code=status, media_type=MEDIA_TYPE)


def field_problems(error: ValidationError | RequestValidationError) -> list[FieldProblem]:
    """What pydantic found, with dotted field names and without its own prefixes."""
    found = []
    for item in error.errors()[:MAX_ERRORS]:
        location = [str(part) for part in item["loc"] if part not in ("body", "query", "path", "header")]
        message = str(item["msg"]).removeprefix("Value error, ")
        if item["type"] == "string_too_short" and item["ctx"]["min_length"] == 1:
            message = "must not be empty: give at least 1 character"
        found.append(FieldProblem(field=_short(".".join(location)) or "body", message=_short(message)))
    return found


def _document_media_type(app: FastAPI) -> None:
    """FastAPI lists problems under the media type of the route's good answers; they have one of their own."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        for path in document["paths"].values():
            for operation in path.values():
                for status, answer in operation["responses"].items():
                    if status >= "4":
                        answer["content"] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _handler(status: int, kind: str, title: str) -> Any:
    def handle(_request: Request, error: Exception) -> JSONResponse:
        return response(status, kind, title, _short(str(error)))

    return handle


def _field_handler(field: str) -> Any:
    def handle(_request: Request, error: Exception) -> JSONResponse:
        return _wrong_field(field, str(error))

    return handle


def _named_field(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, WrongField)
    return _wrong_field(error.field, str(error))


def _wrong_field(field: str, message: str) -> JSONResponse:
    message = _short(message)
    problem = FieldProblem(field=field, message=message)
    return response(422, "invalid", "The request is not valid", message, [problem])


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = field_problems(error)
    detail = "; ".join(f"{problem.field}: {problem.message}" for problem in problems[:3])
    return response(422, "invalid", "The request is not valid", _short(detail), problems)


def _bad_body(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BadBody)
    return _wrong_field("body", error.detail)


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    allowed = _allowed(request) if error.status_code == 405 else ""
    kind, detail = {
        404: ("not-found", f"{path}: there is nothing at this address; /openapi.json lists all that there are"),
        405: ("method-not-allowed", f"{request.method[:20]} is not possible on {path}; it allows {allowed}"),
        413: ("too-large", error.detail),
        415: ("media-type", error.detail),
    }.get(error.status_code, ("http", error.detail))
    answer = response(error.status_code, kind, HTTPStatus(error.status_code).phrase, detail)
    answer.headers.update(error.headers or {})
    if allowed:
        answer.headers["Allow"] = allowed
    return answer


def _allowed(request: Request) -> str:
    """The methods that an address knows; the router itself tells those of the first route that it finds."""
    routes = request.app.routes
    # Under /v1/studies/import there is no study of that name, whatever /v1/studies/{study_id} allows.
    named = _documented(request.app.openapi()["paths"], request.url.path)
    found = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
        and (named is None or method.lower() in named)
    ]
    return ", ".join(found)


def _documented(paths: dict[str, Any], path: str) -> Any:
    """What is documented of an address that is named as it is, or ends with a verb, as /v1/sessions/{session_id}:stop
    does; None of others."""
    parent, _, last = path.rpartition("/")
    verb = f"}}:{last.rpartition(':')[2]}"
    return paths.get(path) or next(
        (found for known, found in paths.items() if known.endswith(verb) and known.rpartition("/")[0] == parent), None
    )


def store_problem(request: Request, error: Exception) -> JSONResponse:
    """The answer where the store could not be used."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if store_is_full(cause):
        log.error("the store's disk is full")
        return response(507, "store-full", "The store's disk is full", "Nothing was changed; free space and try again.")
    if isinstance(error, (OperationalError, InterfaceError, InternalError, PoolTimeout)):
        log.error("store: %s", cause)
        return response(503, "store-unavailable", "The store cannot be used now", "Nothing was changed; try again.")
    # A constraint or a statement that does not fit the schema: ours to mend, and trying again does not help.
    return _unexpected(request, error)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    number = request_id(request.scope)
    with logs.about(request=number):
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    detail = f"The service's log has the details, under request {number}."
    answer = response(500, "internal", "Something went wrong here", detail)
    answer.headers[REQUEST_ID] = number
    return answer


def _short(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}..."
