"""A search algorithm for Ray Tune, decided by the optimizers of Tunewright."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray import cloudpickle
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from optimizers.errors import OptimizerError
from optimizers.protocol import Job, JobEnd, Optimizer, Problem, Report, Verdict
from optimizers.registry import ALIASES, OPTIMIZERS, create
from tunewright.space import Float, SearchSpace
from tunewright.study import Fidelity, Objective
from workers.inprocess.tune_space import TuneSpace

log = logging.getLogger(__name__)

# Those that decide about configurations alone, and so need no scheduler.
WHOLE_TRIALS = ("bayes", "evolution", "grid", "random", "tpe")
_WHOLE = Fidelity(name="trial", max=1)


class TunewrightSearch(Searcher):
    """Proposes configurations, and with `max_resource` also how far each is trained before it is judged.

    What may be relied on:
        - a trial is judged by its reports alone, in the order in which Tune hands them on;
        - `num_samples` is the number of configurations; -1 sets no limit, and Tune's own limits end the run;
        - failed trials, and those that report nan, count as bad;
        - an experiment that Tune restores goes on with what had been decided.

    Attributes:
        by_resource: whether it also decides how far trials train.

    Args:
        optimizer: `hypertune` by default, or `tpe` without `max_resource`; one of `tunewright optimizers`.
        settings: of the optimizer.
        max_resource: of a whole trial, in units of `resource`; None leaves how long trials train to others. With it
            `TunewrightScheduler` must be the scheduler.
        min_resource: the least after which a trial is judged.
        resource: the field of results that says how far a trial is.
        space: instead of Tune's `param_space`, for example one with conditions.
        metric, mode: as in `TuneConfig`, which may have them instead.
        seed: makes decisions repeatable as far as Tune's order is; None draws one.
    Raises:
        OptimizerError: the optimizer is unknown or needs what is missing, or a setting is wrong.
    """

    def __init__(
        self,
        optimizer: str | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        max_resource: float | None = None,
        min_resource: float = 1,
        resource: str = "training_iteration",
        space: SearchSpace | None = None,
        metric: str | None = None,
        mode: str | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._name = optimizer or ("tpe" if max_resource is None else "hypertune")
        _check_kind(self._name, max_resource is not None)
        self._settings = dict(settings or {})
        self._fidelity = _WHOLE if max_resource is None else _fidelity(resource, min_resource, max_resource)
        self.by_resource = max_resource is not None
        self._resource = resource
        self._seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        self._space = None if space is None else TuneSpace(space)
        self._most = math.inf
        self._optimizer: Optimizer | None = None
        # Tune's id of a trial -> its number in the optimizer, and the job that it runs.
        self._numbers: dict[str, int] = {}
        self._jobs: dict[str, Job] = {}
        # What the optimizer has decided and nobody has begun.
        self._decided: Job | None = None
        # Trials that Tune has ended, whatever the optimizer would have made of them.
        self._gone: set[int] = set()
        # Whether the scheduler has been heard of.
        self.scheduled = False
        # A wrong setting is found now and not after the first trial.
        self._create(SearchSpace(Float("x", 0, 1)), None)

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing is left to start."""
        return self._next() is None and not self._begun.running

    # Tune's interface

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        if self._optimizer is not None or (self._space is not None and any(map(_searched, config.values()))):
            return False
        self._metric, self._mode = metric or self._metric, mode or self._mode
        if self._space is None:
            self._space = TuneSpace.of(config)
        samples = spec.get("num_samples", -1)
        self._optimizer = self._create(self._space.space, None if samples in (-1, math.inf) else int(samples))
        return True

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        self._most = max_concurrent
        return True

    def suggest(self, trial_id: str) -> Any:
        job = self._next()
        if job is None:
            return None if self._begun.running else Searcher.FINISHED
        if not job.begins_trial:
            # A trial that waits goes on first; that is for the scheduler to do.
            return None
        self._numbers[trial_id] = job.trial
        self._take(trial_id, job)
        assert self._space is not None
        return self._space.params(job.config)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if self.scheduled:
            # It has judged the result, whose trial may be at its next job since.
            return
        job = self._jobs.get(trial_id)
        if self.by_resource and job is not None and result.get(self._resource, 0) >= job.end:
            raise OptimizerError(
                f'scheduler: "{self._name}" decides how far trials train; give scheduler=TunewrightScheduler(), '
                f"or leave max_resource out"
            )

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id in self._numbers:
            self._gone.add(self._numbers[trial_id])
        if result and not error:
            self._last(trial_id, result)
        job = self._jobs.get(trial_id)
        if job is not None:
            self._end(trial_id, JobEnd.FAILED if error else JobEnd.CANCELLED)
        decided = self._decided
        if decided is not None and decided.trial == self._numbers.get(trial_id):
            # It was to go on, and is gone.
            self._begun.finish(decided.id, JobEnd.FAILED if error else JobEnd.CANCELLED)
            self._decided = None

    def save(self, checkpoint_path: str) -> None:
        pickled: Any = cloudpickle
        Path(checkpoint_path).write_bytes(pickled.dumps(self.__dict__))

    def restore(self, checkpoint_path: str) -> None:
        self.__dict__.update(cloudpickle.loads(Path(checkpoint_path).read_bytes()))

    # For the scheduler

    def judge(self, trial_id: str, result: Mapping[str, Any]) -> str:
        """Take in a result, and say what becomes of its trial: one of `TrialScheduler`'s CONTINUE, PAUSE and STOP."""
        job = self._jobs.get(trial_id)
        if job is None or self._resource not in result or self._metric not in result:
            return str(TrialScheduler.CONTINUE)
        metric, resource = str(self._metric), float(result[self._resource])
        value = float(result[metric])
        if not math.isfinite(value):
            self._end(trial_id, JobEnd.FAILED)
            return str(TrialScheduler.STOP)
        # Who reports rarely may pass the end of its leg: this is what is known of it there.
        verdict = self._begun.observe(Report(job.id, job.trial, min(resource, job.end), {metric: value}))
        if resource >= job.end:
            self._end(trial_id, JobEnd.COMPLETED)
            return self._after(trial_id, job)
        if verdict is Verdict.STOP:
            self._end(trial_id, JobEnd.CANCELLED)
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def waiting(self) -> str | None:
        """The trial that is to go on now; `go_on` says that it does."""
        job = self._next()
        if job is None or job.begins_trial:
            return None
        return next(trial_id for trial_id, number in self._numbers.items() if number == job.trial)

    def go_on(self, trial_id: str) -> None:
        """A trial that waited goes on."""
        assert self._decided is not None
        self._take(trial_id, self._decided)

    # What it keeps

    @property
    def _begun(self) -> Optimizer:
        if self._optimizer is None:
            if self._space is None:
                raise OptimizerError("space: there is nothing to search; give param_space to the Tuner, or space here")
            self._optimizer = self._create(self._space.space, None)
        if not self._metric or not self._mode:
            raise OptimizerError("metric, mode: give both to TuneConfig, or here: what is to be better, and which way")
        return self._optimizer

    def _create(self, space: SearchSpace, trials: int | None) -> Optimizer:
        direction = "maximize" if self._mode == "max" else "minimize"
        objective = Objective(metric=self._metric or "value", direction=direction)
        return create(self._name, self._settings, Problem(space, [objective], self._fidelity, trials, self._seed))

    def _next(self) -> Job | None:
        """The job to begin next; None while there is none, or as many run as may."""
        optimizer = self._begun
        while self._decided is None and len(optimizer.running) < self._most:
            job = optimizer.next_job()
            if job is None:
                break
            if job.begins_trial or job.trial not in self._gone:
                self._decided = job
            else:
                # It did well enough to go on, but Tune has ended it: by a stop criterion, or by itself.
                optimizer.finish(job.id, JobEnd.CANCELLED)
        return self._decided

    def _take(self, trial_id: str, job: Job) -> None:
        self._decided = None
        self._jobs[trial_id] = job

    def _end(self, trial_id: str, end: JobEnd) -> None:
        self._begun.finish(self._jobs.pop(trial_id).id, end)

    def _after(self, trial_id: str, job: Job) -> str:
        """What becomes of a trial whose leg is over."""
        if job.end >= self._fidelity.max:
            return str(TrialScheduler.STOP)
        following = self._next()
        if following is not None and following.trial == job.trial:
            # It need not be paused to go on at once.
            self._take(trial_id, following)
            return str(TrialScheduler.CONTINUE)
        return str(TrialScheduler.PAUSE)

    def _last(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Take in the result with which a trial ended."""
        if self.by_resource:
            self.judge(trial_id, result)
            job = self._jobs.get(trial_id)
            if job is not None:
                log.warning(
                    "trial %s ended at %s %s, before the %g to which it was to train; is max_resource too large?",
                    *(trial_id, self._resource, result.get(self._resource), job.end),
                )
            return
        job = self._jobs.get(trial_id)
        if job is None:
            return
        metric = str(self._metric)
        value = float(result.get(metric, math.nan))
        if math.isfinite(value):
            self._begun.observe(Report(job.id, job.trial, job.end, {metric: value}))
        self._end(trial_id, JobEnd.COMPLETED if math.isfinite(value) else JobEnd.FAILED)


def _check_kind(name: str, by_resource: bool) -> None:
    if not by_resource and name in OPTIMIZERS and name not in WHOLE_TRIALS:
        raise OptimizerError(
            f'optimizer: "{name}" decides how far trials train; give max_resource and the scheduler '
            f"TunewrightScheduler, or one of {', '.join(WHOLE_TRIALS)}"
        )
    kind = OPTIMIZERS.get(ALIASES.get(name, name))
    if kind is not None and kind.branches:
        raise OptimizerError(
            f'optimizer: "{name}" begins trials from the states of others, which a search algorithm of Ray Tune cannot '
            "do; take Tune's own PopulationBasedTraining, or another optimizer"
        )


def _fidelity(resource: str, low: float, high: float) -> Fidelity:
    return Fidelity(name=resource, min=low, max=high, integer=float(low).is_integer() and float(high).is_integer())


def _searched(value: Any) -> bool:
    try:
        TuneSpace.of({"value": value})
    except ValueError:
        return False
    return True
