"""Commands about tags, notes, priorities and retries, against a live service."""

from __future__ import annotations

import pytest

from tests.service.conftest import ended, report, start
from tests.tunewright.live_service import LiveService
from tests.tunewright.test_cli import rows, run
from tunewright.study import Priority, TrialState
from tunewright.views import Study

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("address")]


@pytest.fixture
def study(service: LiveService) -> Study:
    """A study with two trials that failed and one that went well."""
    study = service.create()
    runner = service.runner(study)
    runner.counts = {TrialState.COMPLETED: 1, TrialState.FAILED: 1}
    runner.commit(
        *(start(n, n) for n in range(3)),
        report(0, 0, 9.0, 0.25),
        ended(0, 0, TrialState.COMPLETED),
        *(ended(n, n, TrialState.FAILED, problem="bad luck") for n in (1, 2)),
    )
    return study


def test_tags_are_added_and_taken_away(study: Study) -> None:
    assert run("tag", study.id, "baseline", "team=search").stdout.split() == ["baseline", "team=search"]
    assert run("tag", study.id, "new", "--remove", "baseline").stdout.split() == ["team=search", "new"]
    assert run("tag", study.id).stdout.split() == ["team=search", "new"]

    (found,) = rows(run("studies", "--tag", "new", "--tag", "team=search"))
    assert (found["study"], found["tags"]) == (study.id, "team=search new")
    assert rows(run("studies", "--tag", "baseline")) == []


def test_a_tag_that_is_none_is_refused(study: Study) -> None:
    refused = run("tag", study.id, "two words")

    assert refused.exit_code == 1
    assert "is not one word" in refused.stderr


def test_studies_and_trials_are_noted(study: Study) -> None:
    assert run("note", study.id, "learning rates above 0.1 diverge").exit_code == 0
    assert run("note", f"{study.id}-0", "-", stdin="look\nhere\n").exit_code == 0

    assert run("note", study.id).stdout == "learning rates above 0.1 diverge\n"
    assert run("note", f"{study.id}-0").stdout == "look\nhere\n"
    assert run("note", f"{study.id}-1").stdout == ""
    assert "look" in run("trial", f"{study.id}-0").stdout


def test_a_study_is_renamed_and_gets_another_priority(service: LiveService, study: Study) -> None:
    assert "is named better" in run("rename", study.id, "better").stdout
    assert "high priority" in run("prioritize", study.id, "high").stdout

    found = service.repository.study(study.id)
    assert (found.name, found.priority) == ("better", Priority.HIGH)
    assert run("prioritize", study.id, "urgent").exit_code == 2


def test_failed_trials_are_tried_again_once(study: Study) -> None:
    one = run("retry", study.id, "2")
    rest = run("retry", study.id, "--failed")
    none = run("retry", study.id, "--failed")

    assert one.stdout == f"study {study.id} will try {study.id}-2 again as number 0 of its queue\n"
    assert rest.stdout == f"study {study.id} will try {study.id}-1 again as number 1 of its queue\n"
    assert none.exit_code == 2
    assert "no failed trial that was not tried again" in none.stderr


@pytest.mark.parametrize("arguments", [[], ["1", "--failed"]])
def test_trials_to_try_again_are_named_in_one_way(study: Study, arguments: list[str]) -> None:
    refused = run("retry", study.id, *arguments)

    assert refused.exit_code == 2
    assert "or give --failed" in refused.stderr


def test_a_trial_that_went_well_is_not_tried_again(study: Study) -> None:
    refused = run("retry", study.id, "0")

    assert refused.exit_code == 1
    assert "only one that has failed can be tried again" in refused.stderr
