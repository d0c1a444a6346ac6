"""What may be relied on of every journal (see `workers/journal.py`), on each store."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from db_knobs.lab.postgres import PrivatePostgres
from optimizers.protocol import Incumbent, Job, JobEnd, Report
from service.store import leases
from service.store.engine import migrate, open_engine
from service.store.journal import SqlJournal
from service.store.repository import Repository
from tests.workers.memory_journal import MemoryJournal
from tunewright.space import Float, SearchSpace
from tunewright.study import Budget, Fidelity, Objective, Resources, StudySpec, StudyState, TrialState
from workers.journal import (
    AttemptStarted,
    Batch,
    Enqueued,
    Fact,
    Fenced,
    JobEnded,
    JobStarted,
    Journal,
    Reported,
    Status,
    Wanted,
)

SPEC = StudySpec(
    name="contract",
    workload="bowl",
    space=SearchSpace(Float("x", 0.1, 1.0, log=True)),
    objectives=[Objective(metric="loss")],
    fidelity=Fidelity(name="steps", max=9),
    resources=Resources(),
    budget=Budget(trials=3),
)


class Store(Protocol):
    """A place for journals."""

    def create(self, spec: StudySpec) -> str:
        """A new study's id."""

    def journal(self, study: str) -> Journal:
        """The study's journal under a new epoch."""

    def want(self, study: str, wanted: Wanted) -> None:
        """What people want of the study from now on."""

    def enqueue(self, study: str, config: dict[str, Any]) -> None:
        """Somebody wants a configuration to be tried."""


class InMemory:
    def __init__(self) -> None:
        self._newest: dict[str, MemoryJournal] = {}

    def create(self, spec: StudySpec) -> str:
        study = f"study{len(self._newest)}"
        self._newest[study] = MemoryJournal(spec)
        return study

    def journal(self, study: str) -> Journal:
        self._newest[study] = self._newest[study].taken_over()
        return self._newest[study]

    def want(self, study: str, wanted: Wanted) -> None:
        self._newest[study].wanted = wanted

    def enqueue(self, study: str, config: dict[str, Any]) -> None:
        self._newest[study].configs.append(config)


@dataclass
class OnSql:
    url: str
    repository: Repository

    def create(self, spec: StudySpec) -> str:
        return self.repository.create_study(spec).id

    def journal(self, study: str) -> Journal:
        epoch = leases.acquire(self.repository.engine, leases.study_lease(study), "test", seize=True)
        assert epoch is not None
        # A runner gets its journal over the wire.
        copy: SqlJournal = pickle.loads(pickle.dumps(SqlJournal(self.url, study, epoch)))
        return copy

    def want(self, study: str, wanted: Wanted) -> None:
        self.repository.steer(study, wanted)

    def enqueue(self, study: str, config: dict[str, Any]) -> None:
        self.repository.enqueue(study, config)


@pytest.fixture(scope="module", params=["memory", "sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One for all tests: each makes studies of its own."""
    if request.param == "memory":
        yield InMemory()
        return
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}"
        else:
            server: PrivatePostgres = request.getfixturevalue("postgres")
            database = server.create_database()
            stack.callback(server.drop_database, database)
            url = server.url(database)
        engine = open_engine(url)
        stack.callback(engine.dispose)
        migrate(engine)
        yield OnSql(url, Repository(engine))


def batch(number: int, *facts: Fact, state: StudyState = StudyState.RUNNING, **fields: Any) -> Batch:
    return Batch(number, 1_000.0 + number, facts, fields.pop("attempts", []), Status(state, float(number), **fields))


def start(job: int, trial: int, begin: float = 0.0) -> JobStarted:
    return JobStarted(Job(job, trial, {"x": 0.5}, begin, begin + 3))


def report(job: int, trial: int, resource: float, loss: float = 0.5) -> Reported:
    return Reported(Report(job, trial, resource, {"loss": loss}, seconds=resource / 3), attempt=1)


def test_a_new_study_has_no_facts(store: Store) -> None:
    record = store.journal(store.create(SPEC)).load()

    assert (record.batch, list(record.facts), record.attempts) == (0, [], {})
    assert (record.state, record.wanted, record.spec) == (StudyState.QUEUED, Wanted.RUN, SPEC)


def test_facts_come_back_in_their_order(store: Store) -> None:
    study = store.create(SPEC)
    journal = store.journal(study)
    first = [start(0, 0), start(1, 1)]
    second = [report(1, 1, 3), report(0, 0, 1), JobEnded(1, 1, JobEnd.COMPLETED, TrialState.WAITING), start(2, 1, 3)]
    third = [report(0, 0, 2), report(2, 1, 4), JobEnded(0, 0, JobEnd.FAILED, TrialState.FAILED, "it broke")]

    for number, facts in enumerate((first, second, third), start=1):
        journal.commit(batch(number, *facts))

    record = store.journal(study).load()
    assert list(record.facts) == first + second + third
    assert (record.batch, record.active_seconds) == (3, 3.0)


def test_a_job_remembers_where_it_left_its_trial_after_the_trial_went_on(store: Store) -> None:
    study = store.create(SPEC)
    journal = store.journal(study)
    journal.commit(batch(1, start(0, 0), report(0, 0, 3), JobEnded(0, 0, JobEnd.COMPLETED, TrialState.WAITING)))

    journal.commit(batch(2, start(1, 0, 3), report(1, 0, 6), JobEnded(1, 0, JobEnd.COMPLETED, TrialState.COMPLETED)))

    ends = [fact.trial_state for fact in journal.load().facts if isinstance(fact, JobEnded)]
    assert ends == [TrialState.WAITING, TrialState.COMPLETED]


def test_committing_a_batch_again_changes_nothing(store: Store) -> None:
    journal = store.journal(store.create(SPEC))
    journal.commit(batch(1, start(0, 0)))
    journal.commit(batch(2, report(0, 0, 1)))
    before = journal.load()

    journal.commit(batch(2, report(0, 0, 1)))

    assert journal.load() == before


@pytest.mark.parametrize("number", [0, 3, 7])
def test_a_batch_that_does_not_follow_is_refused(store: Store, number: int) -> None:
    journal = store.journal(store.create(SPEC))
    journal.commit(batch(1, start(0, 0)))
    before = journal.load()

    with pytest.raises(Fenced, match="does not follow"):
        journal.commit(batch(number, report(0, 0, 1)))

    assert journal.load() == before


def test_an_old_epoch_writes_nothing(store: Store) -> None:
    study = store.create(SPEC)
    old = store.journal(study)
    old.commit(batch(1, start(0, 0)))
    new = store.journal(study)

    with pytest.raises(Fenced, match="epoch"):
        old.commit(batch(2, report(0, 0, 1)))
    with pytest.raises(Fenced, match="epoch"):
        old.heartbeat()

    assert new.load().batch == 1
    new.commit(batch(2, report(0, 0, 2)))
    assert list(new.load().facts) == [start(0, 0), report(0, 0, 2)]


def test_the_heartbeat_says_what_people_want(store: Store) -> None:
    study = store.create(SPEC)
    journal = store.journal(study)

    seen = [journal.heartbeat()]
    for wanted in (Wanted.PAUSE, Wanted.RUN, Wanted.CANCEL):
        store.want(study, wanted)
        seen.append(journal.heartbeat())

    assert seen == [Wanted.RUN, Wanted.PAUSE, Wanted.RUN, Wanted.CANCEL]


def test_attempts_are_told_of_jobs_that_have_not_ended(store: Store) -> None:
    journal = store.journal(store.create(SPEC))
    journal.commit(batch(1, start(0, 0), start(1, 1), start(2, 2)))

    journal.commit(batch(2, attempts=[AttemptStarted(0, 1, "a:1"), AttemptStarted(1, 1, "a:2")]))
    journal.commit(batch(3, JobEnded(0, 0, JobEnd.COMPLETED, TrialState.WAITING), attempts=[AttemptStarted(1, 2, "b")]))

    assert journal.load().attempts == {1: 2, 2: 0}


def test_who_began_what_is_told_of_open_jobs_and_of_all_that_were_asked_for_with_a_key(store: Store) -> None:
    journal = store.journal(store.create(SPEC))
    keyed = AttemptStarted(0, 1, "a", "key", "digest")
    journal.commit(batch(1, start(0, 0), start(1, 1), start(2, 2), attempts=[keyed, AttemptStarted(1, 1, "b")]))
    journal.commit(batch(2, attempts=[AttemptStarted(2, 1, "c", "old", "digest")]))

    ended = [JobEnded(job, job, JobEnd.COMPLETED, TrialState.WAITING, told="1:digest") for job in (0, 1)]
    again = AttemptStarted(2, 2, "d", "new", "digest", losses=1, failures=3)
    journal.commit(batch(3, *ended, attempts=[again]))

    record = journal.load()
    assert list(record.begun) == [keyed, again]
    assert {job: record.begun_at[job] for job in (0, 2)} == {0: 1_001.0, 2: 1_003.0}
    assert [fact.told for fact in record.facts if isinstance(fact, JobEnded)] == ["1:digest"] * 2


def test_what_is_enqueued_is_handed_out_until_a_fact_tells_of_it(store: Store) -> None:
    study = store.create(SPEC)
    journal = store.journal(study)
    first, second = Enqueued(0, {"x": 0.25}), Enqueued(1, {"x": 0.5})

    store.enqueue(study, first.config)
    store.enqueue(study, second.config)
    seen = [list(journal.enqueued()), list(journal.enqueued())]
    journal.commit(batch(1, start(0, 0), first))
    seen.append(list(journal.enqueued()))
    journal.commit(batch(2, second))
    seen.append(list(journal.enqueued()))

    assert seen == [[first, second], [first, second], [second], []]


def test_it_is_known_what_was_enqueued_when_and_which_trial_it_became(store: Store) -> None:
    study = store.create(SPEC)
    journal = store.journal(study)
    store.enqueue(study, {"x": 0.25})
    store.enqueue(study, {"x": 0.5})
    facts = [
        start(0, 0),
        Enqueued(0, {"x": 0.25}),
        Enqueued(1, {"x": 0.5}),
        report(0, 0, 3),
        JobEnded(0, 0, JobEnd.COMPLETED, TrialState.WAITING),
        JobStarted(Job(1, 1, {"x": 0.25}, 0.0, 3.0), enqueued=0),
        JobEnded(1, 1, JobEnd.COMPLETED, TrialState.WAITING),
        JobStarted(Job(2, 1, {"x": 0.25}, 3.0, 6.0)),
    ]

    journal.commit(batch(1, *facts[:4]))
    journal.commit(batch(2, *facts[4:]))

    assert list(store.journal(study).load().facts) == facts


def test_an_old_epoch_cannot_say_what_became_of_the_queue(store: Store) -> None:
    study = store.create(SPEC)
    old = store.journal(study)
    store.enqueue(study, {"x": 0.25})
    new = store.journal(study)

    with pytest.raises(Fenced):
        old.commit(batch(1, Enqueued(0, {"x": 0.25})))

    assert list(new.enqueued()) == [Enqueued(0, {"x": 0.25})]


def test_a_trial_that_begins_from_another_is_loaded_with_its_parent(store: Store) -> None:
    study = store.create(SPEC)
    journal = store.journal(study)
    copy = JobStarted(Job(1, 1, {"x": 0.75}, 3.0, 6.0, rung=1, parent=0))
    facts = [start(0, 0), report(0, 0, 3), JobEnded(0, 0, JobEnd.COMPLETED, TrialState.WAITING), copy, report(1, 1, 6)]

    journal.commit(batch(1, *facts))

    assert list(store.journal(study).load().facts) == facts


def test_the_newest_status_replaces_the_one_before(store: Store) -> None:
    journal = store.journal(store.create(SPEC))
    journal.commit(batch(1, start(0, 0)))

    journal.commit(batch(2, JobEnded(0, 0, JobEnd.CANCELLED, TrialState.CANCELLED), state=StudyState.CANCELLED))

    assert journal.load().state is StudyState.CANCELLED


def test_a_released_journal_can_be_taken_up_by_the_next_runner(store: Store) -> None:
    study = store.create(SPEC)
    journal = store.journal(study)
    journal.commit(batch(1, start(0, 0)))

    journal.release()

    following = store.journal(study)
    following.commit(batch(2, report(0, 0, 1)))
    assert list(following.load().facts) == [start(0, 0), report(0, 0, 1)]


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
VALUES = st.booleans() | st.integers(-(2**53), 2**53) | NUMBERS | TEXT
CONFIGS = st.dictionaries(TEXT, VALUES, max_size=5)
METRICS = st.dictionaries(TEXT, NUMBERS, min_size=1, max_size=4)


@st.composite
def histories(draw: Callable[..., Any]) -> list[list[Fact]]:
    """Facts of a study as a runner could write them, in batches: every job ends at most once, after its reports."""
    facts: list[Fact] = []
    configs: list[dict[str, Any]] = []
    running: dict[int, tuple[int, float]] = {}
    waiting: dict[int, float] = {}
    jobs = 0
    for action in draw(st.lists(st.sampled_from(["start", "report", "end", "promote"]), max_size=30)):
        if action == "start":
            configs.append(draw(CONFIGS))
            running[jobs] = (len(configs) - 1, 0.0)
            facts.append(JobStarted(Job(jobs, len(configs) - 1, configs[-1], 0.0, 3.0, why=draw(CONFIGS))))
            jobs += 1
        elif action == "report" and running:
            job = draw(st.sampled_from(sorted(running)))
            trial, resource = running[job]
            resource += draw(st.floats(0.001, 10.0))
            running[job] = (trial, resource)
            facts.append(Reported(Report(job, trial, resource, draw(METRICS)), draw(st.integers(1, 3))))
        elif action == "end" and running:
            job = draw(st.sampled_from(sorted(running)))
            trial, resource = running.pop(job)
            end, state = draw(
                st.sampled_from([(JobEnd.COMPLETED, TrialState.WAITING), (JobEnd.LOST, TrialState.FAILED)])
            )
            if end is JobEnd.COMPLETED:
                waiting[trial] = max(resource, 1.0)
            facts.append(JobEnded(job, trial, end, state, draw(st.none() | TEXT)))
        elif action == "promote" and waiting:
            trial = draw(st.sampled_from(sorted(waiting)))
            resource = waiting.pop(trial)
            running[jobs] = (trial, resource)
            facts.append(JobStarted(Job(jobs, trial, configs[trial], resource, resource + 3.0, rung=1, bracket=0)))
            jobs += 1
    cuts = sorted(draw(st.lists(st.integers(0, len(facts)), max_size=5)))
    return [facts[a:b] for a, b in zip([0, *cuts], [*cuts, len(facts)], strict=True)]


@given(history=histories())
@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_is_loaded_bit_for_bit(store: Store, history: list[list[Fact]]) -> None:
    study = store.create(SPEC)
    journal = store.journal(study)

    for number, facts in enumerate(history, start=1):
        journal.commit(batch(number, *facts, best=[Incumbent(0, {}, 1.0, {"loss": 0.0})]))

    loaded = store.journal(study).load()
    assert loaded.batch == len(history)
    # repr tells True from 1, 1 from 1.0 and 0.0 from -0.0.
    expected = [repr(fact) for facts in history for fact in facts]
    assert [repr(fact) for fact in loaded.facts] == expected
