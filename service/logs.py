"""Requests in the log: an id for each, and one line about how it was answered.

The id is the client's own X-Request-ID where that is a sane one; the answer gives it back. Every line logged while
the request is worked on carries it, with the study and the trial that the path names.
"""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import method_label, route_label
from workers import logs, observed, tracing
from workers.logs import LogSettings

log = logging.getLogger(__name__)

HEADER = "X-Request-ID"
# Where handlers outside of all middleware find it.
SCOPE_KEY = "tunewright.request"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_NUMBER = "(0|[1-9][0-9]{0,8})"
_NAMED = re.compile(rf"/(?:studies|trials|jobs)/([0-9a-v]{{16}})(?:-{_NUMBER}|-j{_NUMBER}a{_NUMBER})?(?:[/:]|$)")
# Asked every few seconds by machines; they would hide what people and programs do.
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


def set_up(settings: LogSettings) -> None:
    """Let the service log and, if traces are wanted, trace."""
    observed.set_up("service", settings)


class RequestLog:
    """ASGI middleware: names, binds, traces and logs each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500
        request = scope[SCOPE_KEY] = _request_id(scope)

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request
            await send(message)

        with (
            logs.about(request=request, **_named(scope["path"])),
            tracing.resumed(tracing.sent(Headers(scope=scope))),
            tracing.span(method_label(scope), server=True) as span,
        ):
            try:
                await self._app(scope, receive, named)
            finally:
                _note(scope, status, time.perf_counter() - began)
                span.answered(method_label(scope), route_label(scope), status)


def request_id(scope: Scope) -> str:
    """The id of the request that is answered."""
    return str(scope.get(SCOPE_KEY, "unknown"))


def _note(scope: Scope, status: int, seconds: float) -> None:
    method, route = method_label(scope), route_label(scope)
    level = logging.DEBUG if route in _QUIET and status < 400 else logging.INFO
    if log.isEnabledFor(level):
        fields = {"method": method, "route": route, "status": status, "ms": round(seconds * 1e3, 2)}
        log.log(level, "%s %s %d", method, route, status, extra={logs.FIELDS: fields})


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(HEADER, "")
    return given if _SANE.fullmatch(given) else secrets.token_hex(8)


def _named(path: str) -> dict[str, str | int]:
    """The study, and the trial or the job and its attempt, that a path names."""
    found = _NAMED.search(path)
    if found is None:
        return {}
    study, *numbers = found.groups()
    named = zip(("trial", "job", "attempt"), numbers, strict=True)
    return {"study": study, **{name: int(number) for name, number in named if number is not None}}
