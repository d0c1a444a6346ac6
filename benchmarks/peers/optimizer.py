"""A peer as an optimizer that the simulator can drive."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import Any, ClassVar

from benchmarks.peers.adapter import Study
from benchmarks.peers.environment import PYTHON, ROOT
from optimizers.protocol import Job, JobEnd, Optimizer, Problem, Report, Trial, Verdict, losses
from tunewright.space import Config


class PeerError(RuntimeError):
    """A peer failed; the message holds its traceback."""


class PeerProcess:
    """A peer's process. It serves one study after the other.

    Args:
        module: what is run in the peers' environment; it answers each line.
    """

    def __init__(self, module: str = "benchmarks.peers.driver") -> None:
        self._process = subprocess.Popen(
            [str(PYTHON), "-m", module],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and wait for its answer.

        Raises:
            PeerError: the peer raised, or its process is gone.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"the peers' process ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            # One that has died reads no more of what was written.
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()


class PeerOptimizer(Optimizer):
    """A peer behind our four verbs.

    The peer's process holds state that a replay cannot bring back: simulations only. A trial that the peer raises to a
    larger resource continues from where it was, whether the peer knows of checkpoints or not; where its resource has
    been reached already, as after rounding, the trial trains one resource unit more.

    Args:
        peer: a key of `driver.PEERS`.
        workers: jobs that run at a time.
    """

    name: ClassVar[str] = "peer"

    def __init__(self, problem: Problem, process: PeerProcess, peer: str, *, workers: int, eta: int = 3) -> None:
        super().__init__(problem)
        self._process = process
        self._keys: list[str] = []
        self._trial_of: dict[str, int] = {}
        study = Study(
            space=problem.space.model_dump(mode="json"),
            min_resource=int(problem.fidelity.min),
            max_resource=int(problem.fidelity.max),
            eta=eta,
            seed=problem.seed,
            workers=workers,
        )
        started = process.ask({"verb": "start", "peer": peer, "study": asdict(study)})
        self._every_report: bool = started["every_report"]

    def _propose(self) -> Job | None:
        if not self.may_start_trial:
            return None
        task = self._process.ask({"verb": "next"})["task"]
        if task is None:
            return None
        key: str = task["trial"]
        if key in self._trial_of:
            trial = self.trials[self._trial_of[key]]
            end = max(float(task["end"]), min(trial.completed + 1, self.problem.fidelity.max))
            return self._continue(trial, trial.completed, end)
        self._trial_of[key] = len(self._keys)
        self._keys.append(key)
        return self._new_trial(self._config(task), float(task["end"]))

    def _config(self, task: dict[str, Any]) -> Config:
        space = self.problem.space
        if task["point"] is not None:
            return space.decode(task["point"])
        # One canonical configuration: without the parameters that are inactive in it.
        return space.decode(space.encode(task["config"]))

    def _on_report(self, trial: Trial, report: Report) -> Verdict:
        assert trial.running is not None
        if not self._every_report and report.resource != self.jobs[trial.running].end:
            return Verdict.CONTINUE
        stop = self._process.ask({"verb": "observe", **self._measured(trial, report.resource)})["stop"]
        return Verdict.STOP if stop else Verdict.CONTINUE

    def _on_finish(self, job: Job, trial: Trial, end: JobEnd) -> None:
        self._process.ask({"verb": "finish", **self._measured(trial, trial.resource)})

    def _measured(self, trial: Trial, resource: float) -> dict[str, Any]:
        loss = losses(trial.reports[resource], self.problem.objectives)[0]
        return {"trial": self._keys[trial.id], "resource": int(resource), "loss": loss}
