"""`tunewright doctor`, with a service and without one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.tunewright.live_service import LiveService
from tunewright.cli import app

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def _well_again(service: LiveService) -> Iterator[None]:
    yield
    service.conductor.problem = None


def doctor(service: LiveService, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", "--url", service.url, *arguments])


def test_a_service_that_is_well_ends_with_0(service: LiveService) -> None:
    result = doctor(service)

    assert result.exit_code == 0, result.output
    assert all(line.split("\t")[0] == "note" for line in result.stdout.splitlines())


def test_a_problem_is_told_in_words_and_ends_with_1(service: LiveService) -> None:
    service.conductor.problem = "cannot reach Ray at head:6379"

    result = doctor(service)

    assert result.exit_code == 1
    severity, code, seen, why, remedy = result.stdout.splitlines()[0].split("\t")
    assert (severity, code) == ("problem", "conductor-problem")
    assert "cannot reach Ray at head:6379" in seen
    assert why
    assert remedy


def test_a_study_is_found_as_everywhere_else(service: LiveService) -> None:
    study = service.create()

    found = json.loads(doctor(service, "last", "--json").stdout)

    assert found["study"] == study.id
    assert {finding["code"] for finding in found["findings"]} == {"starting"}


def test_a_study_that_does_not_exist_is_refused(service: LiveService) -> None:
    result = doctor(service, "zzzz")

    assert result.exit_code == 2
    assert "zzzz" in result.output


def test_without_a_service_it_looks_at_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEWRIGHT_RAY_TEMP_DIR", "/tmp/" + 80 * "r")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    (tmp_path / "ray-token").write_text("hunter2")
    (tmp_path / "ray-token").chmod(0o644)

    result = CliRunner().invoke(app, ["doctor", "--url", url, "--data-dir", str(tmp_path)])

    codes = [line.split("\t")[1] for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert codes[0] == "no-answer"
    assert {"key-file-open", "ray-path-too-long"} <= set(codes)
    assert "hunter2" not in result.output


def test_of_a_service_elsewhere_this_machine_says_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--url", "http://service.invalid:1", "--data-dir", str(tmp_path)])

    assert [line.split("\t")[1] for line in result.stdout.splitlines()] == ["no-answer"]


def test_without_the_servers_packages_it_says_what_it_can() -> None:
    blocked = "import sys; sys.modules['service'] = None; from tunewright.cli import main; main()"
    command = [sys.executable, "-c", blocked, "doctor", "--url", "http://127.0.0.1:1"]

    result = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert result.returncode == 1
    assert result.stdout.startswith("problem\tno-answer")
    assert result.stderr == ""
