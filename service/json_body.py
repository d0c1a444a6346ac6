"""JSON bodies, read strictly: what RFC 8259 leaves open, or Python's parser lets through, is refused with its reason.

Refused are NaN and infinities (also as 1e999), integers beyond 64 bits, NUL and unpaired surrogates in strings,
repeated keys, and deep nesting: none of them can be stored in every database and sent back unchanged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any, NoReturn

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

MAX_DEPTH = 64
MAX_DIGITS = 20
INTEGERS = range(-(2**63), 2**63)


class BadBody(HTTPException):
    """The body is not the JSON that it should be; the detail says where."""

    def __init__(self, detail: str) -> None:
        super().__init__(422, detail)


class JsonRoute(APIRoute):
    """A route whose body, if it takes one, is strict JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_strictly(request: Request) -> Response:
            require_json(request)
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly


def require_json(request: Request) -> None:
    """Refuse a body that says that it is no JSON.

    A page of another origin can send text/plain, but not JSON, without the browser asking us first.
    """
    content_type = request.headers.get("content-type")
    if content_type is not None and not _is_json(content_type):
        raise HTTPException(415, f"content-type: {content_type[:100]!r} is not read here; send application/json")


def decoder() -> json.JSONDecoder:
    """A decoder that is as strict as `parse`, but for what `check` looks for."""
    return json.JSONDecoder(parse_constant=_not_finite, parse_float=_float, parse_int=_int, object_pairs_hook=_object)


def check(value: Any) -> None:
    """Look for strings that cannot be stored, and for deep nesting.

    Raises:
        BadBody: there are some.
    """
    _check(value, MAX_DEPTH)


def parse(body: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        BadBody: it is not strict JSON.
    """
    try:
        text = body.decode()
        value = decoder().decode(text)
    except UnicodeDecodeError:
        raise BadBody("the body is not UTF-8; encode it so") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadBody(f"the body is not JSON: {error.msg} at {place}") from None
    except RecursionError:
        raise _too_deep() from None
    check(value)
    return value


class _StrictRequest(Request):
    async def json(self) -> Any:
        return parse(await self.body())


def _is_json(content_type: str) -> bool:
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))


def _not_finite(name: str) -> NoReturn:
    raise BadBody(f"{name} is not a number in JSON; leave the field out, or name the value with a string")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadBody(f"number {text[:30]} is too large; the largest is 1.797e308")
    return number


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS or int(text) not in INTEGERS:
        raise BadBody(f"integer {text[:30]} has more than 64 bits; write it with an exponent, or as a string")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadBody(f"key {twice[:100]!r} stands twice in one object; remove one")
    return found


def _check(value: Any, depth: int) -> None:
    if depth == 0:
        raise _too_deep()
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth - 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check(item, depth - 1)


def _check_text(text: str) -> None:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise BadBody(f"string {text[:50]!r} holds a NUL or an unpaired surrogate; remove it")


def _too_deep() -> BadBody:
    return BadBody(f"the body is nested too deeply; at most {MAX_DEPTH} levels are read")
