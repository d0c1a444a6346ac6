"""Which host names the service answers to: a page elsewhere whose name was rebound to our address is refused."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service import problems


class AllowedHosts:
    """ASGI middleware that refuses requests for other hosts.

    Args:
        hosts: names without ports; `*.example.com` stands for every name below it, `*` for every name.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = [host.lower().strip("[]") for host in hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._allowed(host := host_name(Headers(scope=scope).get("host", ""))):
            await self._app(scope, receive, send)
            return
        detail = f"Host {host[:100]!r} is not served here; add it to allowed_hosts if it should be"
        await problems.response(400, "host", "Unknown host", detail)(scope, receive, send)

    def _allowed(self, host: str) -> bool:
        return any(
            known in ("*", host) or (known.startswith("*.") and host.endswith(known[1:])) for known in self._hosts
        )


def host_name(header: str) -> str:
    """The name in a Host header, in lower case, without port and without the brackets of an IPv6 address."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()
