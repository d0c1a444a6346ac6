"""What may be relied on of every session's journal (see `workers/session_journal.py`), on each store."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import Engine, select

from db_knobs.address import Address, Password, server_of
from db_knobs.catalog import Host
from optimizers.onlinetune.intervals import Expected
from service.store import databases, leases, sessions
from service.store.databases import NewDatabase
from service.store.engine import migrate, open_engine
from service.store.repository import new_id
from service.store.session_journal import SqlSessionJournal
from service.store.tables import EventRow, SessionFactRow
from tests.service.session_runners import PROBE, began, intended, measured, suggestion
from tunewright.session import SessionSpec, SessionState
from workers.session_journal import (
    Fenced,
    Intended,
    JournalUnavailable,
    Noticed,
    Restored,
    SessionBatch,
    SessionFact,
    SessionStatus,
    Skipped,
    Stands,
    Wanted,
)

_NUMBERS = itertools.count()
SPEC = SessionSpec(database="prod", knobs=["work_mem"], interval=2.0)
FACTS: list[SessionFact] = [
    began(),
    intended(),
    Stands({"work_mem": 8192, "jit": False, "cost": 1.1}),
    measured(lost=0.25),
    Skipped(1_011.0, "too little traffic"),
    Noticed(1_012.0, "clamped", "work_mem became 8000", "work_mem"),
    Restored(1_013.0, {"work_mem": 4096}, {"jit": "somebody set it"}, "watchdog"),
]


@dataclass
class Store:
    """A store with one session in it."""

    url: str
    engine: Engine
    session: str
    port: int

    def journal(self) -> SqlSessionJournal:
        """The session's journal under a new epoch, as a runner gets it over the wire."""
        epoch = leases.acquire(self.engine, leases.session_lease(self.session), "test", seize=True)
        assert epoch is not None
        copy: SqlSessionJournal = pickle.loads(
            pickle.dumps(SqlSessionJournal(self.url, self.session, epoch, Password("canary")))
        )
        return copy

    def numbers(self) -> tuple[list[int], list[int]]:
        """Of the session's facts and events."""
        facts = select(SessionFactRow.number).where(SessionFactRow.session_id == self.session)
        events = select(EventRow.id).where(EventRow.study_id == self.session)
        with self.engine.connect() as connection:
            return sorted(connection.scalars(facts)), sorted(connection.scalars(events))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Engine]]:
    """A store that all tests share, each with a session of its own."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}"
    else:
        server = request.getfixturevalue("postgres")
        url = server.url(server.create_database())
    engine = open_engine(url)
    migrate(engine)
    yield url, engine
    engine.dispose()


@pytest.fixture
def store(place: tuple[str, Engine]) -> Store:
    url, engine = place
    number = next(_NUMBERS)
    database = databases.add(engine, _database(f"prod {number}", 5000 + number))
    return Store(url, engine, sessions.create(engine, SPEC, database.id).id, 5000 + number)


def _database(name: str, port: int) -> NewDatabase:
    address = Address("postgresql", "db.example", port, "tuner", database="shop", tls="require")
    server = server_of(address.host, address.port)
    return NewDatabase(new_id(), name, "default", address, "none", None, Host(2**33, 4), server, PROBE)


def batch(number: int, *facts: SessionFact, state: SessionState = SessionState.RUNNING, **fields: Any) -> SessionBatch:
    return SessionBatch(number, 1_000.0 + number, facts, SessionStatus(state, float(number), **fields))


def test_a_new_session_has_no_facts_and_knows_its_database(store: Store) -> None:
    record = store.journal().load()

    assert (record.session, record.spec, record.batch, list(record.facts)) == (store.session, SPEC, 0, [])
    assert (record.wanted, record.status) == (Wanted.RUN, SessionStatus(SessionState.PENDING, 0.0))
    assert record.address == Address(
        "postgresql", "db.example", store.port, "tuner", Password("canary"), "shop", tls="require"
    )
    assert record.host == Host(2**33, 4)
    assert "canary" not in repr(record)


def test_what_was_committed_comes_back_equal_and_in_order(store: Store) -> None:
    journal = store.journal()
    best = {"config": {"work_mem": 8192}, "gain": 0.1}
    last = batch(
        2, *FACTS[3:], state=SessionState.WAITING, reason="why", touched=True, intervals=1, unsafe=1, lost=0.25,
        gain=0.1, best=best, tuner={"radius": {"0": 0.04}}, next_at=1_020.0,
    )  # fmt: skip
    journal.commit(batch(1, *FACTS[:3]))
    journal.commit(last)

    record = store.journal().load()

    assert list(record.facts) == FACTS
    assert (record.batch, record.status) == (2, last.status)


def test_a_batch_whose_outcome_is_unknown_can_be_committed_again(store: Store) -> None:
    journal = store.journal()
    journal.commit(batch(1, *FACTS))
    before = store.numbers()

    journal.commit(batch(1, *FACTS))

    assert store.numbers() == before
    assert before[0] == list(range(len(FACTS)))


def test_a_gap_between_batches_is_refused_and_writes_nothing(store: Store) -> None:
    journal = store.journal()

    with pytest.raises(Fenced, match="batch 2 does not follow 0"):
        journal.commit(batch(2, *FACTS))

    assert store.journal().load().facts == []


@pytest.mark.parametrize("act", ["commit", "heartbeat"])
def test_an_older_epoch_writes_nothing(store: Store, act: str) -> None:
    old = store.journal()
    new = store.journal()

    with pytest.raises(Fenced, match="is over"):
        old.commit(batch(1, *FACTS)) if act == "commit" else old.heartbeat()

    assert new.load().batch == 0
    new.commit(batch(1))
    old.release()
    assert leases.session_lease(store.session) in leases.live(store.engine), "it is the new one's"


def test_a_heartbeat_keeps_the_lease_and_tells_what_is_wanted(store: Store) -> None:
    journal = store.journal()
    assert journal.heartbeat() is Wanted.RUN

    sessions.steer(store.engine, store.session, Wanted.PAUSE)
    paused = journal.heartbeat()
    sessions.steer(store.engine, store.session, Wanted.CANCEL)

    assert (paused, journal.heartbeat(), store.journal().load().wanted) == (
        Wanted.PAUSE,
        Wanted.CANCEL,
        Wanted.CANCEL,
    )


def test_released_it_is_free_for_the_next_runner(store: Store) -> None:
    journal = store.journal()

    journal.release()

    assert leases.session_lease(store.session) not in leases.live(store.engine)
    store.journal()
    with pytest.raises(Fenced):
        journal.commit(batch(1))


def test_numbers_that_json_has_not_come_back(store: Store) -> None:
    wide = suggestion(gain=math.inf, lower=-math.inf, why={"width": math.nan})

    store.journal().commit(batch(1, Intended(wide), tuner={"width": math.inf}))
    (found,) = store.journal().load().facts

    assert (found.suggestion.gain, found.suggestion.lower) == (math.inf, -math.inf)  # type: ignore[union-attr]


def test_texts_that_a_store_cannot_keep_are_mended(store: Store) -> None:
    store.journal().commit(batch(1, Noticed(1.0, "mixed", "a\0b\ud800"), reason="c\0d"))

    record = store.journal().load()

    assert record.facts == [Noticed(1.0, "mixed", "a?b?")]
    assert record.status.reason == "c?d"


def test_a_store_that_is_away_is_unavailable_and_tells_no_secret(store: Store) -> None:
    epoch = leases.acquire(store.engine, leases.session_lease(store.session), "test", seize=True)
    url = (
        "sqlite:////nowhere/store.db"
        if store.url.startswith("sqlite")
        else "postgresql+psycopg://nobody:canary@127.0.0.1:1/nothing"
    )
    journal = SqlSessionJournal(url, store.session, epoch or 0, Password("canary"))

    for act in (journal.load, journal.heartbeat, lambda: journal.commit(batch(1))):
        with pytest.raises(JournalUnavailable) as caught:
            act()
        assert "canary" not in str(caught.value)


def test_what_was_expected_in_the_load_that_was_measured_is_kept_and_told(store: Store) -> None:
    fact = measured()
    expected = Expected(reference=80.0, doubt=0.03, gain=0.2)
    fact = replace(fact, interval=fact.interval.model_copy(update={"expected": expected}))

    store.journal().commit(batch(1, fact, intervals=1))

    assert store.journal().load().facts == [fact]
    with store.engine.connect() as connection:
        query = select(EventRow.body).where(EventRow.study_id == store.session, EventRow.kind == "interval")
        assert connection.scalars(query).one()["expected"] == 80.0


def test_events_tell_of_settings_intervals_notices_and_states_in_the_sessions_project(store: Store) -> None:
    store.journal().commit(batch(1, *FACTS, intervals=1))

    with store.engine.connect() as connection:
        events = connection.execute(
            select(EventRow.__table__).where(EventRow.study_id == store.session).order_by(EventRow.id)
        ).all()
    told = [(event.kind, event.body) for event in events[1:]]

    assert {event.project for event in events} == {"default"}
    assert [kind for kind, _ in told] == ["settings", "interval", "interval", "notice", "notice", "session"]
    bodies = [body for _, body in told]
    assert bodies[0] == {"settings": {"work_mem": 8192, "jit": False, "cost": 1.1}}
    assert (bodies[1]["performance"], bodies[1]["expected"], bodies[1]["session"]["intervals"]) == (110.0, 100.0, 1)
    assert "metrics" not in bodies[1]
    assert bodies[2]["skipped"] == "too little traffic"
    assert (bodies[4]["kind"], bodies[4]["left"]) == ("restored", {"jit": "somebody set it"})
    assert bodies[5]["state"] == "running"
