"""Population based training (Jaderberg et al., 2017): in training, the worse copy the better and change settings."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from pydantic import Field

from optimizers.evidence import encode_active
from optimizers.hyperband import Rung
from optimizers.initial import Design, Starts
from optimizers.protocol import Job, JobEnd, Optimizer, Problem, Report, Settings, Trial, Verdict, losses, violation
from tunewright.space import Categorical, Config, config_key
from tunewright.study import Fidelity

# Streams of randomness; one decision uses each at most once.
_START, _CHOICE = 0, 1
# Changed settings among which some that are new are looked for.
_CHILDREN = 16


class PbtSettings(Settings):
    """Settings of population based training."""

    population: int = Field(default=12, ge=2, le=1000, description="Members that train side by side.")
    steps: int = Field(default=10, ge=2, le=1000, description="Times at which a whole trial's members are compared.")
    quantile: float = Field(default=0.25, gt=0, le=0.5, description="Share that copies, and share that is copied.")
    resample: float = Field(default=0.25, ge=0, le=1, description="Chance that a copied setting is drawn anew.")
    perturb: float = Field(default=0.1, gt=0, le=1, description="Step of a copied setting, as a share of its scale.")
    design: Design = Field(default="sobol", description="Where the first configurations come from.")


class PopulationBasedTraining(Optimizer):
    """Trains a population side by side. At every step a member that is among the worst at its resource is replaced by a
    copy of one of the best, which goes on from that one's checkpoint with slightly changed settings: a schedule of
    settings is learnt within one training. For settings that may change during training, such as learning rates.
    """

    name: ClassVar[str] = "pbt"
    settings_model: ClassVar[type[PbtSettings]] = PbtSettings
    branches: ClassVar[bool] = True

    def __init__(self, problem: Problem, settings: PbtSettings | None = None) -> None:
        self._own = settings or PbtSettings()
        super().__init__(problem, self._own)
        goals = sum(objective.bound is None for objective in problem.objectives)
        self.rungs = [Rung(level, goals) for level in step_levels(problem.fidelity, self._own.steps)]
        self._last = len(self.rungs) - 1
        self._starts = Starts(problem.space, self._own.design, self._own.population, problem.seed)
        # Members that train or wait, and the step that each has reached; -1 before the first.
        self._step: dict[int, int] = {}
        # Those that reached a step and wait for what comes next, in the order in which they came.
        self._ready: list[int] = []
        # Trials that were measured at each step.
        self._stood: list[set[int]] = [set() for _ in self.rungs]
        # Members that completed a step whose result has not come in.
        self._unmeasured: set[int] = set()

    def copyable(self) -> dict[int, float]:
        """Every member that is not whole, with the last step that it completed."""
        return {member: self.rungs[step].level for member, step in self._step.items() if 0 <= step < self._last}

    def _propose(self) -> Job | None:
        # Where fewer jobs run than there are members, these take turns: none trains on before the others have begun.
        new = self._new_member()
        if new is not None or not self._ready:
            return new
        member = self._ready[0]
        return self._exploit(member) or self._go_on(member)

    def _new_member(self) -> Job | None:
        if not self.may_start_trial or len(self._step) >= self._own.population:
            return None
        index = len(self.trials)
        config = self._starts.propose(index, self.rng(_START, len(self.jobs)))
        if config is None and not self.queue:
            return None
        return self._new_trial(config or {}, self.rungs[0].level, rung=0, why={"rule": "new member", "number": index})

    def _go_on(self, member: int) -> Job:
        step = self._step[member]
        rung = self.rungs[step]
        why = {"rule": "go on", "rank": rung.rank(member) + 1, "of": rung.measured}
        return self._continue(self.trials[member], rung.level, self.rungs[step + 1].level, rung=step + 1, why=why)

    def _exploit(self, member: int) -> Job | None:
        """A changed copy of one of the best in place of one of the worst, or None where that does not apply."""
        rung = self.rungs[self._step[member]]
        rank, share = rung.rank(member), self._own.quantile
        if not self.may_start_trial or rung.measured * share < 1 or rank < rung.measured * (1 - share):
            return None
        top = math.ceil(rung.measured * share)
        # A copy made on a later step never stood here; from one that is whole, whose result is still to come, nothing
        # is left to train.
        stood = self._stood[self._step[member]]
        there = [trial for trial, step in self._step.items() if trial in stood and step < self._last]
        best = [trial for trial in there if trial != member and rung.rank(trial) < top]
        if not best:
            return None
        rng = self.rng(_CHOICE, len(self.jobs))
        parent = best[int(rng.integers(len(best)))]
        step = self._step[parent]
        config = self._explore(self.trials[parent].config, rng)
        if config is None:
            return None
        why = {"rule": "copy", "instead_of": member, "rank": rank + 1, "of": rung.measured}
        return Job(
            id=len(self.jobs),
            trial=len(self.trials),
            config=config,
            start=self.rungs[step].level,
            end=self.rungs[step + 1].level,
            rung=step + 1,
            why={**why, "parent_rank": rung.rank(parent) + 1},
            parent=parent,
        )

    def _explore(self, config: Config, rng: np.random.Generator) -> Config | None:
        """Changed settings that are new: each moves one step up or down its scale, or is drawn anew."""
        space = self.problem.space
        point, active = encode_active(space, config)
        bins = np.array([1 / p.size if np.isfinite(p.size) else 0.0 for p in space.parameters])
        kept = np.array([isinstance(parameter, Categorical) for parameter in space.parameters])
        for _ in range(_CHILDREN):
            step = np.maximum(self._own.perturb, bins) * rng.choice([-1.0, 1.0], size=len(point))
            moved = np.where(kept, point, np.clip(point + step, 0.0, 1.0))
            anew = (rng.random(len(point)) < self._own.resample) | ~active
            child = space.decode(np.where(anew, rng.random(len(point)), moved))
            if config_key(child) not in self._starts.tried:
                return child
        return None

    def _on_record(self, job: Job) -> None:
        if job.start:
            # The first that waits goes on, or makes room for the copy.
            del self._step[self._ready.pop(0)]
        assert job.rung is not None
        self._step[job.trial] = job.rung - 1
        self._starts.record(job.config)

    def _on_report(self, trial: Trial, report: Report) -> Verdict:
        if trial.id in self._unmeasured:
            self._arrive(trial)
        return Verdict.CONTINUE

    def _on_finish(self, job: Job, trial: Trial, end: JobEnd) -> None:
        if end is JobEnd.COMPLETED:
            self._step[trial.id] += 1
            self._arrive(trial)
        else:
            del self._step[trial.id]

    def _arrive(self, trial: Trial) -> None:
        """A member stands at a step; once its result is there, it waits, or is whole."""
        step = self._step[trial.id]
        metrics = trial.reports.get(self.rungs[step].level)
        if metrics is None:
            self._unmeasured.add(trial.id)
            return
        self._unmeasured.discard(trial.id)
        objectives = self.problem.objectives
        self._stood[step].add(trial.id)
        self.rungs[step].add(trial.id, violation(metrics, objectives), losses(metrics, objectives))
        if step == self._last:
            del self._step[trial.id]
        else:
            self._ready.append(trial.id)


def step_levels(fidelity: Fidelity, steps: int) -> list[float]:
    """Resources at which members are compared: evenly spaced, the last one whole, none below the smallest."""
    levels = [fidelity.max * (k + 1) / steps for k in range(steps)]
    if fidelity.integer:
        levels = [float(round(level)) for level in levels]
    return sorted({max(level, float(fidelity.min)) for level in levels})
