"""The units: as systemd itself understands them, and with the settings of their examples."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.layout import SYSTEMD

UNITS = sorted(SYSTEMD.glob("*.service"))
INSTALLED = "/opt/tunewright/bin"


def values(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_has_nothing_to_say_against_it(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    for name in ("tunewright", "ray"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    # It insists on programs that are there.
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(INSTALLED, str(tmp_path)))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_it_is_neither_root_nor_without_its_settings(unit: Path) -> None:
    (environment,) = values(unit, "EnvironmentFile")

    assert values(unit, "User") == ["tunewright"]
    assert values(unit, "NoNewPrivileges") == ["yes"]
    assert values(unit, "ProtectSystem") == ["strict"]
    assert (SYSTEMD / f"{Path(environment).name}.example").is_file()
    # What the units write to is theirs, since all else cannot be written.
    assert values(unit, "StateDirectory") == ["tunewright"]
    assert all(path.startswith("/var/lib/tunewright") for path in values(unit, "WorkingDirectory"))


def test_a_watchdog_outlives_a_service_that_crashes_and_a_trial_out_of_memory_ends_alone() -> None:
    unit = SYSTEMD / "tunewright.service"

    assert values(unit, "KillMode") == ["process"]
    assert values(unit, "OOMPolicy") == ["continue"]
    assert values(unit, "Restart") == ["always"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_shared_checkpoints_can_be_written_where_all_else_is_read_only(unit: Path) -> None:
    example = (SYSTEMD / "tunewright.env.example").read_text()
    (shared,) = re.findall(r"TUNEWRIGHT_CHECKPOINT_URL=file://(\S+)", example)

    (writable,) = values(unit, "ReadWritePaths")

    assert Path(shared).is_relative_to(writable.removeprefix("-"))


def test_the_service_and_rays_units_have_rays_files_at_one_place() -> None:
    (start,) = values(SYSTEMD / "tunewright-ray-head.service", "ExecStart")

    (place,) = re.findall(r"--temp-dir=(\S+)", start)

    assert f"TUNEWRIGHT_RAY_TEMP_DIR={place}" in values(SYSTEMD / "tunewright.service", "Environment")
    longest = f"{place}/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
    assert len(longest) <= 107, "the operating system allows no longer path of a socket"
