"""Legs whose program fails are tried again, if the study says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from optimizers.protocol import JobEnd
from tests.workers.memory_journal import MemoryJournal
from tests.workers.scripted_legs import ScriptedLegs, run, spec, train
from tunewright import Budget, TrialLimits
from tunewright.study import StudyState, TrialState
from workers import study_loop
from workers.journal import JobEnded, Wanted
from workers.orders import LegOrder, LegResult, Outcome, Reply


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_loop, "HEARTBEAT_SECONDS", 0.02)


def journal(retry_failed: int, **fields: Any) -> MemoryJournal:
    return MemoryJournal(spec(limits=TrialLimits(retry_failed=retry_failed), budget=Budget(trials=1), **fields))


def failing(times: int) -> Callable[[ScriptedLegs, LegOrder], LegResult]:
    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        if order.attempt <= times:
            legs.report(order, 1.0)
            return LegResult(Outcome.FAILED, f"ValueError: attempt {order.attempt}", "Traceback ...", "said\n")
        return train(legs, order)

    return play


def test_a_leg_that_fails_is_tried_again_and_its_log_says_why() -> None:
    written = journal(2)

    legs = run(written, failing(2))

    assert [order.attempt for order in legs.orders] == [1, 2, 3]
    assert written.batches[-1].status.state is StudyState.COMPLETED
    (end,) = (fact for fact in written.facts if isinstance(fact, JobEnded))
    assert (end.end, end.problem) == (JobEnd.COMPLETED, None)
    printed = "".join(piece.text for batch in written.batches for piece in batch.printed)
    for attempt in (1, 2):
        told = f"[tried again from its last state ({attempt} of 2): ValueError: attempt {attempt}]"
        assert f"said\n\nTraceback ...\n{told}" in printed


@pytest.mark.parametrize("retry_failed", [0, 2])
def test_a_leg_that_fails_more_often_fails_its_trial(retry_failed: int) -> None:
    written = journal(retry_failed)

    legs = run(written, failing(5))

    assert len(legs.orders) == retry_failed + 1
    (end,) = (fact for fact in written.facts if isinstance(fact, JobEnded))
    assert (end.end, end.trial_state) == (JobEnd.FAILED, TrialState.FAILED)
    assert end.problem == f"ValueError: attempt {retry_failed + 1}"


def test_lost_workers_and_failures_are_counted_apart() -> None:
    written = MemoryJournal(spec(limits=TrialLimits(retries=1, retry_failed=1), budget=Budget(trials=1)))

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        if order.attempt <= 2:
            return LegResult(Outcome.LOST if order.attempt == 1 else Outcome.FAILED, "gone")
        return train(legs, order)

    legs = run(written, play)

    assert len(legs.orders) == 3
    assert written.batches[-1].status.state is StudyState.COMPLETED


def test_failures_count_on_after_a_crash() -> None:
    crashed = journal(2)
    run(crashed, failing(5))
    begins = [number for number, batch in enumerate(crashed.batches) if batch.attempts]
    # The runner dies while the second attempt runs.
    del crashed.batches[begins[1] + 1 :]

    legs = run(crashed, failing(5))

    assert [order.attempt for order in legs.orders] == [3, 4]
    assert [fact.problem for fact in crashed.facts if isinstance(fact, JobEnded)] == ["ValueError: attempt 4"]


def test_a_leg_that_fails_while_its_study_pauses_is_tried_again_when_it_goes_on() -> None:
    written = journal(1)

    def play(legs: ScriptedLegs, order: LegOrder) -> LegResult:
        if order.attempt > 1:
            return train(legs, order)
        written.wanted = Wanted.PAUSE
        while legs.report(order, 1.0) is Reply.CONTINUE:
            pass
        return LegResult(Outcome.FAILED, "RuntimeError: stopped in the middle of a batch")

    run(written, play)
    paused = written.batches[-1].status.state
    written.wanted = Wanted.RUN
    legs = run(written, play)

    assert paused is StudyState.PAUSED
    assert [order.attempt for order in legs.orders] == [2]
    (end,) = (fact for fact in written.facts if isinstance(fact, JobEnded))
    assert end.end is JobEnd.COMPLETED
