"""The life of studies against a model: whatever people, the conductor and runners do, in whatever order, the service
says what the model says, and a runner that takes over finds everything that its predecessor wrote, once.

The API and the conductor are real, on a real store; runners are told by the test what to do.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from optimizers.protocol import Job, JobEnd, Report
from service import conductor as conductor_module
from service.conductor import Conductor
from service.store import leases
from service.store.journal import SqlJournal
from tests.service.conftest import Service, study_json
from tests.service.test_conductor import Clock, QuietCluster, make
from tunewright.study import StudyState, TrialState
from workers.journal import Batch, Enqueued, Fact, Fenced, JobEnded, JobStarted, Reported, Status, Wanted

PLACES = 2
CONFIG = {"x": 0.25, "n": 3, "flag": True}
ENDS = {TrialState.COMPLETED: JobEnd.COMPLETED, TrialState.FAILED: JobEnd.FAILED}


@dataclass
class Expected:
    """A study as it should be.

    Attributes:
        trials: state of each trial.
        queue: for each enqueued configuration the trial that it became, or None.
        facts: everything that runners have written, in order.
        not_before: when it may be started again, after its runner has died.
    """

    id: str
    budget: int
    name: str
    state: StudyState = StudyState.QUEUED
    wanted: Wanted = Wanted.RUN
    revision: int = 0
    trials: list[TrialState] = field(default_factory=list)
    queue: list[int | None] = field(default_factory=list)
    retries: dict[int, int] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    runner: Runner | None = None
    not_before: float = 0.0

    @property
    def counts(self) -> dict[str, int]:
        return {state.value: count for state, count in Counter(self.trials).items()}

    @property
    def room(self) -> int:
        return self.budget - len(self.trials) - self.queue.count(None)

    @property
    def takes_configs(self) -> bool:
        return not self.state.final and self.wanted is not Wanted.CANCEL and self.room > 0

    def end(self, state: StudyState) -> None:
        """It is over, or paused; nobody runs it."""
        self.state, self.runner = state, None
        if state.final:
            self.trials = [TrialState.CANCELLED if t is TrialState.RUNNING else t for t in self.trials]


class Runner:
    """Writes into a study's journal what the test says."""

    def __init__(self, journal: SqlJournal, run: int, study: Expected) -> None:
        self.journal, self.run, self.study = journal, run, study
        record = journal.load()
        assert [key(fact) for fact in record.facts] == [key(fact) for fact in study.facts]
        assert record.wanted is study.wanted
        self.batch = record.batch
        self.batches = 0
        started = [fact for fact in record.facts if isinstance(fact, JobStarted)]
        ended = {fact.job for fact in record.facts if isinstance(fact, JobEnded)}
        self.open = {fact.job.trial: fact.job.id for fact in started if fact.job.id not in ended}
        self.jobs = len(started)
        told = [fact.number for fact in record.facts if isinstance(fact, Enqueued)]
        self.waiting = [number for number in told if number not in {fact.enqueued for fact in started}]
        self.commit()

    def commit(self, *facts: Fact, state: StudyState = StudyState.RUNNING, reason: str | None = None) -> None:
        self.batch += 1
        self.batches += 1
        counts = {TrialState(name): count for name, count in self.study.counts.items()}
        self.journal.commit(Batch(self.batch, float(self.batch), facts, [], Status(state, self.batch, reason, counts)))
        self.study.facts += facts
        self.study.state = state

    def start(self) -> None:
        """Begin the next trial, with a configuration from the queue if one waits there."""
        heard = list(self.journal.enqueued())
        self.waiting += [fact.number for fact in heard]
        number = self.waiting.pop(0) if self.waiting else None
        trial, job = len(self.study.trials), self.jobs
        self.study.trials.append(TrialState.RUNNING)
        if number is not None:
            self.study.queue[number] = trial
            self.study.retries.pop(number, None)
        self.open[trial], self.jobs = job, job + 1
        self.commit(*heard, JobStarted(Job(job, trial, CONFIG, 0.0, 9.0), number))

    def report(self, trial: int) -> None:
        resource = 1.0 + sum(isinstance(f, Reported) and f.report.trial == trial for f in self.study.facts)
        self.commit(Reported(Report(self.open[trial], trial, resource, {"loss": 0.5, "size": 1.0}), 1))

    def end(self, trial: int, state: TrialState) -> None:
        self.study.trials[trial] = state
        self.commit(JobEnded(self.open.pop(trial), trial, ENDS[state], state))

    def conclude(self, state: StudyState) -> None:
        """Leave the study, over or paused."""
        facts = [JobEnded(job, trial, JobEnd.CANCELLED, TrialState.CANCELLED) for trial, job in self.open.items()]
        study = self.study
        if state.final:
            study.end(state)
        self.commit(*(facts if state.final else []), state=state)
        study.end(state)
        self.journal.release()


def key(fact: Fact) -> tuple[Any, ...]:
    """What tells one fact from another."""
    if isinstance(fact, JobStarted):
        return "started", fact.job.id, fact.job.trial, fact.enqueued
    if isinstance(fact, Reported):
        return "reported", fact.report.trial, fact.report.resource
    if isinstance(fact, JobEnded):
        return "ended", fact.job, fact.trial_state
    return "enqueued", fact.number


class StudyLife(RuleBasedStateMachine):
    """People, a conductor and runners."""

    studies = Bundle("studies")

    def __init__(self, service: Service, clock: Clock) -> None:
        super().__init__()
        self.service, self.clock = service, clock
        self.client = service.client
        self.cluster = Cluster()
        self.conductor: Conductor = make(
            service.repository, service.settings.store_url, self.cluster, "model", most=PLACES
        )
        self.all: dict[str, Expected] = {}

    # People

    @precondition(lambda self: len(self.all) < 3)
    @rule(target=studies, budget=st.integers(1, 5), twice=st.booleans())
    def create(self, budget: int, twice: bool) -> Expected:
        name = f"study {len(self.all)}"
        body = study_json(name=name, budget={"trials": budget})
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        answers = [self.client.post("/v1/studies", json=body, headers=headers) for _ in range(1 + twice)]
        assert [answer.status_code for answer in answers] == [201] * len(answers)
        assert len({answer.json()["id"] for answer in answers}) == 1
        return self._know(Expected(answers[0].json()["id"], budget, name))

    @precondition(lambda self: len(self.all) < 4)
    @rule(target=studies, study=studies)
    def clone(self, study: Expected) -> Any:
        answer = self.client.post(f"/v1/studies/{study.id}/clone", json={})
        if study.id not in self.all:
            assert answer.status_code == 404
            return multiple()
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert made["spec"]["budget"]["trials"] == study.budget
        return self._know(Expected(made["id"], study.budget, made["name"]))

    @rule(study=studies, wanted=st.sampled_from(Wanted))
    def steer(self, study: Expected, wanted: Wanted) -> None:
        verb = {Wanted.RUN: "resume", Wanted.PAUSE: "pause", Wanted.CANCEL: "cancel"}[wanted]
        possible = not study.state.final and not (study.wanted is Wanted.CANCEL and wanted is not Wanted.CANCEL)
        if self._post(study, verb, 202 if possible else 409):
            study.wanted = wanted

    @rule(study=studies, budget=st.integers(1, 9))
    def extend(self, study: Expected, budget: int) -> None:
        used = budget <= len(study.trials)
        if study.state in (StudyState.COMPLETED, StudyState.FAILED):
            expected = 422 if used else 202
        else:
            expected = 202 if not study.state.final and budget == study.budget else 409
        if self._post(study, "extend", expected, {"budget": {"trials": budget}}) and study.state.final:
            study.budget, study.state, study.wanted = budget, StudyState.QUEUED, Wanted.RUN

    @rule(study=studies)
    def enqueue(self, study: Expected) -> None:
        if self._post(study, "queue", 201 if study.takes_configs else 409, {"config": CONFIG}):
            study.queue.append(None)

    @rule(study=studies, trial=st.integers(0, 4))
    def retry(self, study: Expected, trial: int) -> None:
        waits = trial in study.retries.values()
        if trial >= len(study.trials):
            expected = 404
        elif study.trials[trial] is not TrialState.FAILED or not (waits or study.takes_configs):
            expected = 409
        else:
            expected = 201
        if self._post(study, f"trials/{trial}/retry", expected) and not waits:
            study.retries[len(study.queue)] = trial
            study.queue.append(None)

    @rule(study=studies, name=st.sampled_from("abc"), behind=st.integers(0, 1))
    def rename(self, study: Expected, name: str, behind: int) -> None:
        body = {"name": name, "revision": max(0, study.revision - behind)}
        answer = self.client.patch(f"/v1/studies/{study.id}", json=body)
        if study.id not in self.all:
            assert answer.status_code == 404
        elif body["revision"] != study.revision:
            assert answer.status_code == 409
        else:
            assert answer.status_code == 200, answer.text
            study.revision += name != study.name
            study.name = name

    @rule(study=studies)
    def delete(self, study: Expected) -> None:
        answer = self.client.delete(f"/v1/studies/{study.id}")
        known = self.all.get(study.id)
        assert answer.status_code == (404 if known is None else 204 if study.state.final else 409)
        if answer.status_code == 204:
            del self.all[study.id]

    # The conductor

    @rule()
    def tick(self) -> None:
        self.clock.now += 1.0
        self.conductor.tick()
        running = sum(study.runner is not None for study in self.all.values())
        for study in sorted(self.all.values(), key=lambda study: study.id):
            if study.state.final or study.runner is not None:
                continue
            if study.wanted is Wanted.CANCEL:
                ended = [JobEnded(job, trial, JobEnd.CANCELLED, TrialState.CANCELLED) for trial, job in opened(study)]
                study.facts += ended
                study.end(StudyState.CANCELLED)
            elif study.wanted is Wanted.PAUSE:
                study.end(StudyState.PAUSED)
            elif running < PLACES and self.clock.now >= study.not_before:
                running += 1
                run, journal = self.cluster.waiting.pop(study.id)
                study.runner = Runner(journal, run, study)
        assert self.cluster.waiting == {}

    # Runners

    @rule(which=st.integers(0, 9), choices=st.lists(st.integers(0, 9), min_size=1, max_size=8))
    def work(self, which: int, choices: list[int]) -> None:
        if not self._running():
            self.tick()
        for choice in choices:
            running = self._running()
            if running:
                self._step(running[which % len(running)], choice)

    def _running(self) -> list[Runner]:
        return [study.runner for study in self.all.values() if study.runner is not None]

    def _step(self, runner: Runner, choice: int) -> None:
        study = runner.study
        wanted = runner.journal.heartbeat()
        assert wanted is study.wanted
        if wanted is not Wanted.RUN:
            self._conclude(runner, StudyState.PAUSED if wanted is Wanted.PAUSE else StudyState.CANCELLED)
            return
        moves: list[Callable[[], None]] = []
        if len(study.trials) < study.budget:
            moves.append(runner.start)
        for trial in sorted(runner.open):
            moves += [lambda t=trial: runner.report(t), lambda t=trial: runner.end(t, TrialState.COMPLETED)]
            moves.append(lambda t=trial: runner.end(t, TrialState.FAILED))
        if not moves:
            everything = set(study.trials) == {TrialState.FAILED}
            self._conclude(runner, StudyState.FAILED if everything else StudyState.COMPLETED)
            return
        moves[choice % len(moves)]()

    @rule(study=studies)
    def kill(self, study: Expected) -> None:
        """Its runner dies; another one takes over."""
        runner = study.runner
        # One that dies without having got anywhere is another story (`test_conductor`).
        if runner is None or runner.batches < 3:
            return
        self.cluster.deaths[runner.run] = "killed"
        study.runner = None
        study.not_before = self.clock.now + 1.4
        self.tick()
        self.tick()
        if study.runner is not None:
            with pytest.raises(Fenced):
                runner.commit()
            study.state = StudyState.RUNNING

    # What must hold

    @invariant()
    def the_service_says_what_the_model_says(self) -> None:
        listed = self.client.get("/v1/studies?limit=500").json()["items"]
        assert {study["id"] for study in listed} == set(self.all)
        for found in listed:
            expected = self.all[found["id"]]
            assert (found["state"], found["wanted"]) == (expected.state, expected.wanted), found
            assert found["counts"] == expected.counts
            assert (found["name"], found["revision"]) == (expected.name, expected.revision)

    @invariant()
    def queues_and_trials_are_whole(self) -> None:
        for study in list(self.all.values())[-2:]:
            queue = self.client.get(f"/v1/studies/{study.id}/queue?limit=500").json()["items"]
            trials = self.client.get(f"/v1/studies/{study.id}/trials?limit=500").json()["items"]
            assert [entry["trial"] for entry in queue] == [
                None if trial is None else f"{study.id}-{trial}" for trial in study.queue
            ]
            assert [trial["number"] for trial in trials] == list(reversed(range(len(study.trials))))
            reported = Counter(fact.report.trial for fact in study.facts if isinstance(fact, Reported))
            assert {trial["number"]: trial["resource"] for trial in trials if trial["resource"]} == reported

    def teardown(self) -> None:
        """Leave the store as empty as it was found: every study can be brought to its end and deleted."""
        for study in list(self.all.values()):
            if study.runner is not None:
                study.wanted = Wanted.CANCEL if study.wanted is Wanted.RUN else study.wanted
                self.client.post(f"/v1/studies/{study.id}/cancel")
                study.runner.conclude(StudyState.CANCELLED)
            elif not study.state.final:
                self.client.post(f"/v1/studies/{study.id}/cancel")
                study.wanted = Wanted.CANCEL
        self.cluster.deaths.update(dict.fromkeys(range(self.cluster.runs)))
        self.clock.now += 1.0
        self.conductor.tick()
        for study_id in self.all:
            assert self.client.delete(f"/v1/studies/{study_id}").status_code == 204
        self.conductor._resign()

    def _know(self, study: Expected) -> Expected:
        self.all[study.id] = study
        return study

    def _post(self, study: Expected, what: str, expected: int, body: Any = None) -> bool:
        """Whether it was done, as expected."""
        answer = self.client.post(f"/v1/studies/{study.id}/{what}", json=body)
        assert answer.status_code == (expected if study.id in self.all else 404), answer.text
        return bool(answer.is_success)

    def _conclude(self, runner: Runner, state: StudyState) -> None:
        runner.conclude(state)
        self.cluster.deaths[runner.run] = None


class Cluster(QuietCluster):
    """Hands the journals of new runners to the test.

    Attributes:
        waiting: study -> run and journal of a runner that was started and has not begun.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[str, tuple[int, SqlJournal]] = {}
        self.runs = 0

    def start_runner(self, study: str, journal: SqlJournal, settings: Any, *, external: bool) -> int:
        self.waiting[study] = (self.runs, journal)
        self.runs += 1
        return self.runs - 1


def opened(study: Expected) -> list[tuple[int, int]]:
    """Trials and jobs that were started and have not ended."""
    ended = {fact.job for fact in study.facts if isinstance(fact, JobEnded)}
    started = [fact.job for fact in study.facts if isinstance(fact, JobStarted)]
    return [(job.trial, job.id) for job in started if job.id not in ended]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(conductor_module, "time", clock)
    monkeypatch.setattr(leases, "now", lambda _: clock.time())
    return clock


@pytest.mark.slow
def test_every_life_of_a_study_is_as_the_model_says(service: Service, clock: Clock) -> None:
    run_state_machine_as_test(
        lambda: StudyLife(service, clock),
        settings=settings(
            max_examples=30,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )
