"""What pages load from the npm registry, as `scripts/assets` fetches it; the registry is a directory here."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.deploy.layout import ROOT

REGISTRY = "https://registry.npmjs.org/"
FILE = "vendor/lines.js"


class Checkout:
    """A checkout with the script, and a registry with releases of one package."""

    def __init__(self, home: Path) -> None:
        self.file = home / FILE
        self._home, self._registry = home, home / "registry"
        self._registry.mkdir()
        (home / "scripts").mkdir()
        shutil.copy(ROOT / "scripts" / "assets", home / "scripts")

    def pin(self, text: str) -> None:
        """Publish a release, and pin it."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            entry = tarfile.TarInfo("package/lines.js")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
        (self._registry / "lines.tgz").write_bytes(packed.getvalue())
        locked = {
            "tarball": f"{REGISTRY}lines.tgz",
            "integrity": f"sha512-{base64.b64encode(hashlib.sha512(packed.getvalue()).digest()).decode()}",
            "member": "package/lines.js",
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
        (self._home / "assets.lock.json").write_text(json.dumps({FILE: locked}))

    def fetch(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, self._home / "scripts" / "assets", f"file://{self._registry}/"],
            capture_output=True,
            text=True,
            timeout=60,
        )

    def go_offline(self) -> None:
        shutil.rmtree(self._registry)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_release_that_is_pinned_anew_takes_the_place_of_the_one_that_is_there(checkout: Checkout) -> None:
    checkout.pin("first")
    first = checkout.fetch()
    checkout.pin("second")
    second = checkout.fetch()

    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert checkout.file.read_text() == "second"


def test_what_is_there_as_pinned_needs_no_registry(checkout: Checkout) -> None:
    checkout.pin("first")
    checkout.fetch()
    checkout.go_offline()

    assert checkout.fetch().returncode == 0
    assert checkout.file.read_text() == "first"
