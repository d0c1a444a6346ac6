"""The calls of the REST API about databases and tuning sessions; see `_requests`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter

from tunewright._requests import PAGE_ITEMS, Call
from tunewright._yaml import read_mapping
from tunewright.session import SessionSpec, SessionState
from tunewright.session_views import (
    Attachment,
    DatabaseView,
    GivenPassword,
    IntervalView,
    KnobView,
    NewPassword,
    NoticeView,
    ProbeView,
    SessionSummary,
    SessionView,
)
from tunewright.views import Page

_SECRETS = {"dsn", "password"}

_DATABASE = TypeAdapter(DatabaseView)
_DATABASES = TypeAdapter(Page[DatabaseView])
_PROBE = TypeAdapter(ProbeView)
_KNOBS = TypeAdapter(list[KnobView])
_SESSION = TypeAdapter(SessionView)
_SESSIONS = TypeAdapter(Page[SessionSummary])
_INTERVALS = TypeAdapter(Page[IntervalView])
_NOTICES = TypeAdapter(Page[NoticeView])


def attach(attachment: Attachment, *, dry_run: bool, idempotency_key: str) -> Call[DatabaseView]:
    params = {"dry_run": "true"} if dry_run else {}
    headers = {"Idempotency-Key": idempotency_key}
    return Call("POST", "/v1/databases", _DATABASE, params=params, headers=headers, body=_revealed(attachment))


def databases(cursor: str | None) -> Call[Page[DatabaseView]]:
    return Call("GET", "/v1/databases", _DATABASES, params=_page(cursor))


def database(database: str) -> Call[DatabaseView]:
    return Call("GET", _path("databases", database), _DATABASE)


def replace_password(database: str, given: NewPassword) -> Call[DatabaseView]:
    return Call("POST", f"{_path('databases', database)}:password", _DATABASE, body=_revealed(given))


def detach(database: str) -> Call[None]:
    return Call("DELETE", _path("databases", database), None, repeatable=False)


def probe(database: str) -> Call[ProbeView]:
    return Call("POST", f"{_path('databases', database)}:probe", _PROBE)


def knobs(database: str) -> Call[list[KnobView]]:
    return Call("GET", _path("databases", database, "knobs"), _KNOBS)


def create_session(spec: SessionSpec, idempotency_key: str) -> Call[SessionView]:
    # Defaults stay out, so that a service which does not know the newest fields still takes the session.
    body = spec.model_dump_json(exclude_defaults=True)
    return Call("POST", "/v1/sessions", _SESSION, headers={"Idempotency-Key": idempotency_key}, body=body)


def sessions(database: str | None, state: SessionState | None, cursor: str | None) -> Call[Page[SessionSummary]]:
    return Call("GET", "/v1/sessions", _SESSIONS, params=_page(cursor, database=database, state=state))


def session(session_id: str) -> Call[SessionView]:
    return Call("GET", _path("sessions", session_id), _SESSION)


def steer_session(session_id: str, verb: str) -> Call[SessionView]:
    """`verb`: pause, resume or stop."""
    # A repeated stop may meet a session that is over by then, and would be refused.
    return Call("POST", f"{_path('sessions', session_id)}:{verb}", _SESSION, repeatable=False)


def delete_session(session_id: str) -> Call[None]:
    return Call("DELETE", _path("sessions", session_id), None, repeatable=False)


def intervals(session_id: str, cursor: str | None) -> Call[Page[IntervalView]]:
    return Call("GET", _path("sessions", session_id, "intervals"), _INTERVALS, params=_page(cursor))


def notices(session_id: str, cursor: str | None) -> Call[Page[NoticeView]]:
    return Call("GET", _path("sessions", session_id, "notices"), _NOTICES, params=_page(cursor))


def read_session(spec: SessionSpec | Path | str | Mapping[str, Any]) -> SessionSpec:
    """A session in any of the forms in which people have it.

    Args:
        spec: a str is YAML text; a Path is a YAML file.
    Raises:
        SpecError, pydantic.ValidationError: it is wrong; names the field.
        OSError: the file cannot be read.
    """
    if isinstance(spec, SessionSpec):
        return spec
    given = read_mapping(spec, "session", "database, knobs and budget") if isinstance(spec, (str, Path)) else dict(spec)
    return SessionSpec.model_validate(given)


def _path(*parts: str) -> str:
    collection, identifier, *rest = parts
    return "/".join(["/v1", collection, quote(identifier, safe=""), *rest])


def _revealed(given: GivenPassword) -> str:
    """A body with the secrets that are meant for the service."""
    body = given.model_dump(mode="json", exclude_none=True)
    for name in _SECRETS & body.keys():
        body[name] = getattr(given, name).get_secret_value()
    return json.dumps(body)


def _page(cursor: str | None, **filters: str | None) -> dict[str, str | int]:
    given = {name: value for name, value in {**filters, "cursor": cursor}.items() if value is not None}
    return {"limit": PAGE_ITEMS, **given}
