"""Studies whose legs a script plays, in threads that end with their test (`conftest`)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from typing import Any

from tests.workers.memory_journal import MemoryJournal
from tunewright import Budget, Fidelity, Float, Objective, OptimizerSpec, Resources, SearchSpace, StudySpec, TrialLimits
from workers.copies import Released
from workers.orders import Launcher, LegOrder, LegResult, Outcome, Reply
from workers.study_loop import StudyLoop
from workers.study_runner import make_optimizer


def spec(optimizer: str = "random", **fields: Any) -> StudySpec:
    return StudySpec(
        **{
            "name": "study",
            "workload": "scripted",
            "space": SearchSpace(Float("x", 0, 1)),
            "objectives": [Objective(metric="loss")],
            "fidelity": Fidelity(name="steps", max=9),
            "resources": Resources(),
            "optimizer": OptimizerSpec(name=optimizer),
            "budget": Budget(trials=6),
            "parallel": 2,
            "limits": TrialLimits(retries=2),
            **fields,
        }
    )


class ScriptedLegs(Launcher):
    """A launcher whose legs are played by a function in a thread each.

    Attributes:
        orders: every attempt started, in order.
    """

    loop: StudyLoop

    def __init__(self, play: Callable[[ScriptedLegs, LegOrder], LegResult]) -> None:
        self._play = play
        self.orders: list[LegOrder] = []
        self.killed: list[tuple[int, int]] = []
        self.released: list[Released] = []
        self._threads: list[threading.Thread] = []
        self._answers: list[Future[Reply]] = []
        self._over = False
        _PLAYED.append(self)

    def start(self, order: LegOrder) -> None:
        self.orders.append(order)
        self._threads.append(threading.Thread(target=self._run, args=(order,), daemon=True))
        self._threads[-1].start()

    def end(self) -> None:
        """Let every thread end, whether the loop has answered it or not."""
        self._over = True
        for answer in self._answers:
            _leave(answer)
        for thread in self._threads:
            thread.join(timeout=30)
            assert not thread.is_alive()

    def kill(self, job: int, attempt: int) -> None:
        self.killed.append((job, attempt))
        self.loop.ended(job, attempt, LegResult(Outcome.LOST, "killed"))

    def release(self, study: str, released: Released) -> None:
        self.released.append(released)

    def report(self, order: LegOrder, *resources: float) -> Reply:
        loss = float(order.job.config["x"])
        group = [(resource, {"loss": loss + 1 / resource}) for resource in resources]
        answer = self.loop.report(order.job.id, order.attempt, "host:1", group)
        self._answers.append(answer)
        if self._over:
            _leave(answer)
        return answer.result(timeout=30)

    def _run(self, order: LegOrder) -> None:
        with suppress(CancelledError):
            self.loop.ended(order.job.id, order.attempt, self._play(self, order))


def _leave(answer: Future[Reply]) -> None:
    """Tell who waits for an answer that there will be none."""
    with suppress(InvalidStateError):
        answer.set_exception(CancelledError())


_PLAYED: list[ScriptedLegs] = []


def end_legs() -> None:
    """End the legs of a test, of whichever runner they were."""
    while _PLAYED:
        _PLAYED.pop().end()


def train(legs: ScriptedLegs, order: LegOrder) -> LegResult:
    """A leg that reports every step and stops when told."""
    for step in range(int(order.job.start) + 1, int(order.job.end) + 1):
        if legs.report(order, float(step)) is not Reply.CONTINUE:
            return LegResult(Outcome.STOPPED)
    return LegResult(Outcome.COMPLETED)


def run(journal: MemoryJournal, play: Callable[[ScriptedLegs, LegOrder], LegResult] = train) -> ScriptedLegs:
    legs = ScriptedLegs(play)
    legs.loop = StudyLoop(journal, make_optimizer, legs)
    legs.loop.run()
    return legs
