"""Trials' logs: appended, bounded, read in pages, and carried over from and to the release before."""

from __future__ import annotations

import pytest
from alembic import command
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from service.store import trial_logs
from service.store.engine import alembic_config, migrate, writing
from service.store.repository import Repository
from service.store.tables import EventRow, TrialLogRow
from tests.service.conftest import Runner, Service, complete_spec, ended, start
from tunewright.study import TrialState
from tunewright.views import LogPage, Study
from workers.journal import Printed


def pages(repository: Repository, trial: str, limit: int) -> list[LogPage]:
    found = [repository.log(trial, position=0, limit=limit)]
    while found[-1].more:
        found.append(repository.log(trial, position=found[-1].next_position, limit=limit))
    return found


def test_a_log_grows_over_all_legs_and_is_read_where_it_was_left(
    repository: Repository, runner: Runner, study: Study
) -> None:
    runner.commit(start(0, 0), start(1, 1), printed=[Printed(0, "one\n"), Printed(1, "other\n"), Printed(0, "two\n")])
    first = repository.log(f"{study.id}-0", position=0, limit=100)
    runner.commit(ended(0, 0, TrialState.COMPLETED), printed=[Printed(0, "thrée\n")])
    second = repository.log(f"{study.id}-0", position=first.next_position, limit=100)

    assert (first.text, first.more, first.over) == ("one\ntwo\n", False, False)
    assert (second.start, second.text, second.more, second.over) == (8, "thrée\n", False, True)
    assert repository.log(f"{study.id}-1", position=0, limit=100).text == "other\n"
    assert repository.trial(f"{study.id}-0").log == "one\ntwo\nthrée\n"


def test_what_is_printed_alone_is_stored_and_makes_no_event(
    repository: Repository, runner: Runner, study: Study
) -> None:
    runner.commit(start(0, 0))
    before = repository.last_event()

    runner.commit(printed=[Printed(0, "line\n")])

    assert repository.last_event() == before
    assert repository.trial(f"{study.id}-0").log == "line\n"


@given(sizes=st.lists(st.integers(1, 250), max_size=12), limit=st.integers(1, 120))
@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_beginning_and_the_end_are_kept_and_what_is_missing_is_counted(
    repository: Repository, store_url: str, monkeypatch: pytest.MonkeyPatch, sizes: list[int], limit: int
) -> None:
    monkeypatch.setattr(trial_logs, "HEAD_CHARACTERS", 100)
    monkeypatch.setattr(trial_logs, "TAIL_CHARACTERS", 150)
    monkeypatch.setattr(trial_logs, "PIECE_CHARACTERS", 40)
    study = repository.create_study(complete_spec())
    runner = Runner.of(repository, store_url, study.id)
    runner.commit(start(0, 0))
    whole = "".join(chr(ord("a") + i % 26) for i in range(sum(sizes)))
    at = 0

    for size in sizes:
        runner.commit(printed=[Printed(0, whole[at : at + size])])
        at += size
    found = pages(repository, f"{study.id}-0", limit)

    told = at_end = 0
    for page in found:
        assert page.text == whole[page.start : page.next_position]
        assert len(page.text) <= limit
        assert page.left_out == page.start - at_end
        told, at_end = told + len(page.text), page.next_position
    assert at_end == len(whole)
    assert told == len(whole) - sum(page.left_out for page in found)
    assert sum(page.left_out > 0 for page in found) <= 1
    missing = next((page for page in found if page.left_out), None)
    if missing is not None:
        assert missing.start - missing.left_out >= 100
        assert len(whole) - missing.start >= 150
        assert missing.whole_text.startswith(f"\n[{missing.left_out:,} characters left out]\n")
    assert told <= 100 + 150 + 3 * 40


def test_a_flood_leaves_a_bounded_number_of_rows(repository: Repository, runner: Runner, study: Study) -> None:
    runner.commit(start(0, 0))

    for n in range(30):
        runner.commit(printed=[Printed(0, f"{n:07}\n" * 64 * 1024)])

    with repository.engine.connect() as connection:
        kept = connection.execute(select(func.sum(TrialLogRow.size), func.count())).one()
    assert kept[0] <= trial_logs.HEAD_CHARACTERS + trial_logs.TAIL_CHARACTERS + 2 * trial_logs.PIECE_CHARACTERS
    assert kept[1] <= 36
    log = "".join(page.whole_text for page in pages(repository, f"{study.id}-0", 256 * 1024))
    assert log.startswith("0000000\n")
    assert log.endswith("0000029\n")
    assert " characters left out]" in log
    assert len(repository.trial(f"{study.id}-0").log) == 64 * 1024


def test_a_log_over_rest(service: Service) -> None:
    study = service.create()["id"]
    service.runner(study).commit(start(0, 0), printed=[Printed(0, "0123456789")])

    page = service.client.get(f"/v1/trials/{study}-0/log", params={"position": 2, "limit": 3}).json()
    behind = service.client.get(f"/v1/trials/{study}-0/log", params={"position": 2**53 - 1}).json()

    expected = {"start": 2, "text": "234", "left_out": 0, "next_position": 5, "more": True, "over": False}
    assert page == {**expected, "end": 10}
    assert (behind["text"], behind["next_position"], behind["more"]) == ("", 10, False)


@pytest.fixture(scope="module")
def shared_study(shared_service: Service) -> str:
    """A study with one trial."""
    study: str = shared_service.create()["id"]
    shared_service.runner(study).commit(start(0, 0))
    return study


@pytest.mark.parametrize(
    ("trial", "params", "status"),
    [
        ("{study}-1", {}, 404),
        ("nonsense", {}, 404),
        ("{study}-0", {"position": -1}, 422),
        ("{study}-0", {"position": 10**30}, 422),
        ("{study}-0", {"position": "x"}, 422),
        ("{study}-0", {"limit": 0}, 422),
        ("{study}-0", {"limit": 10**6}, 422),
    ],
)
def test_what_cannot_be_read_says_why(
    shared_service: Service, shared_study: str, trial: str, params: dict[str, object], status: int
) -> None:
    answer = shared_service.client.get(f"/v1/trials/{trial.format(study=shared_study)}/log", params=params)  # type: ignore[arg-type]

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_logs_go_with_their_study(repository: Repository, runner: Runner, study: Study) -> None:
    runner.commit(start(0, 0), ended(0, 0, TrialState.COMPLETED), printed=[Printed(0, "line\n")])
    runner.finish()

    repository.delete_study(study.id)

    with repository.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(TrialLogRow)).scalar_one() == 0
        assert connection.execute(select(func.count()).select_from(EventRow)).scalar_one() == 1


def test_the_migration_carries_logs_and_studies_there_and_back(
    repository: Repository, runner: Runner, study: Study
) -> None:
    engine = repository.engine
    long = "".join(f"line {n}\n" for n in range(20_000))
    printed = [Printed(0, "short\n"), Printed(1, long)]
    runner.commit(start(0, 0), start(1, 1), start(2, 2), printed=printed)

    with writing(engine) as connection:
        command.downgrade(alembic_config(connection), "0002")
    with engine.connect() as connection:
        before = connection.execute(text("SELECT number, log FROM trials ORDER BY number")).all()
        spec = connection.execute(text("SELECT spec FROM studies")).scalar_one()
    migrate(engine)

    ending = long[-64 * 1024 :]
    assert [tuple(row) for row in before] == [(0, "short\n"), (1, ending), (2, "")]
    assert "command" not in str(spec)
    assert [repository.trial(f"{study.id}-{n}").log for n in range(3)] == ["short\n", ending, ""]
    assert repository.study(study.id).spec == study.spec
