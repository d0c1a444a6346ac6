"""What pages load: our own files, and Plotly, whole or in part. URLs name the content, so browsers may keep all."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

DIRECTORY = Path(__file__).parent / "static"
NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable", **NO_SNIFFING}


def _digest() -> str:
    content = hashlib.sha256()
    for path in sorted(DIRECTORY.iterdir()):
        content.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()[:12]


STATIC_URL = f"/static/{_digest()}"


class StaticDirectory(StaticFiles):
    """Our own files; modules import each other by relative paths, so the digest in the URL covers them all."""

    def __init__(self) -> None:
        super().__init__(directory=DIRECTORY)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(FOREVER)
        return response


@cache
def imported_modules(entry: str) -> list[str]:
    """Names of the modules that one of ours imports, directly or not."""
    found: list[str] = []
    waiting = [entry]
    while waiting:
        text = (DIRECTORY / waiting.pop()).read_text()
        new = [name for name in re.findall(r'from "\./([^"]+)"', text) if name not in (entry, *found)]
        found += dict.fromkeys(new)
        waiting += new
    return sorted(found)


@dataclass(frozen=True)
class Bundle:
    """A library that pages load, in one file.

    Attributes:
        style_ids: of the style elements that Plotly's map library adds as the bundle loads, unless they exist already.
            A page that has an element with each of these ids keeps it from adding inline styles, which the pages'
            Content-Security-Policy forbids; see `pages.CONTENT_SECURITY_POLICY`.
    """

    name: str
    file: Path
    version: str

    @property
    def url(self) -> str:
        return f"/static/vendor/{self.name}?v={self.version}"

    @cached_property
    def content(self) -> bytes:
        return self.file.read_bytes()

    @cached_property
    def gzip(self) -> bytes:
        """The same for browsers that take gzip: a third."""
        return gzip.compress(self.content, compresslevel=6, mtime=0)

    @cached_property
    def style_ids(self) -> list[str]:
        return sorted(set(re.findall(r'getElementById\("([0-9a-f]{64})"\)', self.content.decode())))


def _installed_plotly() -> Bundle:
    """All of Plotly, from its package, which is not imported: that would take a second."""
    spec = find_spec("plotly")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "package_data" / "plotly.min.js"
    return Bundle("plotly.min.js", file, metadata.version("plotly"))


def _basic_plotly() -> Bundle | None:
    """The part that draws lines and bars, if it was fetched (see scripts/assets)."""
    file = DIRECTORY.parent / "vendor" / "plotly-basic.min.js"
    if not file.exists():
        return None
    return Bundle(file.name, file, hashlib.sha256(file.read_bytes()).hexdigest()[:12])


# The plots page draws whatever there is; the others draw lines and bars, and a browser takes a quarter of the time to
# get ready for the part that does.
PLOTLY = _installed_plotly()
BASIC_PLOTLY = _basic_plotly() or PLOTLY
BUNDLES = {bundle.name: bundle for bundle in (PLOTLY, BASIC_PLOTLY)}
