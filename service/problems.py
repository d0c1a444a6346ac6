"""Errors as problem documents (RFC 9457): every answer that is not a success has one form.

`type` names the kind of problem, `detail` says what happened and what to do, `errors` lists offending fields.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from optimizers.errors import OptimizerError
from service.store.repository import BadCursor, Conflict, NotFound
from tunewright.errors import SpecError, TunewrightError, WorkloadError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


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
    """The `responses` of a route that may answer with these problems; 422 and 503 are added to all routes."""
    return {status: {"model": Problem, "content": {MEDIA_TYPE: {}}} for status in statuses}


def install(app: FastAPI) -> None:
    """Turn every exception of the rooms into its problem document."""
    app.add_exception_handler(NotFound, _handler(404, "not-found", "No such resource"))
    app.add_exception_handler(Conflict, _handler(409, "conflict", "Not possible in the present state"))
    app.add_exception_handler(BadCursor, _field_handler("cursor"))
    app.add_exception_handler(WorkloadError, _field_handler("workload"))
    app.add_exception_handler(OptimizerError, _field_handler("optimizer"))
    app.add_exception_handler(SpecError, _field_handler("study"))
    app.add_exception_handler(TunewrightError, _handler(500, "internal", "Something went wrong here"))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DBAPIError, _store)
    app.add_exception_handler(Exception, _unexpected)


def response(status: int, kind: str, title: str, detail: str = "", errors: Sequence[FieldProblem] = ()) -> JSONResponse:
    """A problem document as an answer."""
    problem = Problem(
        type=f"https://tunewright.dev/problems/{kind}", title=title, status=status, detail=detail, errors=list(errors)
    )
    return JSONResponse(problem.model_dump(), status_code=status, media_type=MEDIA_TYPE)


def field_problems(error: ValidationError | RequestValidationError) -> list[FieldProblem]:
    """What pydantic found, with dotted field names and without its own prefixes."""
    found = []
    for item in error.errors():
        location = [str(part) for part in item["loc"] if part not in ("body", "query", "path", "header")]
        message = str(item["msg"]).removeprefix("Value error, ")
        found.append(FieldProblem(field=".".join(location) or "body", message=message))
    return found


def _handler(status: int, kind: str, title: str) -> Any:
    def handle(_request: Request, error: Exception) -> JSONResponse:
        return response(status, kind, title, str(error))

    return handle


def _field_handler(field: str) -> Any:
    def handle(_request: Request, error: Exception) -> JSONResponse:
        problem = FieldProblem(field=field, message=str(error))
        return response(422, "invalid", "The request is not valid", str(error), [problem])

    return handle


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, (RequestValidationError, ValidationError))
    problems = field_problems(error)
    detail = "; ".join(f"{problem.field}: {problem.message}" for problem in problems[:3])
    return response(422, "invalid", "The request is not valid", detail, problems)


def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kinds = {404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "media-type"}
    answer = response(error.status_code, kinds.get(error.status_code, "http"), error.detail, error.detail)
    answer.headers.update(error.headers or {})
    return answer


def _store(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DBAPIError)
    text = str(error.orig)
    log.error("store: %s", text)
    if "disk is full" in text or str(errno.ENOSPC) in text:
        return response(507, "store-full", "The store's disk is full", "Nothing was changed; free space and try again.")
    return response(503, "store-unavailable", "The store cannot be reached", "Nothing was changed; try again.")


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return response(500, "internal", "Something went wrong here", "The service's log has the details.")
