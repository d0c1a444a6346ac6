"""A study's desk: clients that ask and tell, leases that run out, words that come twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from optimizers.protocol import JobEnd
from tests.workers.memory_journal import MemoryJournal
from tunewright import Budget, Fidelity, Float, Objective, OptimizerSpec, SearchSpace, StudySpec, TrialLimits
from tunewright.study import EXTERNAL, StudyState, TrialState
from workers import desk, study_loop
from workers.ask_tell import Answer, Ask, Finish, Given, GivenJob, Refused, Tell, Told, Why
from workers.desk import Desk
from workers.journal import AttemptStarted, JobEnded, JobStarted, Reported, Wanted
from workers.orders import DEAF_SECONDS, Outcome, Reply
from workers.study_loop import StudyLoop
from workers.study_runner import make_optimizer

pytestmark = pytest.mark.timeout(60)

COMPLETED = Finish(Outcome.COMPLETED, "done")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_loop, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(study_loop, "RETRY_SECONDS", 0.001)


def spec(optimizer: str = "random", **fields: Any) -> StudySpec:
    return StudySpec(
        **{
            "name": "elsewhere",
            "workload": EXTERNAL,
            "space": SearchSpace(Float("x", 0, 1)),
            "objectives": [Objective(metric="loss")],
            "fidelity": Fidelity(name="steps", max=9),
            "optimizer": OptimizerSpec(name=optimizer),
            "budget": Budget(trials=3),
            "parallel": 4,
            "limits": TrialLimits(retries=1, lease_seconds=60),
            **fields,
        }
    )


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Runner:
    """A loop in a thread, and the desk at which tests are the clients.

    Attributes:
        state: in which the loop left the study; None while it runs.
    """

    def __init__(self, journal: MemoryJournal, clock: Clock) -> None:
        self.journal = journal
        self.clock = clock
        self.desk = Desk(clock, clock)
        self.desk.loop = StudyLoop(journal, make_optimizer, self.desk, wall=clock)
        self.state: StudyState | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ask(self, key: str | None = None, **fields: Any) -> list[GivenJob]:
        given = self.say(Ask("tester", key=key, digest=None if key is None else "body", **fields))
        assert isinstance(given, Given), given
        return list(given.jobs)

    def say(self, word: Ask | Tell) -> Answer:
        return self.desk.say([word])[0].result(timeout=20)

    def tell(self, job: GivenJob, *reports: tuple[float, float], finish: Finish | None = None, **fields: Any) -> Told:
        group = tuple((resource, {"loss": loss}) for resource, loss in reports)
        told = self.say(Tell(job.job.id, job.attempt, group, finish, **fields))
        assert isinstance(told, Told), told
        return told

    def complete(self, job: GivenJob, loss: float = 0.5, **fields: Any) -> Told:
        return self.tell(job, (job.job.end, loss), finish=COMPLETED, **fields)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the loop see it."""
        self._catch_up()
        while seconds > 0:
            step = min(seconds, DEAF_SECONDS / 2)
            self.clock.now += step
            seconds -= step
            self._catch_up()
        # A round that hears of leases, one that is done with it.
        for _ in range(2):
            self._catch_up()

    def stop_for(self, seconds: float) -> None:
        """As when the store is away, or the process was stopped: a round sees that much time at once."""
        self._catch_up()
        self.clock.now += seconds
        for _ in range(3):
            self._catch_up()

    def end(self) -> StudyState:
        self._thread.join(20)
        assert self.state is not None
        return self.state

    def die(self) -> Runner:
        """Kill this runner; its successor."""
        following = self.journal.taken_over()
        self.desk.loop.wake()
        self._thread.join(20)
        return Runner(following, self.clock)

    def facts(self, kind: type[Any]) -> list[Any]:
        return [fact for fact in self.journal.facts if isinstance(fact, kind)]

    def _catch_up(self) -> None:
        seen = threading.Event()
        self.desk.loop.hear([seen.set])
        until = time.monotonic() + 20
        # A loop that ends meanwhile hears of nothing more.
        while self.state is None and not seen.wait(0.05):
            assert time.monotonic() < until, "the loop does not look"

    def _run(self) -> None:
        try:
            self.state = self.desk.loop.run()
        except study_loop.Fenced:
            pass
        finally:
            self.desk.close()


Start = Callable[..., Runner]


@pytest.fixture
def start() -> Iterator[Start]:
    runners: list[Runner] = []

    def begin(**fields: Any) -> Runner:
        runners.append(Runner(MemoryJournal(spec(**fields)), Clock()))
        return runners[-1]

    yield begin
    for runner in runners:
        runner.journal.fenced = True
        runner.desk.loop.wake()


def test_nothing_is_proposed_until_somebody_asks(start: Start) -> None:
    runner = start()
    runner.pass_time(10)
    before = runner.facts(JobStarted)

    (job,) = runner.ask()

    assert before == []
    assert [fact.job for fact in runner.facts(JobStarted)] == [job.job]
    assert runner.journal.batches[-1].attempts == (AttemptStarted(0, 1, "tester"),)


def test_a_study_is_asked_and_told_to_its_end(start: Start) -> None:
    runner = start()

    for _ in range(3):
        (job,) = runner.ask()
        assert runner.tell(job, (1.0, 0.9)).reply is Reply.CONTINUE
        assert runner.complete(job).ended is True

    assert runner.end() is StudyState.COMPLETED
    assert runner.journal.batches[-1].status.counts == {TrialState.COMPLETED: 3}
    assert runner.say(Ask("tester")) == Refused(Why.CLOSED)


def test_the_last_tell_brings_the_next_job_in_one_batch(start: Start) -> None:
    runner = start()
    (job,) = runner.ask()
    batches = len(runner.journal.batches)

    told = runner.complete(job, ask=Ask("tester"))

    assert isinstance(told.given, Given)
    assert [given.job.id for given in told.given.jobs] == [1]
    assert len(runner.journal.batches) == batches + 1


def test_several_jobs_are_had_at_once_and_no_more_than_parallel(start: Start) -> None:
    runner = start(parallel=3, budget=Budget(trials=10))

    first, second = runner.ask(count=2), runner.ask(count=5)

    assert [job.job.id for job in first] == [0, 1]
    assert [job.job.id for job in second] == [2]
    assert runner.ask() == []


def test_whoever_waits_gets_the_job_that_comes_free(start: Start) -> None:
    runner = start(parallel=1)
    (job,) = runner.ask()
    (waiting,) = runner.desk.say([Ask("second", wait=30)])

    runner.complete(job)

    given = waiting.result(timeout=20)
    assert isinstance(given, Given)
    assert [job.job.id for job in given.jobs] == [1]


def test_patience_ends(start: Start) -> None:
    runner = start(parallel=1)
    runner.ask()
    (waiting,) = runner.desk.say([Ask("second", wait=30)])
    runner.pass_time(29)
    early = waiting.done()

    runner.pass_time(2)

    assert not early
    assert waiting.result(timeout=20) == Given()


def test_a_job_whose_lease_ran_out_is_given_to_the_next_that_asks(start: Start) -> None:
    runner = start(parallel=1)
    (job,) = runner.ask()
    runner.pass_time(61)

    (again,) = runner.ask()

    assert (again.job, again.attempt, again.seed) == (job.job, 2, job.seed)
    assert runner.tell(job, (1.0, 0.5)).reply is Reply.ABANDON
    assert [fact.late for fact in runner.facts(Reported)] == [False], "it is a measurement of a trial that still runs"
    assert runner.tell(job, finish=Finish(Outcome.FAILED, "f")).ended is False
    assert runner.complete(again).ended is True


def test_a_word_renews_the_lease(start: Start) -> None:
    runner = start(parallel=1)
    (job,) = runner.ask()

    for _ in range(3):
        runner.pass_time(59)
        assert runner.tell(job).reply is Reply.CONTINUE
    runner.pass_time(59)

    assert runner.ask() == []


def test_a_job_is_its_workers_after_a_time_in_which_nobody_listened(start: Start) -> None:
    runner = start(parallel=1)
    (job,) = runner.ask()

    runner.stop_for(1000)

    assert runner.ask() == []
    assert runner.tell(job, (1.0, 0.5)).reply is Reply.CONTINUE
    runner.pass_time(61)
    assert [given.job.id for given in runner.ask()] == [job.job.id]


def test_a_holder_that_was_silent_for_long_goes_on_if_nobody_has_asked(start: Start) -> None:
    runner = start(parallel=1)
    (job,) = runner.ask()
    runner.pass_time(1000)

    assert runner.tell(job, (1.0, 0.5)).reply is Reply.CONTINUE
    assert runner.ask() == []
    runner.pass_time(1000)
    assert runner.complete(job).ended is True


def test_a_silent_holder_may_come_back_only_so_often_as_another_could_have_had_the_job(start: Start) -> None:
    runner = start(parallel=1, limits=TrialLimits(retries=0, lease_seconds=60))
    (job,) = runner.ask()

    runner.pass_time(61)
    told = runner.complete(job)

    assert (told.reply, told.ended) == (Reply.ABANDON, False)
    (end,) = runner.facts(JobEnded)
    assert (end.end, end.trial_state) == (JobEnd.LOST, TrialState.FAILED)
    assert "tester, was not heard of for 61 s" in end.problem
    (late,) = runner.facts(Reported)
    assert (late.late, late.report.metrics) == (True, {"loss": 0.5})


def test_a_job_whose_end_was_reported_is_done_when_its_lease_runs_out(start: Start) -> None:
    runner = start(parallel=1)
    (job,) = runner.ask()
    runner.tell(job, (9.0, 0.5))

    runner.pass_time(61)

    (end,) = runner.facts(JobEnded)
    assert end.end is JobEnd.COMPLETED
    assert [given.job.id for given in runner.ask()] == [1]


def test_a_job_that_is_given_back_goes_to_the_next_that_asks(start: Start) -> None:
    runner = start(parallel=1)
    (job,) = runner.ask()

    told = runner.tell(job, finish=Finish(Outcome.LOST, "d", "preempted"))
    (again,) = runner.ask()

    assert told.ended is True
    assert (again.job, again.attempt) == (job.job, 2)


def test_a_late_result_ends_the_job_that_somebody_else_has_by_now(start: Start) -> None:
    runner = start(parallel=1)
    (job,) = runner.ask()
    runner.pass_time(61)
    (again,) = runner.ask()

    told = runner.complete(job, loss=0.25)

    assert told.ended is True
    assert runner.tell(again, (9.0, 0.75), finish=COMPLETED) == Told(Reply.ABANDON, ended=False)
    assert [fact.report.metrics for fact in runner.facts(Reported)] == [{"loss": 0.25}]
    (end,) = runner.facts(JobEnded)
    assert (end.end, end.told) == (JobEnd.COMPLETED, "1:done")


def test_what_is_told_twice_counts_once(start: Start) -> None:
    runner = start()
    (job,) = runner.ask()

    replies = [runner.tell(job, (1.0, 0.5), (2.0, 0.4)).reply for _ in range(2)]

    assert replies == [Reply.CONTINUE] * 2
    assert [fact.report.resource for fact in runner.facts(Reported)] == [1.0, 2.0]


def test_the_same_key_gives_the_same_jobs(start: Start) -> None:
    runner = start(budget=Budget(trials=9))

    first, second = runner.ask(key="k", count=2), runner.ask(key="k", count=2)
    other = runner.say(Ask("tester", key="k", digest="another body"))

    assert first == second
    assert len(runner.facts(JobStarted)) == 2
    assert isinstance(other, Refused)
    assert other.why is Why.CONFLICT


def test_the_same_key_at_the_same_time_gives_the_same_jobs(start: Start) -> None:
    runner = start()
    ask = Ask("tester", key="k", digest="body")

    answers = [answer.result(timeout=20) for answer in runner.desk.say([ask, ask, ask])]

    assert answers[0] == answers[1] == answers[2]
    assert len(runner.facts(JobStarted)) == 1


def test_the_same_key_gives_new_jobs_once_somebody_else_has_the_old_ones(start: Start) -> None:
    runner = start()
    (job,) = runner.ask(key="k")
    runner.pass_time(61)
    (other,) = runner.ask()

    (again,) = runner.ask(key="k")

    assert (other.job, other.attempt) == (job.job, 2)
    assert again.job.id == 1


@pytest.mark.parametrize("finished", [False, True])
def test_keys_outlive_the_runner(start: Start, finished: bool) -> None:
    runner = start(budget=Budget(trials=9))
    (job,) = runner.ask(key="k")
    if finished:
        runner.complete(job)
    following = runner.die()

    assert following.ask(key="k") == [job]


def test_jobs_outlive_the_runner_with_a_fresh_lease(start: Start) -> None:
    runner = start(parallel=1)
    (job,) = runner.ask()
    runner.pass_time(59)
    following = runner.die()
    following.pass_time(59)

    assert following.ask() == []
    assert following.tell(job, (1.0, 0.5)).reply is Reply.CONTINUE
    following.pass_time(61)
    (again,) = following.ask()
    assert (again.job, again.attempt) == (job.job, 2)
    assert following.journal.batches[-1].attempts[-1] == AttemptStarted(0, 2, "tester", losses=1)


def test_a_batch_of_words_that_came_together_is_written_together(start: Start) -> None:
    runner = start(budget=Budget(trials=50), parallel=20)
    jobs = runner.ask(count=10)
    batches = len(runner.journal.batches)
    words = [Tell(job.job.id, job.attempt, ((9.0, {"loss": 0.5}),), COMPLETED, Ask("tester")) for job in jobs]

    answers = [answer.result(timeout=20) for answer in runner.desk.say(words)]

    assert {told.given.jobs[0].job.id for told in answers if isinstance(told, Told)} == set(range(10, 20))
    assert len(runner.journal.batches) == batches + 1


@pytest.mark.parametrize(
    ("resource", "metrics", "field"),
    [
        (9.5, {"loss": 0.5}, "reports.1.resource"),
        (0.0, {"loss": 0.5}, "reports.1.resource"),
        (-1.0, {"loss": 0.5}, "reports.1.resource"),
        (2.0, {"los": 0.5}, "reports.1.metrics"),
        (2.0, {}, "reports.1.metrics"),
    ],
)
def test_a_wrong_report_is_refused_with_all_that_came_with_it(
    start: Start, resource: float, metrics: dict[str, float], field: str
) -> None:
    runner = start()
    (job,) = runner.ask()

    refused = runner.say(Tell(job.job.id, job.attempt, ((1.0, {"loss": 0.5}), (resource, metrics)), COMPLETED))

    assert isinstance(refused, Refused)
    assert (refused.why, refused.field) == (Why.INVALID, field)
    assert runner.facts(Reported) == []
    assert runner.facts(JobEnded) == []


@pytest.mark.parametrize(("job", "attempt"), [(1, 1), (0, 2), (99, 1)])
def test_a_job_that_was_never_given_out_is_unknown(start: Start, job: int, attempt: int) -> None:
    runner = start()
    runner.ask()

    refused = runner.say(Tell(job, attempt))

    assert isinstance(refused, Refused)
    assert refused.why is Why.UNKNOWN


def test_a_failed_job_says_why(start: Start) -> None:
    runner = start()
    (job,) = runner.ask()

    runner.tell(job, finish=Finish(Outcome.FAILED, "f", "ValueError: no", "Traceback ..."))

    (end,) = runner.facts(JobEnded)
    assert (end.end, end.problem, end.traceback) == (JobEnd.FAILED, "ValueError: no", "Traceback ...")


def test_a_job_that_is_finished_without_its_last_report_has_failed(start: Start) -> None:
    runner = start()
    (job,) = runner.ask()

    runner.tell(job, (3.0, 0.5), finish=COMPLETED)

    (end,) = runner.facts(JobEnded)
    assert end.end is JobEnd.FAILED
    assert "without a report at resource 9" in end.problem


def test_a_budget_that_is_used_up_stops_what_runs(start: Start) -> None:
    runner = start(budget=Budget(trials=9, target=0.3))
    first, second = runner.ask(count=2)

    runner.complete(first, loss=0.2)
    runner.pass_time(0)
    told = runner.tell(second, (1.0, 0.5))
    ended = runner.tell(second, finish=COMPLETED, ask=Ask("tester", wait=30))

    assert told.reply is Reply.STOP
    assert ended.ended is True
    assert ended.given == Given()
    assert runner.end() is StudyState.COMPLETED
    assert [fact.trial_state for fact in runner.facts(JobEnded)] == [TrialState.COMPLETED, TrialState.STOPPED]


def test_who_does_not_stop_is_given_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_loop, "STOP_GRACE_SECONDS", 0.05)
    runner = start()
    runner.ask()

    runner.journal.wanted = Wanted.CANCEL

    assert runner.end() is StudyState.CANCELLED
    assert [fact.trial_state for fact in runner.facts(JobEnded)] == [TrialState.CANCELLED]


def test_a_pause_waits_for_the_jobs_that_are_out(start: Start) -> None:
    runner = start()
    first, second = runner.ask(count=2)
    runner.journal.wanted = Wanted.PAUSE
    while not runner.desk.loop.ending:
        runner.pass_time(0)

    assert runner.ask() == []
    assert runner.complete(first).reply is Reply.CONTINUE
    assert runner.state is None
    while runner.state is None:
        runner.pass_time(DEAF_SECONDS / 2)

    assert runner.end() is StudyState.PAUSED
    assert [fact.job for fact in runner.facts(JobEnded)] == [0], "the job of the silent client stays open"
    runner.journal.wanted = Wanted.RUN
    following = Runner(runner.journal, runner.clock)
    assert following.tell(second, (1.0, 0.5)).reply is Reply.CONTINUE


def test_a_pause_waits_for_the_jobs_that_are_out_whichever_runner_hears_of_them(start: Start) -> None:
    runner = start()
    (job,) = runner.ask()
    runner.journal.wanted = Wanted.PAUSE
    following = runner.die()
    following.pass_time(0)

    assert following.ask() == []
    assert following.tell(job, (1.0, 0.5)).reply is Reply.CONTINUE
    assert following.complete(job).ended
    assert following.end() is StudyState.PAUSED


def test_a_pause_that_is_taken_back_ends_nothing(start: Start) -> None:
    runner = start()
    runner.ask()
    runner.journal.wanted = Wanted.PAUSE
    while not runner.desk.loop.ending:
        runner.pass_time(0)

    runner.journal.wanted = Wanted.RUN
    while runner.desk.loop.ending:
        runner.pass_time(0)

    assert [job.job.id for job in runner.ask()] == [1]


def test_a_leg_may_take_only_so_long_however_alive_its_client(start: Start) -> None:
    runner = start(limits=TrialLimits(leg_seconds=100))
    (job,) = runner.ask()
    for _ in range(3):
        runner.pass_time(desk.LOOK_SECONDS + 30)
        runner.tell(job)

    runner.pass_time(30)

    assert runner.tell(job).reply is Reply.ABANDON
    assert "leg_seconds" in runner.facts(JobEnded)[0].problem


def test_a_leg_has_taken_its_time_whichever_runner_counts_it(start: Start) -> None:
    runner = start(limits=TrialLimits(leg_seconds=100, lease_seconds=10))
    (job,) = runner.ask()
    for _ in range(9):
        runner.pass_time(9)
        runner.tell(job)
    following = runner.die()
    following.pass_time(9)
    in_time = following.tell(job).reply

    following.pass_time(9)
    following.tell(job)
    following.pass_time(9)

    assert in_time is Reply.CONTINUE
    assert following.tell(job).reply is Reply.ABANDON
    assert "leg_seconds" in following.facts(JobEnded)[0].problem


def test_a_leg_that_ended_while_nobody_was_at_the_desk_can_be_told(start: Start) -> None:
    runner = start(limits=TrialLimits(leg_seconds=100, lease_seconds=10))
    (job,) = runner.ask()
    runner.clock.now += 1000
    following = runner.die()
    following.pass_time(9)

    following.complete(job)

    assert [end.end for end in following.facts(JobEnded)] == [JobEnd.COMPLETED]


def test_a_job_that_was_lost_often_enough_is_given_up_by_the_next_runner(start: Start) -> None:
    runner = start(parallel=1)
    runner.ask()
    runner.pass_time(61)
    (again,) = runner.ask()
    following = runner.die()

    following.pass_time(61)

    assert again.attempt == 2
    assert [end.end for end in following.facts(JobEnded)] == [JobEnd.LOST]


@pytest.mark.parametrize("optimizer", ["asha", "tpe", "bayes", "hypertune"])
def test_every_optimizer_can_be_asked(start: Start, optimizer: str) -> None:
    runner = start(optimizer=optimizer, budget=Budget(trials=6))
    jobs = runner.ask()
    while jobs:
        told = runner.complete(jobs[0], loss=float(jobs[0].job.config["x"]), ask=Ask("tester", wait=1))
        jobs = list(told.given.jobs) if isinstance(told.given, Given) else []

    assert runner.end() is StudyState.COMPLETED
    assert sum(runner.journal.batches[-1].status.counts.values()) == 6


def test_decisions_are_those_of_a_crashed_runner(start: Start) -> None:
    def rest(runner: Runner) -> list[Any]:
        for _ in range(8):
            (job,) = runner.ask()
            runner.complete(job, loss=float(job.job.config["x"]))
        return [fact.job for fact in runner.facts(JobStarted)]

    whole, crashed = (start(optimizer="tpe", budget=Budget(trials=30)) for _ in range(2))
    rest(whole)
    rest(crashed)

    assert rest(crashed.die()) == rest(whole)
