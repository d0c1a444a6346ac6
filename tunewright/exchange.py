"""The client's methods that carry whole studies: export and import.

`ExchangeCalls` belongs to `Client`, `AsyncExchangeCalls` to `AsyncClient`. Nothing here is sent again by itself: an
import that was lost on its way is begun anew by whoever wants it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Literal

import httpx

from tunewright import _requests as requests
from tunewright._connection import as_api_error
from tunewright.views import Study

Format = Literal["csv", "json", "parquet"]
What = Literal["trials", "reports"]

PIECE = 1 << 20


class ExchangeCalls:
    """What takes studies away, and what brings them in."""

    url: str
    _http: httpx.Client

    def export(self, study_id: str, format: Format = "json", what: What = "trials") -> Iterator[bytes]:
        """A study in pieces, to be written to a file; memory does not grow with it.

        Args:
            format: `json` is the whole study, and can be imported again; the others are tables.
            what: what a table has a row for.
        Raises:
            ApiError: there is no such study, or the service cannot write the format.
        """
        try:
            with self._http.stream(**requests.export(study_id, format, what)) as response:
                if not response.is_success:
                    response.read()
                    raise requests.problem(response)
                yield from response.iter_bytes()
        except httpx.TransportError as failure:
            raise as_api_error(failure, self.url) from failure

    def import_study(self, source: Path | Iterable[bytes]) -> Study:
        """Import a study that was exported as JSON, from a file or piece by piece.

        Raises:
            ApiError: the document is wrong; says where. Nothing of it is kept.
            OSError: the file cannot be read.
        """
        pieces = _pieces(source) if isinstance(source, Path) else source
        try:
            call = requests.import_study()
            return call.read(self._http.request(**{**call.arguments(), "content": pieces}, timeout=None))
        except httpx.TransportError as failure:
            raise as_api_error(failure, self.url) from failure


class AsyncExchangeCalls:
    """`ExchangeCalls`, to be awaited."""

    url: str
    _http: httpx.AsyncClient

    async def export(self, study_id: str, format: Format = "json", what: What = "trials") -> AsyncIterator[bytes]:
        """As `Client.export`."""
        try:
            async with self._http.stream(**requests.export(study_id, format, what)) as response:
                if not response.is_success:
                    await response.aread()
                    raise requests.problem(response)
                async for piece in response.aiter_bytes():
                    yield piece
        except httpx.TransportError as failure:
            raise as_api_error(failure, self.url) from failure

    async def import_study(self, source: Path | Iterable[bytes]) -> Study:
        """As `Client.import_study`."""
        pieces = _pieces(source) if isinstance(source, Path) else iter(source)

        async def sent() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        try:
            call = requests.import_study()
            return call.read(await self._http.request(**{**call.arguments(), "content": sent()}, timeout=None))
        except httpx.TransportError as failure:
            raise as_api_error(failure, self.url) from failure


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
