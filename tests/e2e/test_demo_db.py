"""`tunewright demo-db` as a process of its own: it attaches, tunes, puts back, verifies, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from db_knobs.lab.postgres import binaries
from tests.e2e.service_process import descendants

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(binaries() is None, reason="needs Debian's PostgreSQL: apt-get install postgresql"),
]


def test_the_demo_tunes_a_private_database_and_puts_its_settings_back(tmp_path: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("tw-*"))
    command = [
        sys.executable,
        "-m",
        "tunewright.cli",
        "demo-db",
        "--seconds",
        "10",
        "--interval",
        "1",
        "--scale",
        "0.02",
    ]
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
        said, _ = process.communicate(timeout=240)

    assert process.returncode == 0, said + (tmp_path / "errors").read_text()
    lines = [line.split("\t") for line in said.splitlines()]
    assert any(cells[0] == "missing" and cells[1].startswith("GRANT ALTER SYSTEM") for cells in lines)
    assert ["missing", "nothing"] in lines
    assert len([cells for cells in lines if cells[1:2] == ["interval"]]) > 1
    assert ["jit", "on", "on"] in lines
    assert ["left_in_postgresql.auto.conf", "nothing"] in lines
    assert any(cells[0] == "unsafe" and "intervals of work lost" in cells[1] for cells in lines)
    assert descendants(process.pid) == []
    left = set(Path(tempfile.gettempdir()).glob("tw-*")) - before
    assert not [path for path in left if path.name.startswith("tw-demo-")]
