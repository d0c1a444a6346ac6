"""A limit on the size of bodies, refused with a problem document whether or not a request says its length."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems


class BodyLimit:
    """ASGI middleware that refuses bodies of more than `limit` bytes; what is above it is never held in memory."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # The server has checked that it is a number.
        if int(Headers(scope=scope).get("content-length", 0)) > self._limit:
            answer = problems.response(413, "too-large", "Content Too Large", self._detail)
            await answer(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise HTTPException(413, self._detail)
            return message

        await self._app(scope, counted, send)

    @property
    def _detail(self) -> str:
        return f"The body has more than {self._limit} bytes; send less, or let max_body_bytes be raised."
