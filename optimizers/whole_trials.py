"""What optimizers share that train every configuration whole and learn from the results."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from optimizers.evidence import Evidence, encode_active
from optimizers.initial import Design, Starts
from optimizers.protocol import Earlier, Job, JobEnd, Optimizer, Problem, Report, Settings, Trial, Verdict
from tunewright.space import Config

# Streams of randomness; one decision uses each at most once.
_START, _CHOICE = 0, 1


class WholeTrialsSettings(Settings):
    """Settings of every optimizer that starts with a design."""

    initial_trials: int = Field(default=10, ge=1, le=1024, description="Trials of the design, before any model.")
    design: Design = Field(default="sobol", description="Where the first configurations come from.")


@dataclass(frozen=True)
class Choice:
    """A configuration to try, and why."""

    config: Config
    why: Mapping[str, Any]


class WholeTrials(Optimizer):
    """Base of optimizers that start with a design and then choose from the evidence of whole trials.

    Subclasses implement `_choose`. Results of earlier studies at the largest resource are evidence too, and shorten
    the design by their number, but for declared defaults that none of them has tried.
    """

    def __init__(self, problem: Problem, settings: WholeTrialsSettings) -> None:
        super().__init__(problem, settings)
        self._initial_trials = settings.initial_trials
        self._starts = Starts(problem.space, settings.design, settings.initial_trials, problem.seed)
        self._evidence = Evidence(problem)
        # Earlier trials with a result: they shorten the design.
        self._taught = 0
        # Running trial -> its point, and which parameters it has.
        self._placed: dict[int, tuple[NDArray[np.float64], NDArray[np.bool_]]] = {}

    @abstractmethod
    def _choose(self, rng: np.random.Generator) -> Choice | None:
        """The next configuration, from at least two results; None when there is none left."""

    def _propose(self) -> Job | None:
        if not self.may_start_trial:
            return None
        if self.queue:
            return self._new_trial(self.queue[0], self.problem.fidelity.max)
        few = len(self.trials) + self._taught < self._initial_trials or self._evidence.measured < 2
        blind = few or self._starts.default_waits
        choice = self._start() if blind else self._choose(self.rng(_CHOICE, len(self.jobs)))
        if choice is None:
            return None
        return self._new_trial(choice.config, self.problem.fidelity.max, why=choice.why)

    def _start(self) -> Choice | None:
        index = len(self.trials)
        config = self._starts.propose(index, self.rng(_START, len(self.jobs)))
        return None if config is None else Choice(config, {"rule": "initial design", "number": index})

    def _draw(self, rng: np.random.Generator, rule: str) -> Choice | None:
        config = self._starts.draw(rng)
        return None if config is None else Choice(config, {"rule": rule})

    def _pending(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(p, d) points of the trials that run, and which of their coordinates count."""
        d = self.problem.space.dimension
        points = np.array([point for point, _ in self._placed.values()]).reshape(-1, d)
        return points, np.array([active for _, active in self._placed.values()], dtype=bool).reshape(-1, d)

    def _take(self, config: Config, metrics: Mapping[str, float] | None) -> None:
        """A result came in; None if the trial failed."""
        self._evidence.add(config, metrics)

    def _on_warm_start(self, earlier: Sequence[Earlier]) -> None:
        for trial in earlier:
            metrics = trial.reports.get(self.problem.fidelity.max)
            if trial.failed or metrics is not None:
                self._take(trial.config, None if trial.failed else metrics)
        self._taught = self._evidence.measured
        self._starts.learn(trial.config for trial in earlier)

    def _on_record(self, job: Job) -> None:
        self._starts.record(job.config)
        self._placed[job.trial] = encode_active(self.problem.space, job.config)

    def _on_report(self, trial: Trial, report: Report) -> Verdict:
        # The result of a trial whose end was known before it.
        if trial.end is JobEnd.COMPLETED and report.resource == self.problem.fidelity.max:
            self._take(trial.config, report.metrics)
        return Verdict.CONTINUE

    def _on_finish(self, job: Job, trial: Trial, end: JobEnd) -> None:
        del self._placed[trial.id]
        metrics = trial.reports.get(self.problem.fidelity.max)
        if trial.failed:
            self._take(trial.config, None)
        elif end is JobEnd.COMPLETED and metrics is not None:
            self._take(trial.config, metrics)
