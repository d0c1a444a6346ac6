"""What a killed worker leaves behind is removed by the next one, and nothing else is."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from workers import scratch
from workers.scratch import PREFIX, Scratch, sweep
from workers.trial_process import TrialProcess

HOLDER = "import sys; from workers.scratch import Scratch; s = Scratch(); print(s.path, flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "SETTLED_SECONDS", -1.0)


@pytest.mark.usefixtures("settled")
def test_the_directory_of_a_killed_worker_is_swept_and_that_of_a_live_one_stays() -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    left = Path(holder.stdout.readline().strip())
    (left / "states").mkdir()

    sweep()
    assert left.is_dir()

    holder.kill()
    holder.communicate()
    sweep()
    assert not left.exists()


@pytest.mark.usefixtures("settled")
def test_starting_a_trial_sweeps_and_spares_its_own_directory(temporary: Path) -> None:
    left = temporary / f"{PREFIX}left"
    left.mkdir()

    process = TrialProcess()

    assert not left.exists()
    assert process.scratch.is_dir()
    process.close()
    assert not process.scratch.exists()


def test_a_directory_made_just_now_may_be_about_to_be_locked(temporary: Path) -> None:
    young = temporary / f"{PREFIX}young"
    young.mkdir()

    sweep()

    assert young.is_dir()


@pytest.mark.usefixtures("settled")
def test_what_is_not_a_trials_directory_stays(temporary: Path) -> None:
    target = temporary / "precious"
    target.mkdir()
    (temporary / f"{PREFIX}link").symlink_to(target)
    (temporary / f"{PREFIX}file").write_text("")
    (temporary / "other").mkdir()

    sweep()

    assert sorted(path.name for path in temporary.iterdir()) == sorted(
        [f"{PREFIX}file", f"{PREFIX}link", "other", "precious"]
    )


def test_without_locks_a_trial_has_its_directory_and_nothing_is_swept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    monkeypatch.setattr(scratch, "SETTLED_SECONDS", -1.0)
    own = Scratch()

    sweep()

    assert own.path.is_dir()
    own.remove()
    assert not own.path.exists()


def test_a_process_that_cannot_be_started_leaves_nothing(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", no_memory)
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(OSError, match="allocate"):
        TrialProcess()

    assert len(os.listdir("/proc/self/fd")) == before
    assert list(temporary.iterdir()) == []
