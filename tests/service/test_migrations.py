"""Each migration up and down with data in place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import Connection, Engine, text

from db_knobs.address import Address
from db_knobs.catalog import Host
from models.active.human import Answer, Question
from service.store import databases, labelling, leases, sessions
from service.store.databases import NewDatabase
from service.store.engine import alembic_config, open_engine, writing
from service.store.journal import SqlJournal
from service.store.repository import Repository
from service.store.request_keys import RequestKey
from tests.service.conftest import Runner, complete_spec, ended, report, start
from tests.service.session_runners import PROBE, Writer, began, intended, measured
from tunewright.labelling_views import LabellingSpec
from tunewright.session import SessionSpec
from tunewright.study import Budget, TrialState, changed_spec
from workers.journal import AttemptStarted, JobEnded, JobStarted


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    """A store of this release."""
    engine = open_engine(store_url)
    yield engine
    engine.dispose()


def move(engine: Engine, revision: str, *, down: bool = False) -> None:
    with writing(engine) as connection:
        (command.downgrade if down else command.upgrade)(alembic_config(connection), revision)


def count(connection: Connection, table: str) -> int:
    found: int = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
    return found


def test_steering_goes_down_and_up_with_data_in_place(engine: Engine, store_url: str) -> None:
    repository = Repository(engine)
    source = repository.create_study(complete_spec())
    runner = Runner.of(repository, store_url, source.id)
    copy = start(1, 1, begin=3.0, end=6.0, parent=0)
    runner.commit(start(0, 0), report(0, 0, 3.0), ended(0, 0, TrialState.COMPLETED), copy)
    runner.journal.release()
    study = repository.create_study(complete_spec(warm_start=[source.id]), RequestKey.of("created", 1))
    repository.enqueue(study.id, {}, RequestKey.of("enqueued", 2))
    timed = repository.create_study(
        complete_spec().model_copy(update={"budget": Budget(cluster_seconds=5, patience=3)})
    )

    move(engine, "0001", down=True)
    with engine.connect() as connection:
        left = {table: count(connection, table) for table in ("studies", "trials", "jobs", "reports")}
        keys = connection.execute(text("SELECT key FROM idempotency_keys")).scalars().all()
        specs = [str(spec) for spec in connection.execute(text("SELECT spec FROM studies")).scalars()]
    move(engine, "head")

    assert left == {"studies": 3, "trials": 2, "jobs": 2, "reports": 1}
    assert keys == ["created"]
    assert not any(name in spec for spec in specs for name in ("warm_start", "patience", "cluster_seconds"))
    assert repository.study(timed.id).spec.budget == Budget(seconds=5)
    assert repository.study(study.id).spec == complete_spec()
    assert repository.queued(study.id, limit=10).items == []
    jobs = [fact.job for fact in SqlJournal(store_url, source.id, 0).load().facts if isinstance(fact, JobStarted)]
    assert [(job.id, job.trial, job.parent) for job in jobs] == [(0, 0, None), (1, 1, None)]
    assert repository.enqueue(study.id, {"n": 3}).number == 0


def test_asked_jobs_go_down_and_up_with_data_in_place(engine: Engine, store_url: str) -> None:
    repository = Repository(engine)
    spec = complete_spec(limits={"lease_seconds": 5}).model_copy(update={"workload": "external", "resources": None})
    study, other = repository.create_study(spec), repository.create_study(complete_spec())
    runner = Runner.of(repository, store_url, study.id)
    runner.commit(start(0, 0), attempts=[AttemptStarted(0, 1, "a client", "key", "digest")])
    runner.commit(report(0, 0, 3.0), ended(0, 0, TrialState.COMPLETED, told="1:digest"), start(1, 1))

    move(engine, "0004", down=True)
    with engine.connect() as connection:
        left = {table: count(connection, table) for table in ("trials", "jobs", "reports")}
        specs = [str(spec) for spec in connection.execute(text("SELECT spec FROM studies")).scalars()]
        states = dict(connection.execute(text("SELECT study_id, state FROM study_status")).all())
    move(engine, "head")

    assert left == {"trials": 2, "jobs": 2, "reports": 1}
    assert not any("lease_seconds" in spec for spec in specs)
    assert states == {study.id: "failed", other.id: "queued"}
    record = SqlJournal(store_url, study.id, 0).load()
    assert [fact.told for fact in record.facts if isinstance(fact, JobEnded)] == [None]
    assert record.begun == []
    assert record.spec.limits.lease_seconds == 60


def test_study_life_goes_down_and_up_with_data_in_place(engine: Engine, store_url: str) -> None:
    repository = Repository(engine)
    fields = {"tags": ["a"], "notes": "mine", "priority": "high", "limits": {"retry_failed": 2}}
    study = repository.create_study(changed_spec(complete_spec(), fields))
    runner = Runner.of(repository, store_url, study.id)
    runner.commit(start(0, 0), ended(0, 0, TrialState.FAILED))
    entry = repository.retry(study.id, 0)
    runner.commit(JobStarted(start(1, 1, config=entry.config).job, enqueued=0))
    repository.note_trial(f"{study.id}-0", "look")
    runner.journal.share(1.0, 2)

    move(engine, "0003", down=True)
    with engine.connect() as connection:
        left = {table: count(connection, table) for table in ("studies", "trials", "enqueued")}
        (spec,) = (str(spec) for spec in connection.execute(text("SELECT spec FROM studies")).scalars())
    move(engine, "head")

    assert left == {"studies": 1, "trials": 2, "enqueued": 1}
    assert not any(name in spec for name in ("tags", "notes", "priority", "retry_failed"))
    found = repository.study(study.id)
    assert (found.spec, found.priority, found.tags, found.revision) == (complete_spec(), "normal", [], 0)
    assert repository.studies(limit=10, tags=["a"]).items == []
    assert repository.trial(f"{study.id}-0").notes == ""
    assert repository.trial(f"{study.id}-1").retry_of is None
    assert repository.change(study.id, {"tags": ["b"]}).revision == 1


def test_counted_retries_go_down_and_up_with_data_in_place(engine: Engine, store_url: str) -> None:
    repository = Repository(engine)
    study = repository.create_study(complete_spec())
    runner = Runner.of(repository, store_url, study.id)
    runner.commit(start(0, 0), attempts=[AttemptStarted(0, 3, "a", losses=1, failures=1)])

    move(engine, "0008", down=True)
    move(engine, "head")

    assert SqlJournal(store_url, study.id, 0).load().begun == [AttemptStarted(0, 3, "a")]


def test_databases_go_down_and_up_with_data_in_place(engine: Engine, store_url: str) -> None:
    repository = Repository(engine)
    study = repository.create_study(complete_spec(), RequestKey.of("study", 1))
    address = Address("postgresql", "localhost", 5432, "tuner", database="shop")
    new = NewDatabase("0" * 16, "prod", "default", address, "none", None, Host(2**33, 4), "local:5432", PROBE)
    database = databases.add(engine, new, RequestKey.of("database", 2))
    session = sessions.create(engine, SessionSpec(database=database.id), database.id, RequestKey.of("session", 3))
    runner = Writer.of(engine, store_url, session.id)
    runner.commit(began(), intended(), measured(), touched=True)

    with pytest.raises(RuntimeError, match="1 tuning sessions are not over"):
        move(engine, "0006", down=True)
    assert leases.session_lease(session.id) in leases.live(engine), "nothing was changed"
    runner.finish()
    move(engine, "0006", down=True)
    with engine.connect() as connection:
        keys = connection.execute(text("SELECT key FROM idempotency_keys")).scalars().all()
        kinds = set(connection.execute(text("SELECT kind FROM events")).scalars())
    move(engine, "head")

    assert (keys, kinds) == (["study"], {"study"})
    assert repository.study(study.id).spec == complete_spec()
    assert databases.page(engine, limit=10).items == []
    assert sessions.page(engine, limit=10).items == []
    assert databases.add(engine, new).name == "prod"


def test_labellings_go_down_and_up_with_data_in_place(engine: Engine) -> None:
    Repository(engine)
    move(engine, "head")
    key = RequestKey.of("k", 1)
    made = labelling.create(engine, "default", LabellingSpec(dataset="sbm"), ["a", "b", "c"], key)
    labelling.add(engine, made.id, 0, [Question(3, 1, (0.2, 0.5, 0.3))])
    labelling.answer(engine, made.id, 0, Answer.YES)

    move(engine, "0007", down=True)
    with engine.connect() as connection:
        keys = count(connection, "idempotency_keys")
    move(engine, "head")

    assert keys == 0
    assert labelling.page(engine, limit=10).items == []
    assert labelling.create(engine, "default", LabellingSpec(dataset="sbm"), ["a", "b", "c"], key).id != made.id
