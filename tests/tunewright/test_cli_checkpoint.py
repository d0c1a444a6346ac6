"""Fetching a trained model by `tunewright checkpoint`, against a live service."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.conftest import ended, incumbent, report, start
from tests.tunewright.live_service import LiveService
from tests.tunewright.test_cli import run
from tunewright.study import TrialState
from tunewright.views import Study
from workers.checkpoints import CheckpointStore

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("address")]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def study(service: LiveService, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study whose trial 1 was best at 3, and has gone on to 5 since."""
    study = service.create()
    runner = service.runner(study)
    facts = [fact for n in (0, 1) for fact in (start(n, n), report(n, n, 3.0, 0.5), ended(n, n, TrialState.WAITING))]
    runner.commit(*facts, best=[incumbent(1, 0.5)])
    store = CheckpointStore(service.settings.leg().checkpoint_url)
    for trial, resource in [(0, 3.0), (1, 3.0), (1, 5.0)]:
        root = tmp_path_factory.mktemp("written")
        (root / "model").write_text(f"{trial} at {resource:g}")
        store.put(study.id, trial, resource, root, keep={3.0})
    return study


def test_a_study_gives_what_was_measured_as_its_best(study: Study, tmp_path: Path) -> None:
    result = run("checkpoint", study.id)

    assert result.exit_code == 0, result.output
    assert result.stdout == f"checkpoint-{study.id}-1\n"
    assert f"trial {study.id}-1 at 3" in result.stderr
    assert (tmp_path / f"checkpoint-{study.id}-1" / "model").read_text() == "1 at 3"


@pytest.mark.parametrize(("arguments", "content"), [((), "1 at 5"), (("--resource", "3"), "1 at 3")])
def test_a_trial_gives_its_newest_or_the_one_asked_for(
    study: Study, tmp_path: Path, arguments: tuple[str, ...], content: str
) -> None:
    result = run("checkpoint", f"{study.id}-1", *arguments, "-o", "there/model-1")

    assert result.exit_code == 0, result.output
    assert (tmp_path / "there" / "model-1" / "model").read_text() == content


def test_what_is_in_the_way_is_named(study: Study, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "file").touch()

    existing = run("checkpoint", study.id, "-o", "model")
    below_a_file = run("checkpoint", study.id, "-o", "file/model")
    absent = run("checkpoint", f"{study.id}-1", "--resource", "4", "-o", "new")

    assert (existing.exit_code, below_a_file.exit_code, absent.exit_code) == (2, 2, 1)
    assert "model: it exists already; name a directory that does not" in existing.stderr
    assert "file: File exists" in below_a_file.stderr
    assert "no state at 4; there is one at 5, 3" in absent.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model"]


def test_a_study_without_one_best_trial_says_what_to_name(service: LiveService) -> None:
    nothing, several = service.create(), service.create()
    runner = service.runner(several)
    runner.commit(start(0, 0), start(1, 1), best=[incumbent(0, 0.5), incumbent(1, 0.25)])

    assert "has no result yet" in run("checkpoint", nothing.id).stderr
    result = run("checkpoint", several.id)
    assert result.exit_code == 2
    assert f"name one: {several.id}-0, {several.id}-1" in result.stderr
