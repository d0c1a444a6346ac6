"""What docs/study-life.md shows works as it stands there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.conftest import ended, incumbent, report, start
from tests.tunewright.live_service import LiveService
from tests.tunewright.test_cli import run
from tunewright import Client, StudySpec
from tunewright.study import Budget, Priority, TrialState
from workers.checkpoints import CheckpointStore

PAGE = (Path(__file__).parents[2] / "docs" / "study-life.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveService]:
    service = LiveService(tmp_path / "data")
    service.start()
    monkeypatch.setenv("TUNEWRIGHT_URL", service.url)
    monkeypatch.chdir(tmp_path)
    yield service
    service.close()


def test_the_study_can_be_submitted(service: LiveService) -> None:
    (text,) = blocks("yaml")

    with Client() as client:
        study = client.submit(text)

    assert (study.priority, study.tags) == (Priority.LOW, ["nightly", "team=search"])
    assert study.spec == StudySpec.from_yaml(text).model_copy(
        update={"project": study.project, "fidelity": study.spec.fidelity}
    )


def test_the_commands_run_one_after_the_other(service: LiveService, tmp_path: Path) -> None:
    study = service.create().id
    service.repository.engine.dispose()
    runner = service.runner(service.repository.study(study))
    runner.commit(
        *(start(n, n) for n in range(5)),
        *(ended(n, n, TrialState.FAILED) for n in (1, 3)),
        report(0, 0, 9.0),
        ended(0, 0, TrialState.COMPLETED),
    )
    runner.finish(best=[incumbent(0, 0.5)])
    states = CheckpointStore(service.settings.leg().checkpoint_url)
    for trial, resource in ((0, incumbent(0, 0.5).resource), (3, 9.0)):
        (tmp_path / "state").mkdir(exist_ok=True)
        (tmp_path / "state" / "weights").write_text(str(trial))
        states.put(study, trial, resource, tmp_path / "state")
    service.repository.extend(study, Budget(trials=50))
    commands = [line for block in blocks("sh") for line in block.splitlines()]

    for command in commands:
        # What comes after a clone is about the study that was shown before.
        program, *arguments = shlex.split(command)
        result = run(*(re.sub(r"^last(?=$|-\d)", study, word) for word in arguments))
        assert program == "tunewright"
        assert result.exit_code == 0, (command, result.output)

    assert [(tmp_path / name / "weights").read_text() for name in ("model", "model-3")] == ["0", "3"]
    found = service.repository.study(study)
    assert (found.name, found.priority) == ("nightly search", Priority.HIGH)
    assert found.tags == ["team=search", "reviewed"]
    retried = [entry.retry_of for entry in service.repository.queued(study, limit=5).items]
    assert retried == [f"{study}-3", f"{study}-1"]
    assert len(service.repository.studies(limit=5).items) == 3


def test_the_document_can_be_imported(service: LiveService) -> None:
    (text,) = blocks("json")

    with Client() as client:
        study = client.import_study([text.encode()])

    assert study.name == json.loads(text)["study"]["spec"]["name"]
    assert {state.value: count for state, count in study.counts.items()} == {"completed": 1, "failed": 1}
