"""One attempt of a job, on a worker: a child process, its reports, its checkpoints, its limits.

Reports are handed on in groups: while one group is on its way the next collects, so that a fast trial costs few
calls, and a trial that reports faster than the store can write waits in its pipe. What it prints goes along, once a
second. A state is stored only after every report and every printed line before it is durable, so a leg that starts
again from a state has lost nothing.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tunewright.errors import TunewrightError
from workers.checkpoints import CheckpointStore, SavedState
from workers.declarations import paths_for
from workers.logs import LogSettings
from workers.orders import STOP_GRACE_SECONDS, LegOrder, LegResult, Link, Outcome, Reply
from workers.trial_process import ProcessEnded, TrialProcess

POLL_SECONDS = 0.1
# To look at the memory of a trial and of all that it started takes a look at all processes of the machine. The pause
# after it is so many times as long, within a second.
MEMORY_REST = 50
MEMORY_SECONDS = 1.0
ALIVE_SECONDS = 1.0
MAX_GROUP = 500
GROUP_SECONDS = 0.05
LOG_SECONDS = 1.0
T = TypeVar("T")


@dataclass(frozen=True)
class LegSettings:
    """What the cluster gives to every leg.

    Attributes:
        checkpoint_url: where states are kept.
        import_paths: directories from which a study's own workloads are imported.
        logs: how its worker logs.
        trace: the trace that it is part of, as `workers.tracing` carries one.
    """

    checkpoint_url: str
    import_paths: tuple[str, ...] = ()
    logs: LogSettings = field(default_factory=LogSettings)
    trace: Mapping[str, str] = field(default_factory=dict)


class LegLimitError(TunewrightError):
    """The trial used more time, silence or memory than it may; the message says how much."""


class NoStateError(TunewrightError):
    """The state from which the trial is to begin does not exist."""


class _DeafError(TunewrightError):
    """The trial was asked to stop and did not."""


# A worker keeps the child of its last leg: importing torch or XGBoost again would take longer than a short leg. Not of
# one on a GPU.
_idle: tuple[tuple[Any, ...], TrialProcess] | None = None


def run(order: LegOrder, link: Link, settings: LegSettings) -> LegResult:
    """Run one attempt to its end; never raises for what the trial does."""
    process = _take(order, settings)
    try:
        result = _Attempt(order, link, settings, process).run()
    except ProcessEnded as error:
        result = LegResult(Outcome.LOST if error.killed else Outcome.FAILED, str(error), log=process.end())
    except _DeafError as error:
        result = LegResult(Outcome.STOPPED, str(error), log=process.end())
    except (TunewrightError, OSError, ValueError) as error:
        result = LegResult(Outcome.FAILED, str(error), log=process.end())
    except BaseException:
        process.close()
        raise
    if result.outcome is Outcome.COMPLETED and not _on_gpu(order):
        _keep(order, settings, process)
    else:
        process.close()
    return result


class _Attempt:
    """The state of one attempt while it runs."""

    def __init__(self, order: LegOrder, link: Link, settings: LegSettings, process: TrialProcess) -> None:
        self._order = order
        self._link = link
        self._process = process
        self._store = CheckpointStore(settings.checkpoint_url)
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._group: list[tuple[float, Mapping[str, float]]] = []
        self._began = self._heard = self._told = self._logged = time.monotonic()
        self._weigh_at = self._began
        self._reply = Reply.CONTINUE
        self._stop_sent: float | None = None

    def run(self) -> LegResult:
        # What an earlier leg left behind printed since is not this one's.
        self._process.printed()
        # The first word says that the attempt has begun, and learns whether it is still wanted.
        if self._tell() is not Reply.CONTINUE:
            return LegResult(Outcome.STOPPED)
        root = self._process.scratch / f"states-{self._order.job.id}-{self._order.attempt}"
        root.mkdir()
        try:
            return self._run(root)
        finally:
            # The process may live on for many legs.
            shutil.rmtree(root, ignore_errors=True)

    def _run(self, root: Path) -> LegResult:
        start = self._start_message(root)
        if self._reply is not Reply.CONTINUE:
            # It was told while the state came, to a process that had nothing to stop.
            return LegResult(Outcome.STOPPED)
        self._process.send(start)
        while True:
            message = self._process.receive(POLL_SECONDS)
            ended = None if message is None else self._on_message(message)
            if ended is not None:
                return ended
            if self._due(message is None) and self._tell() is Reply.ABANDON:
                return LegResult(Outcome.STOPPED)
            self._check_limits()

    def _start_message(self, root: Path) -> dict[str, Any]:
        job, spec = self._order.job, self._order.spec
        saved = self._saved(root)
        return {
            "type": "leg",
            "workload": spec.workload,
            "command": None if spec.command is None else spec.command.model_dump(),
            "config": job.config,
            "leg": {"start": job.start, "end": job.end, "seed": self._order.seed},
            "data": spec.data,
            "objectives": [objective.metric for objective in spec.objectives],
            "checkpoint": {
                "root": str(root),
                "latest": None if saved is None else str(saved.directory),
                "resource": 0.0 if saved is None else saved.resource,
                "interval": spec.limits.checkpoint_seconds,
            },
        }

    def _saved(self, root: Path) -> SavedState | None:
        """The state to go on from: the trial's own, or that of the trial of which it is a copy."""
        job, study = self._order.job, self._order.study
        saved = self._telling(lambda: self._own(root))
        if saved is not None or job.parent is None:
            return saved
        parent = job.parent
        saved = self._telling(lambda: self._store.get(study, parent, root, at=job.start))
        if saved is None:
            raise NoStateError(
                f"it begins from trial {parent}'s state at {job.start:g}, and there is none: "
                "the workload must save a state at the end of every leg"
            )
        return saved

    def _own(self, root: Path) -> SavedState | None:
        order = self._order
        if not self._store.rewind(order.study, order.job.trial, order.most):
            return None
        return self._store.get(order.study, order.job.trial, root)

    def _on_message(self, message: Mapping[str, Any]) -> LegResult | None:
        self._heard = time.monotonic()
        if message["type"] == "report":
            self._group.append((message["resource"], message["metrics"]))
        elif message["type"] == "checkpoint":
            # Another attempt may have taken its place, and may have saved a later state.
            if self._tell(whole=True) is Reply.ABANDON:
                return LegResult(Outcome.STOPPED)
            problem = self._save(message)
            if self._reply is Reply.ABANDON:
                return LegResult(Outcome.STOPPED)
            self._process.send({"type": "saved", "problem": problem})
        elif message["type"] == "ended":
            if self._group:
                self._tell()
            return LegResult(
                Outcome(message["outcome"]), message.get("problem"), message.get("traceback"), self._process.printed()
            )
        return None

    def _save(self, message: Mapping[str, Any]) -> str | None:
        order, resource, directory = self._order, message["resource"], Path(message["directory"])

        def wanted() -> bool:
            return self._reply is not Reply.ABANDON

        try:
            self._telling(
                lambda: self._store.put(
                    order.study, order.job.trial, resource, directory, keep=order.keep, wanted=wanted
                )
            )
        except OSError as error:
            return str(error)
        return None

    def _telling(self, work: Callable[[], T]) -> T:
        """Move a state, however long it takes, and say meanwhile that the leg is alive."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            future = pool.submit(work)
            while not self._waiting(lambda: wait([future], ALIVE_SECONDS).done):
                self._tell()
            return future.result()

    def _waiting(self, work: Callable[[], T]) -> T:
        """What takes this process's time and not the trial's: it is neither silence nor part of any of its limits."""
        began = time.monotonic()
        try:
            return work()
        finally:
            waited = time.monotonic() - began
            self._heard += waited
            self._began += waited
            if self._stop_sent is not None:
                self._stop_sent += waited

    def _due(self, quiet: bool) -> bool:
        since = time.monotonic() - self._told
        if self._group:
            return quiet or since > GROUP_SECONDS or len(self._group) >= MAX_GROUP
        return since > ALIVE_SECONDS

    def _tell(self, *, whole: bool = False) -> Reply:
        """Hand on what was collected, or say that the leg is alive, and pass a stop to the trial.

        Args:
            whole: hand on what it printed too, even if that was done a moment ago.
        """
        group, self._group = self._group, []
        log = ""
        if whole or time.monotonic() - self._logged > LOG_SECONDS:
            log, self._logged = self._process.printed(), time.monotonic()
        job, attempt = self._order.job.id, self._order.attempt
        self._reply = self._waiting(lambda: self._link.report(job, attempt, self._worker, group, log))
        self._told = time.monotonic()
        if self._reply is Reply.STOP and self._stop_sent is None:
            self._stop_sent = self._told
            self._process.send({"type": "stop"})
        return self._reply

    def _check_limits(self) -> None:
        now, limits, resources = time.monotonic(), self._order.spec.limits, self._order.spec.resources
        if self._stop_sent is not None and now - self._stop_sent > STOP_GRACE_SECONDS / 2:
            raise _DeafError("the trial did not stop when asked")
        if limits.leg_seconds is not None and now - self._began > limits.leg_seconds:
            raise LegLimitError(f"the leg ran longer than limits.leg_seconds ({limits.leg_seconds:g} s)")
        if now - self._heard > limits.silent_seconds:
            raise LegLimitError(
                f"no report for {limits.silent_seconds:g} s (limits.silent_seconds): the trial seems to hang"
            )
        if resources is not None and resources.memory_mb is not None and now >= self._weigh_at:
            used = self._process.memory() / 2**20
            weighed = time.monotonic()
            self._weigh_at = weighed + min(max(POLL_SECONDS, MEMORY_REST * (weighed - now)), MEMORY_SECONDS)
            if used > resources.memory_mb:
                raise LegLimitError(f"the trial used {used:.0f} MB; resources.memory_mb allows {resources.memory_mb}")


def close_idle() -> None:
    """End the child that waits for a next leg, if there is one."""
    global _idle
    kept, _idle = _idle, None
    if kept is not None:
        kept[1].close()


def _key(order: LegOrder, settings: LegSettings) -> tuple[Any, ...]:
    return (order.study, order.spec.workload, settings.import_paths, _threads(order))


def _on_gpu(order: LegOrder) -> bool:
    """Whether it runs on a GPU, of whose memory a process that waits keeps its part while Ray gives it to others.

    Nor could the process take another GPU, which Ray may give to the next leg.
    """
    return order.spec.resources is not None and order.spec.resources.gpus > 0


def _threads(order: LegOrder) -> int:
    return max(1, int(order.spec.resources.cpus)) if order.spec.resources is not None else 1


def _take(order: LegOrder, settings: LegSettings) -> TrialProcess:
    global _idle
    kept, _idle = _idle, None
    if kept is not None:
        key, process = kept
        if key == _key(order, settings) and process.alive:
            return process
        process.close()
    return TrialProcess(paths_for(order.spec.workload, settings.import_paths), _threads(order))


def _keep(order: LegOrder, settings: LegSettings, process: TrialProcess) -> None:
    global _idle
    _idle = (_key(order, settings), process)
