"""What pages load: our own files, and Plotly from its package. URLs name the content, so browsers may keep both."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from functools import cache
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
PLOTLY_URL = f"/static/vendor/plotly.min.js?v={metadata.version('plotly')}"


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
def plotly_js() -> bytes:
    """Plotly's browser bundle, as installed; the package itself is not imported, which would take a second."""
    spec = find_spec("plotly")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "package_data" / "plotly.min.js").read_bytes()


@cache
def plotly_js_gzip() -> bytes:
    """The same for browsers that take gzip: 1.4 MB instead of 4.8."""
    return gzip.compress(plotly_js(), compresslevel=6, mtime=0)


@cache
def plotly_style_ids() -> list[str]:
    """Ids of the style elements that Plotly's map library adds as the bundle loads, unless they exist already.

    A page that has an element with each of these ids keeps it from adding inline styles, which the pages'
    Content-Security-Policy forbids; see `pages.CONTENT_SECURITY_POLICY`.
    """
    return sorted(set(re.findall(r'getElementById\("([0-9a-f]{64})"\)', plotly_js().decode())))
