"""Requests that come at once: the outcome is that of some order in which they came one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from db_knobs.lab.postgres import PrivatePostgres
from service.store import event_log, tokens
from service.store.engine import writing
from service.store.errors import Conflict, NotFound
from service.store.journal import SqlJournal
from service.store.repository import Repository
from service.store.request_keys import RequestKey
from tests.service.conftest import Runner, complete_spec, postgresql_only, report, start
from tunewright.access import Scope
from tunewright.study import Budget, StudyState
from tunewright.views import Study
from workers.journal import Batch, JournalUnavailable, Status, Wanted

SECONDS = 30.0


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each call returned or raised; all begin together."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait(SECONDS)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_one_key_makes_one_study(repository: Repository) -> None:
    spec = complete_spec()
    key = RequestKey.of("key", spec.model_dump(mode="json"))

    studies = at_once(*[lambda: repository.create_study(spec, key).id] * 8)

    assert len(set(studies)) == 1
    assert [study.id for study in repository.studies(limit=10).items] == studies[:1]


def test_one_key_for_two_requests_makes_one_of_them(repository: Repository) -> None:
    spec = complete_spec()

    outcomes = at_once(*[partial(repository.create_study, spec, RequestKey.of("key", n)) for n in range(4)])

    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 3
    assert len(repository.studies(limit=10).items) == 1


def test_one_name_makes_one_token(repository: Repository) -> None:
    def create() -> str:
        with writing(repository.engine) as connection:
            return tokens.create(connection, "ci", Scope.READ, "*")[0].id

    for _ in range(5):
        made = [outcome for outcome in at_once(*[create] * 8) if not isinstance(outcome, Conflict)]

        assert len(made) == 1
        with writing(repository.engine) as connection:
            tokens.revoke(connection, *made)


def test_other_keys_do_not_wait(repository: Repository) -> None:
    spec = complete_spec()

    studies = at_once(*[partial(repository.create_study, spec, RequestKey.of(f"key {n}", n)) for n in range(8)])

    assert len({study.id for study in studies}) == 8


def test_a_cancelled_study_stays_cancelled(repository: Repository) -> None:
    for _ in range(5):
        study = repository.create_study(complete_spec()).id
        steps = [Wanted.PAUSE, Wanted.CANCEL, Wanted.RUN, Wanted.PAUSE]

        outcomes = at_once(*[partial(repository.steer, study, wanted) for wanted in steps])

        assert all(isinstance(outcome, (Study, Conflict)) for outcome in outcomes)
        assert [row.wanted for row in repository.unfinished() if row.id == study] == [Wanted.CANCEL]


def test_a_study_is_deleted_once(repository: Repository, store_url: str) -> None:
    study = repository.create_study(complete_spec()).id
    Runner.of(repository, store_url, study).finish()

    outcomes = at_once(*[lambda: repository.delete_study(study)] * 4)

    assert outcomes.count(None) == 1
    deleted = [event for event in repository.events(0, limit=100) if event.body.get("state") == "deleted"]
    assert len(deleted) == 1


def test_a_study_goes_on_or_is_deleted(repository: Repository, store_url: str) -> None:
    for _ in range(10):
        study = repository.create_study(complete_spec()).id
        Runner.of(repository, store_url, study).finish()

        extended, deleted = at_once(
            partial(repository.extend, study, Budget(trials=1000)), partial(repository.delete_study, study)
        )

        left = [found.state for found in repository.studies(limit=10).items]
        if isinstance(extended, Study):
            assert isinstance(deleted, Conflict)
            assert left == [StudyState.QUEUED]
            repository.steer(study, Wanted.CANCEL)
            Runner.of(repository, store_url, study).finish(StudyState.CANCELLED)
            repository.delete_study(study)
        else:
            assert isinstance(extended, NotFound)
            assert deleted is None
            assert left == []


@postgresql_only
def test_a_batch_that_is_sent_again_while_it_is_on_its_way_counts_once(
    repository: Repository, runner: Runner, store_url: str, study: Study
) -> None:
    runner.commit(start(0, 0))
    batch = Batch(2, 1_002.0, [report(0, 0, 1)], [], Status(StudyState.RUNNING, 2.0))
    again = SqlJournal(store_url, study.id, runner.journal.epoch)

    with ThreadPoolExecutor(2) as pool:
        with writing(repository.engine) as connection:
            # Holds up the end of the first, as a slow network would.
            event_log.append(connection, "other", "study", 0.0, {})
            commits = [pool.submit(journal.commit, batch) for journal in (runner.journal, again)]
        for commit in commits:
            commit.result(SECONDS)

    assert again.load().batch == 2
    assert list(again.load().facts) == [start(0, 0), report(0, 0, 1)]


@postgresql_only
def test_a_writer_that_hangs_does_not_hold_up_the_others_for_good(
    repository: Repository, store_url: str, study: Study
) -> None:
    impatient = Runner.of(repository, f"{store_url}?options=-c%20lock_timeout%3D100ms", study.id)

    with writing(repository.engine) as connection:
        event_log.append(connection, "other", "study", 0.0, {})
        with pytest.raises(JournalUnavailable, match="lock timeout"):
            impatient.commit(start(0, 0))

    impatient.batch -= 1
    impatient.commit(start(0, 0))
    assert list(impatient.journal.load().facts) == [start(0, 0)]


@postgresql_only
def test_a_runner_outlives_a_restart_of_the_server(
    repository: Repository, runner: Runner, study: Study, postgres: PrivatePostgres
) -> None:
    runner.commit(start(0, 0), report(0, 0, 1))
    before = runner.journal.load()

    postgres.stop()
    try:
        for refused in (lambda: runner.commit(report(0, 0, 2)), runner.journal.heartbeat, runner.journal.load):
            with pytest.raises(JournalUnavailable) as unavailable:
                refused()
            assert postgres.password not in str(unavailable.value)
    finally:
        postgres.start()

    assert runner.journal.load() == before
    runner.batch -= 1
    runner.commit(report(0, 0, 2))
    assert list(runner.journal.load().facts) == [start(0, 0), report(0, 0, 1), report(0, 0, 2)]
    assert repository.study(study.id).state is StudyState.RUNNING


@postgresql_only
def test_a_server_that_only_reads_for_now_loses_nothing(
    repository: Repository, runner: Runner, study: Study, postgres: PrivatePostgres
) -> None:
    runner.commit(start(0, 0))
    database = repository.engine.url.database
    postgres.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    runner.journal._engine.dispose()

    with pytest.raises(JournalUnavailable, match="read-only"):
        runner.commit(report(0, 0, 1))

    postgres.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    runner.journal._engine.dispose()
    runner.batch -= 1
    runner.commit(report(0, 0, 1))
    assert list(runner.journal.load().facts) == [start(0, 0), report(0, 0, 1)]
