"""The way in for people with a browser: they show a token once, and hold a session by a cookie from then on."""

from __future__ import annotations

import re
from asyncio import to_thread
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from service import scopes
from service.access import Gate, Refusal, cookie_name, known
from service.api.dependencies import ServicesDep
from service.caller import Caller
from service.dashboard.pages import CONTENT_SECURITY_POLICY, page
from service.rate_limit import client_of
from service.store import tokens
from service.store.engine import writing
from service.tokens import Secret, parse

router = APIRouter(include_in_schema=False)

# A path of our own: two slashes, or one that leans the other way, would begin another host's address.
_PATH = re.compile(r"/([^/\\].*)?")
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY.replace("form-action 'none'", "form-action 'self'"),
    # Browsers say where a form was sent from only if its page lets them.
    "Referrer-Policy": "same-origin",
}
MAX_FIELDS = 10


@router.get(scopes.LOGIN)
async def login_page(request: Request, next: str = "/") -> Response:
    """Ask for a token."""
    gate: Gate = request.app.state.gate
    if not await gate.authenticator.required():
        return RedirectResponse(_own_path(next), 303)
    return _ask(request, next)


@router.post(scopes.LOGIN)
async def login(request: Request, services: ServicesDep) -> Response:
    """Begin a session, and go on to the page that was wanted."""
    gate: Gate = request.app.state.gate
    sent, wanted = _form(await request.body())
    try:
        caller = await known(gate.authenticator, sent, client_of(request.client.host if request.client else "unknown"))
    except Refusal as refusal:
        wrong = refusal.status == 401
        problem = (
            "This token is not valid." if wrong else "Too many wrong tokens came from your address. Wait a minute."
        )
        answer = _ask(request, wanted, refusal.status, problem)
        answer.headers.update({k: v for k, v in refusal.answer.headers.items() if k == "retry-after"})
        return answer
    # For the audit trail.
    request.scope["caller"] = caller
    session = await to_thread(_open, services, caller)
    secure = services.settings.tls
    answer = RedirectResponse(_own_path(wanted), 303)
    answer.set_cookie(
        cookie_name(services.settings),
        session.text,
        max_age=int(tokens.SESSION_SECONDS),
        httponly=True,
        samesite="strict",
        secure=secure,
    )
    return answer


@router.post(scopes.LOGOUT, status_code=204)
async def logout(request: Request, services: ServicesDep) -> Response:
    """End the session."""
    gate: Gate = request.app.state.gate
    name = cookie_name(services.settings)
    sent = request.cookies.get(name, "")
    session = parse(sent)
    if session is not None:
        request.scope["caller"] = await to_thread(_close, services, session)
        gate.authenticator.forget(sent)
    answer = Response(status_code=204)
    answer.delete_cookie(name, httponly=True, samesite="strict", secure=services.settings.tls)
    return answer


def _ask(request: Request, wanted: str, status: int = 200, problem: str = "") -> Response:
    answer = page(request, "login.html", status=status, wanted=_own_path(wanted), problem=problem)
    answer.headers.update(_HEADERS)
    return answer


def _form(body: bytes) -> tuple[str, str]:
    """The token, and the page that is wanted."""
    try:
        form = parse_qs(body.decode(errors="replace"), max_num_fields=MAX_FIELDS)
    except ValueError:
        form = {}
    return form.get("token", [""])[0].strip(), form.get("next", ["/"])[0]


def _own_path(path: str) -> str:
    return path if _PATH.fullmatch(path) else "/"


def _open(services: ServicesDep, caller: Caller) -> Secret:
    with writing(services.repository.engine) as connection:
        return tokens.open_session(connection, caller)


def _close(services: ServicesDep, secret: Secret) -> Caller | None:
    with writing(services.repository.engine) as connection:
        found = tokens.caller(connection, secret)
        if found is None or found[0].session is None:
            return None
        tokens.close_session(connection, found[0].session)
        return found[0]
