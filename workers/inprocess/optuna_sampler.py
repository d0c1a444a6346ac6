"""A sampler for Optuna, decided by the optimizers of Tunewright."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from optimizers.errors import OptimizerError
from optimizers.protocol import Job, JobEnd, Optimizer, Problem, Report
from optimizers.registry import create
from tunewright.errors import SpaceError
from tunewright.space import Categorical, Config, Float, Int, Parameter, SearchSpace
from tunewright.study import Fidelity, Objective

# Those that decide about configurations alone; whether a trial goes on is for Optuna's pruners to say.
WHOLE_TRIALS = ("bayes", "evolution", "grid", "nsga2", "random", "tpe")
# Where a trial keeps what was decided for it, until it has asked for all of its parameters.
DECIDED = "tunewright:decided"
_WHOLE = Fidelity(name="trial", max=1)


class TunewrightSampler(BaseSampler):  # type: ignore[misc]
    """Proposes the parameters that all completed trials have in common; others are drawn at random, as is the first
    trial.

    What may be relied on:
        - it keeps nothing between trials: what it decides follows from the study in its storage, so that several
          processes can share one, and a study can be gone on with;
        - parameters of running trials are not proposed again;
        - failed trials count as bad, and a pruned trial has its last intermediate value for a result.

    Args:
        optimizer: one of `WHOLE_TRIALS`; of several objectives, all but `grid` and `random` know how to compromise.
        settings: of the optimizer, as in `tunewright optimizers`.
        seed: makes decisions repeatable, of one process that runs one trial after the other; None draws one.
    Raises:
        OptimizerError: the optimizer decides about more than configurations, or a setting is wrong.
    """

    def __init__(
        self, optimizer: str = "tpe", settings: Mapping[str, Any] | None = None, seed: int | None = None
    ) -> None:
        if optimizer not in WHOLE_TRIALS:
            raise OptimizerError(
                f'optimizer: "{optimizer}" is none of {", ".join(WHOLE_TRIALS)}; leave stopping trials to a pruner'
            )
        self._name = optimizer
        self._settings = dict(settings or {})
        self._seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        self._independent = RandomSampler(seed=self._seed)
        self._common = IntersectionSearchSpace()
        # A wrong setting is found now and not after the first trial.
        create(optimizer, self._settings, Problem(SearchSpace(Float("x", 0, 1)), [Objective(metric="value")], _WHOLE))

    def reseed_rng(self) -> None:
        self._independent.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        common = self._common.calculate(study)
        return {name: found for name, found in sorted(common.items()) if not found.single() and _fits(name, found)}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        job = self._rebuilt(study, trial, search_space).next_job()
        if job is None:  # Every configuration of a small space has been tried.
            return {name: self.sample_independent(study, trial, name, found) for name, found in search_space.items()}
        _keep(study, trial, job.config)
        return {name: _value(search_space[name], value) for name, value in job.config.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._independent.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._independent.after_trial(study, trial, state, values)

    def _rebuilt(self, study: Study, asking: FrozenTrial, distributions: Mapping[str, BaseDistribution]) -> Optimizer:
        """The optimizer after all that the study holds, as if it had decided it."""
        space = SearchSpace([_parameter(name, found) for name, found in distributions.items()])
        objectives = [
            Objective(metric=f"value{i}", direction="maximize" if way is StudyDirection.MAXIMIZE else "minimize")
            for i, way in enumerate(study.directions)
        ]
        optimizer = create(self._name, self._settings, Problem(space, objectives, _WHOLE, seed=self._seed))
        for trial in study.get_trials(deepcopy=False):
            if trial.number != asking.number:
                _take(optimizer, trial, distributions, earlier=trial.number < asking.number)
        return optimizer


def _take(
    optimizer: Optimizer, trial: FrozenTrial, distributions: Mapping[str, BaseDistribution], earlier: bool
) -> None:
    """Let the optimizer know of a trial that it has decided, or might have."""
    config = _config(optimizer.problem.space, trial, distributions)
    if config is not None:
        job = Job(len(optimizer.jobs), len(optimizer.trials), config, 0.0, _WHOLE.max)
        optimizer.replay(job)
        if trial.state.is_finished():
            _finish(optimizer, job, trial)
    elif earlier and trial.state is TrialState.RUNNING:
        # It is being decided at this moment, from the same facts: with this result.
        optimizer.next_job()


def _finish(optimizer: Optimizer, job: Job, trial: FrozenTrial) -> None:
    objectives = optimizer.problem.objectives
    values = trial.values
    if values is None and trial.state is TrialState.PRUNED and trial.intermediate_values and len(objectives) == 1:
        values = [trial.intermediate_values[max(trial.intermediate_values)]]
    if trial.state is TrialState.FAIL or (values is not None and not all(map(math.isfinite, values))):
        optimizer.finish(job.id, JobEnd.FAILED)
    elif values is None:
        optimizer.finish(job.id, JobEnd.CANCELLED)
    else:
        metrics = {objective.metric: value for objective, value in zip(objectives, values, strict=True)}
        optimizer.observe(Report(job.id, job.trial, job.end, metrics))
        optimizer.finish(job.id, JobEnd.COMPLETED)


def _config(space: SearchSpace, trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]) -> Config | None:
    """A trial's configuration in this space; None where it has none."""
    try:
        if distributions.keys() <= trial.params.keys():
            return space.validate_config(
                {name: _named(distributions[name], trial.params[name]) for name in distributions}
            )
        return space.validate_config(json.loads(trial.system_attrs.get(DECIDED, "{}")))
    except ValueError:  # SpaceError, or Optuna's of a choice that is none.
        return None


def _keep(study: Study, trial: FrozenTrial, config: Config) -> None:
    study._storage.set_trial_system_attr(trial._trial_id, DECIDED, json.dumps(config))


def _parameter(name: str, distribution: BaseDistribution) -> Parameter:
    """The parameter with the same values; a choice is its place, as choices may be anything.

    Raises:
        SpaceError: it cannot be searched here.
    """
    if isinstance(distribution, CategoricalDistribution):
        return Categorical(name, list(range(len(distribution.choices))))
    if isinstance(distribution, IntDistribution):
        step = None if distribution.step == 1 else distribution.step
        return Int(name, distribution.low, distribution.high, log=distribution.log, step=step)
    if isinstance(distribution, FloatDistribution):
        return Float(name, distribution.low, distribution.high, log=distribution.log, step=distribution.step)
    raise SpaceError(f'parameter "{name}": {type(distribution).__name__} is not known here')


def _fits(name: str, distribution: BaseDistribution) -> bool:
    try:
        _parameter(name, distribution)
    except ValueError:  # SpaceError, or pydantic's own.
        return False
    return True


def _named(distribution: BaseDistribution, value: Any) -> Any:
    """A value as it stands in our space."""
    return int(distribution.to_internal_repr(value)) if isinstance(distribution, CategoricalDistribution) else value


def _value(distribution: BaseDistribution, value: Any) -> Any:
    """A value of our space as Optuna has it."""
    return distribution.choices[int(value)] if isinstance(distribution, CategoricalDistribution) else value
