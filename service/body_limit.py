"""A limit on the size of bodies, refused with a problem document whether or not a request says its length."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems


class BodyLimit:
    """ASGI middleware that refuses bodies of more than `limit` bytes; what is above it is never held in memory.

    Args:
        others: path -> another limit, and the setting that raises it.
    """

    def __init__(self, app: ASGIApp, limit: int, others: Mapping[str, tuple[int, str]] | None = None) -> None:
        self._app = app
        self._limit = (limit, "max_body_bytes")
        self._others = dict(others or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit, setting = self._others.get(scope["path"], self._limit)
        detail = f"The body has more than {limit} bytes; send less, or let {setting} be raised."
        # The server has checked that it is a number.
        if int(Headers(scope=scope).get("content-length", 0)) > limit:
            answer = problems.response(413, "too-large", "Content Too Large", detail)
            await answer(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, detail)
            return message

        await self._app(scope, counted, send)
