"""Letting requests in: who asks, how often, with which scope; and writing down what came of it.

This stands before routing, so that it holds for every route, page and file, and for addresses that do not exist.
`scopes` says what a request needs; `api.dependencies` sees that nobody meets a study of another project.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems, scopes
from service.audit import AuditTrail
from service.auth import KNOWN_SECONDS, Authenticator, TooManyFailures
from service.caller import LOCAL, Caller
from service.rate_limit import RateLimit, client_of
from service.settings import ServiceSettings
from service.store.audit import Act
from tunewright.access import Scope as Needed

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What is not so named could be set by a page of a neighbouring host name.
COOKIE_WITH_TLS = "__Host-tunewright"
COOKIE = "tunewright"


@dataclass(frozen=True)
class Gate:
    """What a running application needs to let requests in."""

    authenticator: Authenticator
    trail: AuditTrail


class Refusal(Exception):
    """The request is not let in; how it is answered."""

    def __init__(self, status: int, kind: str, title: str, detail: str, headers: Mapping[str, str] | None = None):
        super().__init__(detail)
        self.status = status
        self.answer = problems.response(status, kind, title, detail)
        self.answer.headers.update(headers or {})


@dataclass(frozen=True)
class Asked:
    """What of a request decides whether it is let in.

    Attributes:
        token: what was sent to say who asks, a token or a session's; None when there is nothing.
        by_cookie: a browser sent it by itself.
    """

    method: str
    path: str
    query: str
    address: str
    headers: Headers = field(repr=False)
    token: str | None = field(repr=False)
    by_cookie: bool

    @classmethod
    def of(cls, scope: Scope, cookie: str) -> Asked:
        headers = Headers(scope=scope)
        client = scope.get("client")
        sent = headers.get("authorization")
        session = None if sent is not None else _cookie(headers, cookie)
        return cls(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            address=client[0] if client else "unknown",
            headers=headers,
            token=_bearer(sent) if sent is not None else session,
            by_cookie=session is not None,
        )

    @property
    def client(self) -> str:
        """Who asks, as far as the address tells."""
        return client_of(self.address)


class Access:
    """ASGI middleware that puts a request's `Caller` into its scope, as `caller`, or answers why it is not let in."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._cookie = cookie_name(settings)
        self._rate = RateLimit(settings.rate_limit, settings.rate_burst)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["caller"] = None
        if scope["type"] == "http" and _CONTROL.search(scope["path"]):
            # Routes are found without regard to a line feed at the end, and what a path needs is not.
            detail = "there is nothing at this address: it has a control character"
            await problems.response(404, "not-found", "Not Found", detail)(scope, receive, send)
            return
        if scope["type"] != "http" or scope["path"] in scopes.PROBES:
            await self._app(scope, receive, send)
            return
        gate: Gate = scope["app"].state.gate
        asked = Asked.of(scope, self._cookie)
        try:
            scope["caller"] = caller = await self._admit(gate, asked)
            self._require(asked, caller)
        except Refusal as refusal:
            gate.trail.refused(Act.of(scope["caller"], asked.method, asked.path, refusal.status, asked.address))
            await _answer(asked, refusal)(scope, receive, send)
            return
        except (DBAPIError, PoolTimeout) as error:
            await problems.store_problem(Request(scope), error)(scope, receive, send)
            return
        if asked.method not in scopes.SAFE:
            await self._audited(gate, asked, scope, receive, send)
        elif asked.path == scopes.EVENTS and caller is not None and caller.token is not None:
            await self._while_valid(gate, asked.token or "", scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _admit(self, gate: Gate, asked: Asked) -> Caller | None:
        """Who asks; None where everybody may."""
        if scopes.needed(asked.method, asked.path) is None:
            self._limit(asked.client)
            return None
        if not await gate.authenticator.required():
            self._limit(asked.client)
            return LOCAL
        caller = await known(gate.authenticator, asked.token, asked.client)
        self._limit(caller.token or asked.client)
        return caller

    def _limit(self, client: str) -> None:
        wait = self._rate.take(client, self._clock())
        if wait > 0:
            raise too_many(wait, "More requests than rate_limit allows; wait, or let it be raised.")

    def _require(self, asked: Asked, caller: Caller | None) -> None:
        if asked.method not in scopes.SAFE:
            _require_own_origin(asked, caller)
        need = scopes.needed(asked.method, asked.path)
        if caller is None or need is None:
            return
        if not caller.scope.includes(need):
            raise _forbidden(f"This needs a token with the scope {need}; yours has {caller.scope}.")
        if scopes.needs_every_project(asked.path) and caller.only is not None:
            raise _forbidden(f'This needs a token for all projects; yours is for "{caller.only}".')

    async def _audited(self, gate: Gate, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            act = Act.of(scope["caller"], asked.method, scopes.audited_as(asked.path), status, asked.address)
            if status in (401, 403, 429):
                gate.trail.refused(act)
            else:
                gate.trail.done(act, repeats=scopes.repeats(asked.path))

    async def _while_valid(self, gate: Gate, token: str, scope: Scope, receive: Receive, send: Send) -> None:
        """A stream ends when its token does."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        serving = asyncio.ensure_future(self._app(scope, receive, noted))
        try:
            while True:
                done, _ = await asyncio.wait({serving}, timeout=KNOWN_SECONDS)
                if done:
                    serving.result()
                    return
                if not await _still_valid(gate.authenticator, token):
                    break
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        if begun:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def known(authenticator: Authenticator, token: str | None, client: str) -> Caller:
    """The holder of a token.

    Raises:
        Refusal: there is none, or the client has sent too many wrong ones.
    """
    try:
        caller = None if token is None else await authenticator.caller(token, client)
    except TooManyFailures as failures:
        raise too_many(failures.seconds, "Too many wrong tokens came from your address; wait.") from None
    if caller is None:
        # Not which: a token that is expired or revoked was right once, and that is nobody's business.
        detail = "Send a valid token: Authorization: Bearer tw_... (TUNEWRIGHT_TOKEN for the client and command line)."
        raise Refusal(401, "unauthorized", "No valid token", detail, {"WWW-Authenticate": "Bearer"})
    return caller


def too_many(seconds: float, detail: str) -> Refusal:
    """The refusal of somebody who has to wait."""
    return Refusal(429, "too-many", "Too many requests", detail, {"Retry-After": str(max(1, math.ceil(seconds)))})


def cookie_name(settings: ServiceSettings) -> str:
    """The cookie that holds a session."""
    return COOKIE_WITH_TLS if settings.tls else COOKIE


def document(app: FastAPI) -> None:
    """Say in the OpenAPI document which scope each operation needs, and that it may be refused.

    Before `problems.install`, which says how refusals look.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        made = generate()
        made["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "Made with `tunewright token create`."}
        }
        for path, operations in made["paths"].items():
            for method, operation in operations.items():
                _document(operation, scopes.needed(method.upper(), path))
        return made

    app.openapi = openapi  # type: ignore[method-assign]


def _document(operation: dict[str, Any], need: Needed | None) -> None:
    if need is None:
        operation["security"] = []
        return
    # A service that asks for no tokens answers all the same.
    operation["security"] = [{"token": [str(need)]}, {}]
    for status in (401, 403, 429):
        operation["responses"].setdefault(str(status), {"description": HTTPStatus(status).phrase})


def _answer(asked: Asked, refusal: Refusal) -> Response:
    if refusal.status == 401 and asked.method == "GET" and scopes.is_page(asked.path):
        wanted = f"{asked.path}?{asked.query}" if asked.query else asked.path
        return RedirectResponse(f"{scopes.LOGIN}?next={quote(wanted, safe='/')}", 303)
    return refusal.answer


def _forbidden(detail: str) -> Refusal:
    return Refusal(403, "forbidden", "Not allowed", detail)


def _require_own_origin(asked: Asked, caller: Caller | None) -> None:
    """A page of another origin must not change anything in the name of whoever looks at it.

    Browsers say in `Origin` whose page sends a request that changes something. Who sends a token by themselves needs
    no such protection; a cookie, or being on this machine, is no intention.
    """
    if caller is not None and caller.token is not None and not asked.by_cookie:
        return
    origin = asked.headers.get("origin")
    foreign = origin is not None and origin.partition("://")[2] != asked.headers.get("host")
    if foreign or (origin is None and asked.by_cookie):
        raise _forbidden("Only a page of this service may send this with your session; other programs send a token.")


async def _still_valid(authenticator: Authenticator, token: str) -> bool:
    try:
        return await authenticator.still_valid(token)
    except (DBAPIError, PoolTimeout):
        # A store that is away for a moment says nothing of the token.
        return True


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _cookie(headers: Headers, name: str) -> str | None:
    # Whatever else runs on this host has cookies of its own, which need not be as the standard library wants them: that
    # would read none at all then.
    return cookie_parser(headers.get("cookie", "")).get(name)
