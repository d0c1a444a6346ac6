"""What docs/ask-tell.md shows works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tunewright.live_service import LiveService
from tunewright import Client, StudySpec

PAGE = (Path(__file__).parents[2] / "docs" / "ask-tell.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


LOOP, ONE, PLAIN = blocks("python")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LiveService]:
    service = LiveService(tmp_path / "data")
    service.start()
    yield service
    service.close()


@pytest.fixture
def client(service: LiveService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture
def study(service: LiveService, client: Client) -> str:
    (text,) = blocks("yaml")
    study = client.submit(StudySpec.from_yaml(text))
    service.desk_runners.start(service.settings.store_url, study.id)
    return study.id


def run(program: str, service: LiveService, study: str) -> None:
    def train(**config: Any) -> float:
        return float(config["rate"])

    exec(program, {"URL": service.url, "STUDY": study, "train": train, "train_one_epoch": train})


@pytest.mark.parametrize("program", [LOOP, PLAIN], ids=["loop", "http"])
def test_a_loop_tunes_a_study_to_its_end(service: LiveService, client: Client, study: str, program: str) -> None:
    run(program, service, study)

    found = client.wait(study, timeout=30)
    assert found.trials == 20
    assert found.best[0].resource == 9


def test_one_job_is_done(service: LiveService, client: Client, study: str) -> None:
    run(ONE, service, study)

    assert next(client.trials(study)).metrics.keys() == {"loss"}
    assert client.trial(f"{study}-0").jobs[0].worker == "gpu-7"


def test_a_shell_does_a_job(service: LiveService, client: Client, study: str) -> None:
    (program,) = blocks("sh")
    commands = Path(sys.executable).parent
    environment = {**os.environ, "TUNEWRIGHT_URL": service.url, "STUDY": study}

    done = subprocess.run(
        ["sh", "-e", "-c", program],
        env={**environment, "PATH": f"{commands}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["continue", "ended"]
    (job,) = client.trial(f"{study}-0").jobs
    assert job.state == "completed"


def test_the_loop_is_short() -> None:
    body = LOOP.splitlines()[2:]

    assert len(body) == 5
