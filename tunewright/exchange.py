"""The client's methods that carry much: whole studies, and states of trials.

`ExchangeCalls` belongs to `Client`, `AsyncExchangeCalls` to `AsyncClient`. Nothing here is sent again by itself: an
import that was lost on its way is begun anew by whoever wants it.
"""

from __future__ import annotations

import errno
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

import httpx

from tunewright import _requests as requests
from tunewright._connection import as_api_error
from tunewright.errors import ApiError
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

    def checkpoint(self, trial_id: str, directory: Path, resource: float | None = None) -> float:
        """Fetch a state that a trial has saved: the files that its workload wrote.

        `study.best[0]` says which trial is best, and at which resource.

        Args:
            directory: where they are put; it comes to be as a whole or not at all.
            resource: what the state has been trained to; None takes the newest.
        Returns:
            What it has been trained to.
        Raises:
            ApiError: there is no such state; says which there are. Or it was replaced while it was fetched.
            OSError: the directory exists already, or cannot be written.
        """
        with _arriving(directory) as file:
            try:
                with self._http.stream(**requests.checkpoint(trial_id, resource)) as response:
                    if not response.is_success:
                        response.read()
                        raise requests.problem(response)
                    for piece in response.iter_bytes():
                        file.write(piece)
            except httpx.TransportError as failure:
                raise as_api_error(failure, self.url) from failure
            return _trained_to(response)


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

    async def checkpoint(self, trial_id: str, directory: Path, resource: float | None = None) -> float:
        """As `Client.checkpoint`."""
        with _arriving(directory) as file:
            try:
                async with self._http.stream(**requests.checkpoint(trial_id, resource)) as response:
                    if not response.is_success:
                        await response.aread()
                        raise requests.problem(response)
                    async for piece in response.aiter_bytes():
                        file.write(piece)
            except httpx.TransportError as failure:
                raise as_api_error(failure, self.url) from failure
            return _trained_to(response)


@contextmanager
def _arriving(directory: Path) -> Iterator[BinaryIO]:
    """A file for an archive; what is in it becomes the directory when the block ends."""
    if directory.exists():
        raise FileExistsError(errno.EEXIST, "it exists already; name a directory that does not", str(directory))
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Beside it, so that it can take its place by one change of name.
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        with tempfile.TemporaryFile(dir=draft) as file:
            yield file
            file.seek(0)
            _unpack(file, draft / "state")
        (draft / "state").rename(directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _unpack(archive: BinaryIO, directory: Path) -> None:
    """Write the files of an archive; what is neither a file nor within the directory is no state's."""
    directory.mkdir()
    try:
        with tarfile.open(fileobj=archive, mode="r:") as members:
            for member in members:
                name = PurePosixPath(member.name)
                source = members.extractfile(member) if member.isreg() else None
                if source is None or name.is_absolute() or ".." in name.parts:
                    raise _no_state(f"{member.name!r} is no file of a state")
                path = directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as out:
                    shutil.copyfileobj(source, out)
    except tarfile.TarError as error:
        raise _no_state(f"this is no state: {error}") from None


def _trained_to(response: httpx.Response) -> float:
    try:
        return float(response.headers["Tunewright-Resource"])
    except (KeyError, ValueError):
        raise _no_state(f"{response.url} is not a Tunewright service of this version") from None


def _no_state(detail: str) -> ApiError:
    return ApiError(200, "unexpected answer", detail)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
