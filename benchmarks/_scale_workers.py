"""Workers that are none: legs that report as fast as they are answered, driven by the real loop and the real store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from queue import SimpleQueue
from threading import Thread

from service.store import leases
from service.store.engine import open_engine
from service.store.journal import SqlJournal
from service.store.repository import Repository
from tunewright.space import Float, SearchSpace
from tunewright.study import Budget, Fidelity, Objective, OptimizerSpec, Resources, StudySpec
from workers.orders import Launcher, LegOrder, LegResult, Outcome, Reply
from workers.study_loop import StudyLoop
from workers.study_runner import make_optimizer

# A study has no more trials at once.
PER_STUDY = 1_000


@dataclass(frozen=True)
class Ran:
    """What one study's loop did.

    Attributes:
        began, ended: wall clock of its first and of its last report.
        waits: seconds from a sample of reports to their answers.
    """

    study: str
    reports: int
    began: float
    ended: float
    waits: Sequence[float]


class SimulatedWorkers(Launcher):
    """Starts legs that cost nothing: each reports step by step, the next once the one before is durable."""

    loop: StudyLoop

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.reports = 0
        self.began = self.ended = 0.0
        # A leg and its next step; None ends the thread.
        self._ready: SimpleQueue[tuple[LegOrder, int] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def start(self, order: LegOrder) -> None:
        self._ready.put((order, int(order.job.start) + 1))

    def kill(self, job: int, attempt: int) -> None:
        self.loop.ended(job, attempt, LegResult(Outcome.LOST, "killed"))

    def close(self) -> None:
        self._ready.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (turn := self._ready.get()) is not None:
            order, step = turn
            self.began = self.began or time.time()
            self._report(order, step)

    def _report(self, order: LegOrder, step: int) -> None:
        at = time.perf_counter()
        loss = float(order.job.config["x0"]) + 1.0 / step
        answer = self.loop.report(order.job.id, order.attempt, "simulated:0", [(float(step), {"loss": loss})])

        def answered(_: object) -> None:
            self.reports += 1
            self.ended = time.time()
            if self.reports % 100 == 1:
                self.waits.append(time.perf_counter() - at)
            if answer.result() is Reply.CONTINUE and step < order.job.end:
                self._ready.put((order, step + 1))
            else:
                self.loop.ended(order.job.id, order.attempt, LegResult(Outcome.COMPLETED))

        answer.add_done_callback(answered)


def spec(workers: int, steps: int) -> StudySpec:
    """A study of as many trials as workers, each of which reports so many times."""
    return StudySpec(
        name=f"{workers} workers",
        workload="simulated",
        space=SearchSpace([Float(f"x{i}", 0.0, 1.0) for i in range(6)]),
        objectives=[Objective(metric="loss")],
        fidelity=Fidelity(name="steps", max=steps),
        resources=Resources(),
        optimizer=OptimizerSpec(name="random"),
        budget=Budget(trials=workers),
        parallel=workers,
    )


def run(url: str, workers: int, steps: int) -> list[Ran]:
    """Run workers at once on a store, as studies of at most `PER_STUDY` each with a process of its own."""
    sizes = [PER_STUDY] * (workers // PER_STUDY) + ([workers % PER_STUDY] if workers % PER_STUDY else [])
    with ProcessPoolExecutor(len(sizes), mp_context=get_context("spawn")) as pool:
        return [future.result() for future in [pool.submit(_study, url, size, steps) for size in sizes]]


def _study(url: str, workers: int, steps: int) -> Ran:
    engine = open_engine(url)
    study = Repository(engine).create_study(spec(workers, steps)).id
    epoch = leases.acquire(engine, leases.study_lease(study), "benchmark", seize=True)
    assert epoch is not None
    launcher = SimulatedWorkers()
    journal = SqlJournal(url, study, epoch)
    launcher.loop = StudyLoop(journal, make_optimizer, launcher)
    launcher.loop.run()
    launcher.close()
    journal.release()
    engine.dispose()
    return Ran(study, launcher.reports, launcher.began, launcher.ended, launcher.waits)
