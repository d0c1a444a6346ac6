"""The script that containers begin with, run with programs that only say how they were called."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.deploy.layout import IMAGE

SCRIPT = IMAGE / "tunewright-container"
# Says how it was called, whole or not at all, and with which store.
PROGRAM = """#!/bin/sh
echo "$* [${{TUNEWRIGHT_DATABASE_URL:-none}}]" > {file}.new
mv {file}.new {file}
sleep ${{SLEEP:-0}}
"""
URL = "postgresql+psycopg://tunewright:secret@db/tunewright"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory with `ray` and `tunewright`, which write their arguments and the secrets they see to files."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("ray", "tunewright"):
        program = directory / name
        program.write_text(PROGRAM.format(file=directory / f"{name}.called"))
        program.chmod(0o755)
    return directory


def run(programs: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{programs}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", str(SCRIPT), *words], env={"PATH": path, **environment}, capture_output=True, text=True, timeout=20
    )


def called(programs: Path, name: str) -> str:
    """How a program was called; waits for it, as it may be started beside another."""
    file = programs / f"{name}.called"
    until = time.monotonic() + 10
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return file.read_text().strip()


def test_a_service_without_a_cluster_starts_none_beside_itself(programs: Path) -> None:
    done = run(programs, "serve", "--port", "9000")

    assert done.returncode == 0, done.stderr
    assert called(programs, "tunewright") == "serve --port 9000 [none]"
    assert not (programs / "ray.called").exists()


def test_a_service_of_a_cluster_has_a_node_without_processors_beside_it(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(URL)
    process = subprocess.Popen(
        ["sh", str(SCRIPT)],
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "TUNEWRIGHT_RAY_ADDRESS": "ray-head:6379",
            "TUNEWRIGHT_DATABASE_URL_FILE": str(tmp_path / "url"),
            "SLEEP": "30",
        },
        start_new_session=True,
    )
    try:
        service, node = called(programs, "tunewright"), called(programs, "ray")
    finally:
        os.killpg(process.pid, 9)
        process.wait()

    assert service == f"serve [{URL}]"
    assert "--address=ray-head:6379" in node
    assert "--num-cpus=0 --num-gpus=0" in node
    assert node.endswith("[none]"), "Ray's node has no use for the store's password"


def test_head_and_worker_start_ray_and_nothing_else(programs: Path) -> None:
    run(programs, "ray-head")
    head = called(programs, "ray")
    (programs / "ray.called").unlink()
    run(programs, "ray-worker", "--num-cpus=4", TUNEWRIGHT_RAY_ADDRESS="ray-head:6379")

    assert head.startswith("start --head --block")
    assert "--num-cpus=0" in head
    assert "--address=ray-head:6379 --num-cpus=4" in called(programs, "ray")


def test_any_other_word_is_a_command(programs: Path) -> None:
    run(programs, "tunewright", "token", "list")

    assert called(programs, "tunewright").startswith("token list")


@pytest.mark.parametrize(
    ("words", "environment", "names"),
    [
        (["ray-worker"], {}, "TUNEWRIGHT_RAY_ADDRESS"),
        (["serve"], {"TUNEWRIGHT_SECRET_KEY_FILE": "/nowhere/key"}, "TUNEWRIGHT_SECRET_KEY_FILE: /nowhere/key"),
        (["serve"], {"TUNEWRIGHT_DATABASE_URL_FILE": "/dev/null"}, "TUNEWRIGHT_DATABASE_URL_FILE: /dev/null is empty"),
    ],
)
def test_what_is_missing_is_named(programs: Path, words: list[str], environment: dict[str, str], names: str) -> None:
    done = run(programs, *words, **environment)

    assert done.returncode == 1
    assert names in done.stderr
    assert not list(programs.glob("*.called"))
