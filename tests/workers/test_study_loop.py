"""One study's life, with legs that a script plays."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any

import pytest

from optimizers.errors import OptimizerError
from optimizers.protocol import Earlier, Incumbent, JobEnd
from tests.workers.memory_journal import MemoryJournal
from tests.workers.scripted_legs import ScriptedLegs, run, spec, train
from tunewright import (
    Budget,
    Categorical,
    Objective,
    OptimizerSpec,
    SearchSpace,
    StudySpec,
)
from tunewright.study import StudyState, TrialState
from workers import study_loop
from workers.journal import Enqueued, Fenced, JobEnded, JobStarted, Printed, Reported, StudyRecord, Wanted
from workers.orders import LegOrder, LegResult, Outcome, Reply
from workers.spending import reached
from workers.study_loop import StudyLoop
from workers.study_runner import make_optimizer


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_loop, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(study_loop, "RETRY_SECONDS", 0.001)


@pytest.mark.parametrize("optimizer", ["random", "asha", "bayes"])
def test_a_study_runs_to_its_end(optimizer: str) -> None:
    journal = MemoryJournal(spec(optimizer))

    run(journal)

    last = journal.batches[-1].status
    assert last.state is StudyState.COMPLETED
    assert sum(last.counts.values()) == 6
    assert last.best[0].resource == 9
    assert last.progress == 1.0


def test_every_job_is_journaled_before_its_leg_starts() -> None:
    journal = MemoryJournal(spec())

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        assert JobStarted(order.job) in journal.facts
        return train(legs, order)

    run(journal, play)

    assert journal.batches[-1].status.state is StudyState.COMPLETED


def test_a_report_is_journaled_before_it_is_acknowledged() -> None:
    journal = MemoryJournal(spec(budget=Budget(trials=2)))
    missing: list[float] = []

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        for step in range(1, 10):
            legs.report(order, float(step))
            written = {
                f.report.resource for f in journal.facts if isinstance(f, Reported) and f.report.job == order.job.id
            }
            if float(step) not in written:
                missing.append(step)
        return LegResult(Outcome.COMPLETED)

    run(journal, play)

    assert missing == []


def test_no_more_legs_than_parallel_run_at_once() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        result = train(legs, order)
        with lock:
            running -= 1
        return result

    run(MemoryJournal(spec(parallel=3, budget=Budget(trials=12))), play)

    assert most == 3


def test_a_repeated_report_counts_once() -> None:
    journal = MemoryJournal(spec(budget=Budget(trials=1)))

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        legs.report(order, 1.0, 2.0)
        legs.report(order, 1.0, 2.0, 9.0)
        return LegResult(Outcome.COMPLETED)

    run(journal, play)

    assert [f.report.resource for f in journal.facts if isinstance(f, Reported)] == [1.0, 2.0, 9.0]


def test_a_report_tells_the_seconds_spent_unless_another_attempt_spent_some_of_them() -> None:
    journal = MemoryJournal(spec(budget=Budget(trials=1)))

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        for resource in (1.0, 2.0) if order.attempt == 1 else (3.0, 9.0):
            time.sleep(0.05)
            legs.report(order, resource)
        return LegResult(Outcome.LOST if order.attempt == 1 else Outcome.COMPLETED)

    run(journal, play)

    first, second, *later = (f.report.seconds for f in journal.facts if isinstance(f, Reported))
    # Counted from when the leg is first heard of, which here is its first report.
    assert first is not None
    assert second is not None
    assert 0 <= first < 0.05 <= second < 5
    assert later == [None, None]


def test_a_lost_leg_runs_again_and_is_given_up_after_its_retries() -> None:
    journal = MemoryJournal(spec(budget=Budget(trials=1)))

    legs = run(journal, lambda legs, order: LegResult(Outcome.LOST, "the worker is gone"))

    assert [order.attempt for order in legs.orders] == [1, 2, 3]
    end = next(fact for fact in journal.facts if isinstance(fact, JobEnded))
    assert (end.end, end.trial_state) == (JobEnd.LOST, TrialState.FAILED)
    assert "lost 3 times" in str(end.problem)


def test_a_failed_leg_is_not_run_again_and_keeps_its_traceback() -> None:
    journal = MemoryJournal(spec(budget=Budget(trials=1)))

    legs = run(journal, lambda legs, order: LegResult(Outcome.FAILED, "ValueError: no", "Traceback ...", "printed"))

    assert len(legs.orders) == 1
    end = next(fact for fact in journal.facts if isinstance(fact, JobEnded))
    assert (end.problem, end.traceback) == ("ValueError: no", "Traceback ...")
    assert [piece for batch in journal.batches for piece in batch.printed] == [Printed(0, "printed")]
    assert journal.batches[-1].status.state is StudyState.FAILED


def test_returning_without_the_last_report_is_a_failure() -> None:
    journal = MemoryJournal(spec(budget=Budget(trials=1)))

    run(journal, lambda legs, order: LegResult(Outcome.COMPLETED))

    end = next(fact for fact in journal.facts if isinstance(fact, JobEnded))
    assert end.end is JobEnd.FAILED
    assert "without a report at resource 9" in str(end.problem)


def test_a_pause_leaves_jobs_open_and_resuming_goes_on() -> None:
    journal = MemoryJournal(spec("asha"))

    def pause_after_some(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        if sum(isinstance(fact, Reported) for fact in journal.facts) > 4:
            journal.wanted = Wanted.PAUSE
            while legs.report(order) is Reply.CONTINUE:
                pass
            return LegResult(Outcome.STOPPED)
        return train(legs, order)

    run(journal, pause_after_some)
    paused = journal.batches[-1].status.state
    facts = len(journal.facts)
    journal.wanted = Wanted.RUN
    run(journal)

    assert paused is StudyState.PAUSED
    assert len(journal.facts) > facts
    assert journal.batches[-1].status.state is StudyState.COMPLETED
    keys = [(f.report.trial, f.report.resource) for f in journal.facts if isinstance(f, Reported)]
    assert len(keys) == len(set(keys))


def test_cancelling_ends_every_job() -> None:
    journal = MemoryJournal(spec())

    def cancel(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        journal.wanted = Wanted.CANCEL
        while legs.report(order) is Reply.CONTINUE:
            pass
        return LegResult(Outcome.STOPPED)

    run(journal, cancel)

    started = {fact.job.id for fact in journal.facts if isinstance(fact, JobStarted)}
    ended = {fact.job for fact in journal.facts if isinstance(fact, JobEnded)}
    assert started == ended
    assert journal.batches[-1].status.state is StudyState.CANCELLED


def test_a_late_report_is_kept_and_marked_but_not_shown_to_the_optimizer() -> None:
    journal = MemoryJournal(spec(budget=Budget(trials=2), parallel=1))
    replies: list[Reply] = []

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        if order.job.id == 0:
            legs.report(order, 1.0)
            return LegResult(Outcome.FAILED, "gave up")
        replies.append(legs.report(legs.orders[0], 2.0))
        replies.append(legs.report(legs.orders[0], 2.0))
        return train(legs, order)

    run(journal, play)

    late = [fact for fact in journal.facts if isinstance(fact, Reported) and fact.late]
    assert [fact.report.resource for fact in late] == [2.0]
    assert replies == [Reply.ABANDON, Reply.ABANDON]


def test_an_old_attempt_is_told_to_give_up() -> None:
    replies: list[Reply] = []

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        if order.attempt == 1:
            return LegResult(Outcome.LOST, "gone")
        replies.append(legs.report(legs.orders[0], 1.0))
        return train(legs, order)

    run(MemoryJournal(spec(budget=Budget(trials=1))), play)

    assert replies == [Reply.ABANDON]


def test_a_store_that_is_away_only_makes_the_study_wait() -> None:
    journal = MemoryJournal(spec())

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        journal.outages = 3
        return train(legs, order)

    run(journal, play)

    assert journal.batches[-1].status.state is StudyState.COMPLETED
    assert sum(isinstance(fact, Reported) for fact in journal.facts) == 6 * 9


def test_a_fenced_runner_stops_and_writes_nothing_more() -> None:
    journal = MemoryJournal(spec())

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        journal.fenced = True
        # A runner that has lost its study answers nobody.
        return train(legs, order)

    with pytest.raises(Fenced):
        run(journal, play)

    assert journal.batches[-1].status.state is StudyState.RUNNING


def test_the_time_budget_ends_a_study() -> None:
    journal = MemoryJournal(spec(budget=Budget(seconds=0.2)))

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        while legs.report(order) is Reply.CONTINUE:
            pass
        return LegResult(Outcome.STOPPED)

    run(journal, play)

    last = journal.batches[-1].status
    assert last.state is StudyState.COMPLETED
    assert "0.2 seconds" in str(last.reason)


def test_a_target_ends_a_study() -> None:
    journal = MemoryJournal(spec(budget=Budget(trials=1000, target=1.0)))

    run(journal)

    last = journal.batches[-1].status
    assert "target" in str(last.reason)
    assert last.best[0].metrics["loss"] <= 1.0


def test_a_target_is_of_the_first_objective_without_a_bound_and_of_trials_within_the_bounds() -> None:
    bounded = spec(objectives=[Objective(metric="cost", bound=5.0), Objective(metric="loss")])
    cheap, bad, dear = (
        Incumbent(0, {"x": 0.5}, 9, {"cost": cost, "loss": loss}) for cost, loss in ((1.0, 0.5), (0.5, 2.0), (9.0, 0.5))
    )

    assert reached(bounded, 1.0, [cheap])
    assert not reached(bounded, 1.0, [bad, dear])


def test_a_deaf_leg_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_loop, "STOP_GRACE_SECONDS", 0.05)
    journal = MemoryJournal(spec(budget=Budget(trials=1)))
    over = threading.Event()

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        journal.wanted = Wanted.CANCEL
        over.wait(30)
        return LegResult(Outcome.STOPPED)

    legs = run(journal, play)
    over.set()

    assert legs.killed == [(0, 1)]
    assert journal.batches[-1].status.state is StudyState.CANCELLED


def test_an_optimizer_that_breaks_fails_the_study_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = MemoryJournal(spec())
    legs = ScriptedLegs(train)

    def broken(study: StudySpec) -> Any:
        optimizer = make_optimizer(study)
        monkeypatch.setattr(optimizer, "next_job", lambda: 1 / 0)
        return optimizer

    legs.loop = StudyLoop(journal, broken, legs)
    legs.loop.run()

    last = journal.batches[-1].status
    assert last.state is StudyState.FAILED
    assert last.reason == "ZeroDivisionError: division by zero"


def test_a_study_that_cannot_be_taken_up_stands_as_it_stood() -> None:
    """After an upgrade, say: nothing is written, since nothing is known of its trials, and no state is removed."""
    journal = MemoryJournal(spec())
    run(journal)
    del journal.batches[-1]
    batches = len(journal.batches)

    def unknown(study: StudySpec) -> Any:
        raise OptimizerError('optimizer "ours" is unknown')

    legs = ScriptedLegs(train)
    legs.loop = StudyLoop(journal, unknown, legs)

    with pytest.raises(OptimizerError, match="unknown"):
        legs.loop.run()
    assert len(journal.batches) == batches
    assert legs.loop.kept == frozenset()


def test_a_study_whose_optimizer_cannot_be_made_fails_with_the_reason() -> None:
    journal = MemoryJournal(spec())

    def unknown(study: StudySpec) -> Any:
        raise OptimizerError('optimizer "ours" is unknown')

    legs = ScriptedLegs(train)
    legs.loop = StudyLoop(journal, unknown, legs)

    assert legs.loop.run() is StudyState.FAILED
    assert journal.batches[-1].status.reason == 'OptimizerError: optimizer "ours" is unknown'
    assert legs.loop.kept == frozenset()


def test_a_leg_goes_on_from_states_of_which_the_journal_knows() -> None:
    journal = MemoryJournal(spec("asha"))
    lost: list[LegOrder] = []

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        if order.job.trial == 1 and not lost:
            lost.append(order)
            legs.report(order, 1.0)
            return LegResult(Outcome.LOST, "gone")
        return train(legs, order)

    legs = run(journal, play)

    for order in legs.orders:
        if order.attempt > 1:
            assert 0.99 * order.job.end < order.most < order.job.end or order.job.end == 1.0
        else:
            assert order.most == pytest.approx(order.job.start)
    assert {order.attempt for order in legs.orders} == {1, 2}
    assert any(order.job.start for order in legs.orders)


def test_what_was_read_is_let_go_once_it_was_taken_in() -> None:
    """It takes as much memory as all else that a runner keeps."""
    journal = MemoryJournal(spec(budget=Budget(trials=1)))
    load, read = journal.load, []

    def loaded() -> StudyRecord:
        record = load()
        read.append(weakref.ref(record))
        return record

    journal.load = loaded  # type: ignore[method-assign]
    held: list[bool] = []

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        held.append(read[0]() is not None)
        return train(legs, order)

    run(journal, play)

    assert held == [False]


def test_a_study_that_is_over_is_left_as_it_is() -> None:
    journal = MemoryJournal(spec())
    best = run(journal).loop.kept
    batches = len(journal.batches)

    again = run(journal)

    assert again.orders == []
    assert len(journal.batches) == batches
    assert (len(best), again.loop.kept) == (1, frozenset())


def test_it_has_begun_once_a_first_job_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then somebody else renews its lease: a first decision loads libraries."""
    journal, legs = MemoryJournal(spec()), ScriptedLegs(train)
    seen = []

    def watched(study: StudySpec) -> Any:
        optimizer = make_optimizer(study)
        decide = optimizer.next_job

        def next_job() -> Any:
            seen.append(legs.loop.begun.is_set())
            return decide()

        monkeypatch.setattr(optimizer, "next_job", next_job)
        return optimizer

    legs.loop = StudyLoop(journal, watched, legs)
    legs.loop.run()

    assert (seen[0], set(seen[1:])) == (False, {True})


@pytest.mark.parametrize("optimizer", ["random", "asha", "bayes"])
@pytest.mark.parametrize("crash_at", [1, 7, 23])
def test_a_crash_at_any_batch_changes_nothing_of_what_is_decided(optimizer: str, crash_at: int) -> None:
    """With one leg at a time the order of facts is fixed, so the whole journal must come out the same."""
    whole = MemoryJournal(spec(optimizer, parallel=1))
    run(whole)
    crashed = MemoryJournal(spec(optimizer, parallel=1))
    crashed.batches = whole.batches[:crash_at]

    run(crashed)

    assert [f.job for f in crashed.facts if isinstance(f, JobStarted)] == [
        f.job for f in whole.facts if isinstance(f, JobStarted)
    ]
    assert crashed.batches[-1].status.best == whole.batches[-1].status.best


def trials_of(journal: MemoryJournal) -> list[dict[str, Any]]:
    """Configurations of the trials, in their order."""
    return [dict(f.job.config) for f in journal.facts if isinstance(f, JobStarted) and f.job.begins_trial]


@pytest.mark.parametrize("optimizer", ["random", "asha", "bayes", "pbt"])
def test_enqueued_configurations_are_tried_first_and_in_their_order(optimizer: str) -> None:
    journal = MemoryJournal(spec(optimizer, parallel=1))
    journal.configs = [{"x": 0.111}, {"x": 0.222}]

    run(journal)

    assert trials_of(journal)[:2] == journal.configs
    taken = {f.enqueued: f.job.trial for f in journal.facts if isinstance(f, JobStarted) and f.enqueued is not None}
    assert taken == {0: 0, 1: 1}


def test_an_enqueued_configuration_is_tried_once_however_long_a_decision_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if every step of a round outlasted a heartbeat.
    monkeypatch.setattr(study_loop, "HEARTBEAT_SECONDS", 0.0)
    journal = MemoryJournal(spec("random", parallel=1))
    journal.configs = [{"x": 0.111}, {"x": 0.222}]

    run(journal)

    assert trials_of(journal)[:2] == journal.configs
    assert [f.number for f in journal.facts if isinstance(f, Enqueued)] == [0, 1]
    assert not any(config in journal.configs for config in trials_of(journal)[2:])


def test_a_configuration_enqueued_while_a_study_runs_is_its_next_trial() -> None:
    journal = MemoryJournal(spec(parallel=1))

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        if order.job.trial == 2:
            journal.configs = [{"x": 0.111}]
            while Enqueued(0, {"x": 0.111}) not in journal.facts:
                legs.report(order)
        return train(legs, order)

    run(journal, play)

    assert trials_of(journal)[3] == {"x": 0.111}
    assert journal.batches[-1].status.state is StudyState.COMPLETED


def test_a_configuration_enqueued_at_the_last_moment_is_still_tried() -> None:
    grid = spec("grid", space=SearchSpace(Categorical("x", [0.5])), budget=Budget(trials=10), parallel=1)
    journal = MemoryJournal(grid)

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        result = train(legs, order)
        if order.job.trial == 0:
            journal.configs = [{"x": 0.5}]
        return result

    run(journal, play)

    assert trials_of(journal) == [{"x": 0.5}, {"x": 0.5}]


def test_what_is_enqueued_beyond_the_budget_waits() -> None:
    journal = MemoryJournal(spec(budget=Budget(trials=1), parallel=1))
    journal.configs = [{"x": 0.111}, {"x": 0.222}]

    run(journal)

    assert trials_of(journal) == [{"x": 0.111}]
    assert journal.batches[-1].status.state is StudyState.COMPLETED


def test_a_leg_that_returns_when_it_is_told_to_stop_goes_on_after_a_pause() -> None:
    journal = MemoryJournal(spec(budget=Budget(trials=2), parallel=2))

    def save_and_return(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        for step in range(1, 10):
            if step == 4:
                journal.wanted = Wanted.PAUSE
            while legs.report(order, float(step)) is Reply.CONTINUE:
                if step < 4:
                    break
            else:
                return LegResult(Outcome.COMPLETED)
        raise AssertionError

    run(journal, save_and_return)
    paused = journal.batches[-1].status
    journal.wanted = Wanted.RUN
    run(journal)

    assert paused.state is StudyState.PAUSED
    assert paused.counts == {TrialState.RUNNING: 2}
    assert journal.batches[-1].status.counts == {TrialState.COMPLETED: 2}


def test_a_runner_that_takes_over_a_spent_study_starts_nothing_new() -> None:
    journal = MemoryJournal(spec(budget=Budget(seconds=0.3), parallel=3))

    def die_while_the_last_leg_saves(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        while legs.report(order) is Reply.CONTINUE:
            time.sleep(0.01)
        if order.job.trial == 0:
            while not any(isinstance(fact, JobEnded) for fact in journal.facts):
                time.sleep(0.01)
            journal.fenced = True
        return LegResult(Outcome.STOPPED)

    with pytest.raises(Fenced):
        run(journal, die_while_the_last_leg_saves)
    before = [fact for fact in journal.facts if isinstance(fact, JobStarted)]
    later = journal.taken_over()
    run(later)

    assert [fact for fact in later.facts if isinstance(fact, JobStarted)] == before
    last = later.batches[-1].status
    assert (last.state, last.reason) == (StudyState.COMPLETED, "the budget of 0.3 seconds is used up")


def test_a_paused_study_takes_up_what_was_enqueued_once_it_goes_on() -> None:
    journal = MemoryJournal(spec(parallel=1))

    def pause(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        journal.wanted = Wanted.PAUSE
        while legs.report(order) is Reply.CONTINUE:
            pass
        journal.configs = [{"x": 0.111}]
        return LegResult(Outcome.STOPPED)

    run(journal, pause)
    told = [fact for fact in journal.facts if isinstance(fact, Enqueued)]
    journal.wanted = Wanted.RUN
    run(journal)

    assert told == []
    assert trials_of(journal)[1] == {"x": 0.111}


@pytest.mark.parametrize("optimizer", ["asha", "bayes", "hypertune"])
def test_a_crash_after_any_batch_keeps_the_place_of_what_was_enqueued(optimizer: str) -> None:
    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        if order.job.id == 2 and not whole.configs:
            whole.configs = [{"x": 0.111}, {"x": 0.222}]
            while sum(isinstance(fact, Enqueued) for fact in whole.facts) < 2:
                legs.report(order)
        return train(legs, order)

    whole = MemoryJournal(spec(optimizer, parallel=1))
    run(whole, play)
    told = next(n for n, b in enumerate(whole.batches, 1) if any(isinstance(fact, Enqueued) for fact in b.facts))
    assert [config for config in trials_of(whole) if config in whole.configs] == whole.configs

    for crash_at in range(told, len(whole.batches), 5):
        crashed = MemoryJournal(whole.spec)
        crashed.batches, crashed.configs = whole.batches[:crash_at], whole.configs
        run(crashed)
        assert started(crashed) == started(whole)

    # Before it was told, its place is not settled yet; it is tried once all the same.
    early = MemoryJournal(whole.spec)
    early.batches, early.configs = whole.batches[: told - 1], whole.configs
    run(early)
    assert [config for config in trials_of(early) if config in whole.configs] == whole.configs


def started(journal: MemoryJournal) -> list[JobStarted]:
    return [fact for fact in journal.facts if isinstance(fact, JobStarted)]


@pytest.mark.parametrize("optimizer", ["asha", "bayes"])
def test_a_warm_started_study_tries_the_best_again_and_replays(optimizer: str) -> None:
    earlier = [Earlier({"x": x / 20}, {9.0: {"loss": abs(x / 20 - 0.45)}}) for x in range(20)]
    whole = MemoryJournal(spec(optimizer, parallel=1))
    whole.earlier = earlier
    whole.configs = [{"x": 0.111}]
    run(whole)

    crashed = MemoryJournal(whole.spec)
    crashed.earlier, crashed.configs, crashed.batches = earlier, whole.configs, whole.batches[:12]
    run(crashed)

    assert trials_of(whole)[:2] == [{"x": 0.45}, {"x": 0.111}]
    assert [fact.enqueued for fact in started(whole)][:1] == [None]
    assert started(crashed) == started(whole)


def test_the_budget_of_cluster_seconds_ends_a_study() -> None:
    journal = MemoryJournal(spec(budget=Budget(cluster_seconds=0.2), parallel=2))

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        while legs.report(order) is Reply.CONTINUE:
            pass
        return LegResult(Outcome.STOPPED)

    run(journal, play)

    last = journal.batches[-1].status
    assert "0.2 cluster seconds" in str(last.reason)
    assert 0.2 <= last.cluster_seconds <= 2 * last.active_seconds


def test_cluster_seconds_count_on_after_a_crash() -> None:
    journal = MemoryJournal(spec())
    run(journal)
    crashed = MemoryJournal(journal.spec)
    crashed.batches = journal.batches[:20]
    before = crashed.batches[-1].status.cluster_seconds

    run(crashed)

    assert 0 < before < crashed.batches[-1].status.cluster_seconds


@pytest.mark.parametrize("crash_at", [None, 30])
def test_a_study_ends_when_its_patience_does(crash_at: int | None) -> None:
    """Trial 3 is the best one of all."""
    journal = MemoryJournal(spec(budget=Budget(trials=1000, patience=5), parallel=1))
    journal.configs = [{"x": x} for x in (0.9, 0.8, 0.7, 0.0)]
    run(journal)
    if crash_at is not None:
        del journal.batches[crash_at:]
        run(journal)

    last = journal.batches[-1].status
    assert last.state is StudyState.COMPLETED
    assert last.reason == "the last 5 trials brought nothing better"
    assert last.best[0].trial == 3
    # One more where the best one's end came together with its last report.
    assert 0 <= last.counts[TrialState.COMPLETED] - (4 + 5) <= 1


def test_a_leg_that_takes_its_call_back_does_not_end_the_study() -> None:
    """As Ray does with what a leg has asked when the leg is killed."""
    journal = MemoryJournal(spec(budget=Budget(trials=2)))

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        if order.attempt == 1 and order.job.id == 0:
            answer = legs.loop.report(0, 1, "host:1", [(1.0, {"loss": 1.0})])
            answer.cancel()
            return LegResult(Outcome.LOST, "killed")
        return train(legs, order)

    run(journal, play)

    assert journal.batches[-1].status.state is StudyState.COMPLETED


def test_a_trial_that_was_told_to_stop_is_told_so_by_the_next_runner_too() -> None:
    stopping = OptimizerSpec(name="asha", settings={"form": "stopping"})
    journal = MemoryJournal(spec(parallel=1).model_copy(update={"optimizer": stopping}))
    stopped: list[int] = []
    over = threading.Event()

    def dies(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        for step in range(1, 10):
            if legs.report(order, float(step)) is Reply.STOP:
                stopped.append(order.job.trial)
                journal.fenced = True
                # The leg never gets to say that it has ended.
                over.wait(60)
        return LegResult(Outcome.COMPLETED)

    with pytest.raises(Fenced):
        run(journal, dies)
    following = journal.taken_over()
    run(following)
    over.set()

    ends = {fact.trial: fact.trial_state for fact in following.facts if isinstance(fact, JobEnded)}
    assert stopped
    assert ends[stopped[0]] is TrialState.STOPPED


def test_many_decisions_are_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_loop, "HEARTBEAT_SECONDS", 0.0)
    journal = MemoryJournal(spec(budget=Budget(trials=12), parallel=12))
    beats: list[int] = []
    heartbeat = journal.heartbeat

    def counted() -> Wanted:
        beats.append(len(journal.batches))
        return heartbeat()

    monkeypatch.setattr(journal, "heartbeat", counted)

    run(journal)

    assert beats.count(0) >= 12, "one after each decision before the first batch"
