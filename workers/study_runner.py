"""The actor that runs one study, and the task that runs one leg.

The actor is a shell: it puts a `StudyLoop` into a thread and hands it what legs say. Legs are tasks that the actor
owns, so that Ray ends them when it dies.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError

from optimizers import registry
from optimizers.protocol import Optimizer, Problem
from tunewright.study import StudySpec, StudyState
from workers import leg, tracing
from workers.ask_tell import Answer, Refused, Why, Word
from workers.checkpoints import CheckpointStore
from workers.copies import Released
from workers.desk import Desk
from workers.journal import Journal, StudyRecord
from workers.lease_keeper import kept
from workers.leg import LegSettings
from workers.line import DeskServer, Door
from workers.observed import observed_leg, set_up
from workers.orders import DEAF_SECONDS, Launcher, LegOrder, LegResult, Outcome, Reply
from workers.room import Room
from workers.study_loop import StudyLoop

log = logging.getLogger(__name__)

# A leg speaks every second unless it waits for an answer.
SILENT_SECONDS = 30.0
NO_DESK = "this study's trials run on the cluster; only one with `workload: external` gives jobs to clients"


class StudyRunner:
    """Runs one study; started by name as a Ray actor, one per running study.

    Args:
        external: its trials run elsewhere, and are asked for at a desk.
    """

    def __init__(self, journal: Journal, settings: LegSettings, *, external: bool = False) -> None:
        set_up("runner", settings.logs)
        self._journal = journal
        self._settings = settings
        actor = ray.get_runtime_context().current_actor
        self._launcher: Desk | RayLauncher = Desk() if external else RayLauncher(actor, settings, Room(journal))
        self._loop = StudyLoop(journal, make_optimizer, self._launcher)
        self._launcher.loop = self._loop
        self._server: DeskServer | None = None

    async def run(self) -> str:
        """Run the study until it is over or paused; returns the state in which it was left."""
        with tracing.resumed(self._settings.trace):
            return await asyncio.to_thread(self._run)

    async def report(
        self, job: int, attempt: int, worker: str, reports: Sequence[tuple[float, Mapping[str, float]]], log: str
    ) -> str:
        """Take a leg's reports and what it printed; answers when they are durable."""
        assert isinstance(self._launcher, RayLauncher)
        with self._launcher.listening(job, attempt):
            return await asyncio.wrap_future(self._loop.report(job, attempt, worker, reports, log))

    async def door(self) -> Door | None:
        """Where the desk listens; None when it is only spoken to by `say`."""
        if not isinstance(self._launcher, Desk) or os.environ.get("RAY_USE_TLS") == "1":
            # What Ray encrypts must not go beside it.
            return None
        if self._server is None:
            self._server = DeskServer(self._launcher.say)
        api: Any = ray
        return await self._server.open(api.util.get_node_ip_address())

    async def say(self, word: Word) -> Answer:
        """Take in what a client of the desk says; answers when it is durable."""
        if not isinstance(self._launcher, Desk):
            return Refused(Why.CONFLICT, NO_DESK)
        (answer,) = self._launcher.say([word])
        return await asyncio.wrap_future(answer)

    def _run(self) -> StudyState:
        try:
            with kept(self._journal, until=self._loop.begun):
                state = self._loop.run()
        finally:
            self._launcher.close()
        if state.final and isinstance(self._launcher, RayLauncher) and (keep := self._loop.kept):
            CheckpointStore(self._settings.checkpoint_url).remove(self._loop.study, keep=keep)
        self._journal.release()
        return state


class RayLauncher(Launcher):
    """Starts legs as Ray tasks."""

    loop: StudyLoop

    def __init__(self, runner: Any, settings: LegSettings, room: Room) -> None:
        self._runner = runner
        self._settings = settings
        self._room = room
        self._parallel = 1
        self._tasks: dict[tuple[int, int], Any] = {}
        # When a leg was last heard of; for ever while it waits for an answer.
        self._heard: dict[tuple[int, int], float] = {}
        self._listened = time.monotonic()
        # An object store may take its time; the study does not wait for it.
        self._removals = ThreadPoolExecutor(max_workers=1, thread_name_prefix="removals")

    def restore(self, record: StudyRecord) -> None:
        self._parallel = record.spec.parallel
        self._room.ask(0, self._parallel, record.cluster_seconds)

    def room(self) -> int:
        return self._room.legs

    @contextmanager
    def listening(self, job: int, attempt: int) -> Iterator[None]:
        """A leg says something, and says no more until it is answered when the block ends."""
        key = (job, attempt)
        self._heard[key] = math.inf
        try:
            yield
        finally:
            if key in self._tasks:
                self._heard[key] = time.monotonic()
            else:
                self._heard.pop(key, None)

    def end_round(self) -> None:
        self._lose_the_silent()
        if self._room.ask(self.loop.running, self._parallel, self.loop.cluster_seconds):
            self.loop.wake()

    def start(self, order: LegOrder) -> None:
        resources = order.spec.resources
        assert resources is not None
        task = _run_leg.options(num_cpus=resources.cpus, num_gpus=resources.gpus, name=_name(order)).remote(
            order, self._runner, self._settings
        )
        key = (order.job.id, order.attempt)
        self._tasks[key] = task
        task.future().add_done_callback(partial(self._ended, key))

    def kill(self, job: int, attempt: int) -> None:
        task = self._tasks.get((job, attempt))
        if task is not None:
            # Not what the leg has asked of the runner: that is to be answered.
            ray.cancel(task, force=True, recursive=False)

    def release(self, study: str, released: Released) -> None:
        self._removals.submit(self._prune, study, released)

    def close(self) -> None:
        """Wait until all states that were released are gone."""
        self._removals.shutdown()

    def _prune(self, study: str, released: Released) -> None:
        try:
            store = CheckpointStore(self._settings.checkpoint_url)
            store.prune(study, released.trial, released.keep, newest=released.newest)
        except Exception as error:
            # They go with the study at the latest.
            log.warning("study %s: states of trial %d could not be removed: %s", study, released.trial, error)

    def _lose_the_silent(self) -> None:
        """Ray itself learns only after minutes that a host was cut off without a word."""
        now = time.monotonic()
        if now - self._listened > DEAF_SECONDS:
            # This process was stopped, or its store away: what legs said meanwhile may not have been read yet.
            for key, heard in list(self._heard.items()):
                if key in self._heard:
                    self._heard[key] = max(heard, now)
        self._listened = now
        for key, heard in list(self._heard.items()):
            silent = now - heard
            if silent > SILENT_SECONDS:
                self.kill(*key)
                self._tasks.pop(key, None)
                self._heard.pop(key, None)
                problem = f"its worker was not heard of for {silent:.0f} s; its host may be cut off"
                self.loop.ended(*key, LegResult(Outcome.LOST, problem))

    def _ended(self, key: tuple[int, int], future: Any) -> None:
        self._tasks.pop(key, None)
        self._heard.pop(key, None)
        try:
            result = future.result()
        except RayError as error:
            result = LegResult(Outcome.LOST, f"its worker is gone ({type(error).__name__})")
        except Exception as error:
            result = LegResult(Outcome.LOST, f"{type(error).__name__}: {error}")
        self.loop.ended(*key, result)


class _ActorLink:
    """A leg's way to its runner."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner

    def report(
        self, job: int, attempt: int, worker: str, reports: Sequence[tuple[float, Mapping[str, float]]], log: str
    ) -> Reply:
        return Reply(ray.get(self._runner.report.remote(job, attempt, worker, reports, log)))


@ray.remote(max_retries=0)  # type: ignore[untyped-decorator,unused-ignore]
def _run_leg(order: LegOrder, runner: Any, settings: LegSettings) -> LegResult:
    return observed_leg(order, settings, lambda: leg.run(order, _ActorLink(runner), settings))


def make_optimizer(spec: StudySpec) -> Optimizer:
    """The optimizer of a complete study.

    Raises:
        OptimizerError: unknown name, or settings that do not fit.
    """
    assert spec.space is not None
    assert spec.fidelity is not None
    problem = Problem(spec.space, spec.objectives, spec.fidelity, spec.budget.trials, spec.seed)
    return registry.create(spec.optimizer.name, spec.optimizer.settings, problem)


def _name(order: LegOrder) -> str:
    return f"leg {order.study}-{order.job.trial} to {order.job.end:g}"
