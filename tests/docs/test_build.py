"""The handbook builds without a warning, and what is built loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LOADED = re.compile(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(https?:)?//[^"]*"')


def test_the_handbook_builds_strictly_and_stands_alone(tmp_path: Path) -> None:
    for package in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(package, reason=f"{package} is not installed; pip install 'tunewright[docs]'")

    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "docs", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert {"cli.html", "settings.html", "rest.html", "python.html"} <= {page.name for page in pages}
    assert [page.name for page in pages if LOADED.search(page.read_text())] == []
    assert not re.search(r"url\(['\"]?(https?:)?//", "".join(path.read_text() for path in tmp_path.rglob("*.css")))
