"""Syne Tune: ASHA, BOHB, MOBSTER and Hyper-Tune, all in their promotion form, which resumes from checkpoints.

Its schedulers know no conditions: a parameter that is inactive keeps a value that means nothing.
"""

from __future__ import annotations

import logging
from datetime import datetime
from importlib import import_module
from typing import Any

from benchmarks.peers.adapter import Study, Task

METRIC, RESOURCE, MAX_RESOURCE = "loss", "resource", "max_resource"
KINDS = {"asha": "ASHA", "bohb": "BOHB", "mobster": "MOBSTER", "hypertune": "HyperTune"}
# With the default, a GP fitted anew for every trial, one simulation takes a quarter of an hour. These options are Syne
# Tune's own remedy: from 50 measurements on, the GP's hyper-parameters are fitted for every tenth trial.
GAUSSIAN_PROCESS = {"opt_skip_init_length": 50, "opt_skip_period": 10}


class SyneTune:
    """A scheduler of Syne Tune's.

    Its settings are its own defaults, with the study's ladder of resources, all brackets for Hyper-Tune, which chooses
    among them, and GAUSSIAN_PROCESS for the two that have one.

    Args:
        kind: a key of KINDS.
    """

    every_report = False

    def __init__(self, kind: str, study: Study) -> None:
        logging.disable(logging.WARNING)
        space = _space(study)
        space[MAX_RESOURCE] = study.max_resource
        rungs = 1
        while study.min_resource * study.eta**rungs <= study.max_resource:
            rungs += 1
        self._scheduler: Any = getattr(import_module("syne_tune.optimizer.legacy_baselines"), KINDS[kind])(
            space,
            metric=METRIC,
            mode="min",
            resource_attr=RESOURCE,
            max_resource_attr=MAX_RESOURCE,
            type="promotion",
            grace_period=study.min_resource,
            reduction_factor=study.eta,
            brackets=rungs if kind == "hypertune" else 1,
            points_to_evaluate=[],
            random_seed=study.seed,
            search_options={"debug_log": False, **(GAUSSIAN_PROCESS if kind in ("mobster", "hypertune") else {})},
        )
        self._decision: Any = import_module("syne_tune.optimizer.legacy_scheduler").SchedulerDecision
        self._trial: Any = import_module("syne_tune.backend.trial_status").Trial
        self._trials: list[Any] = []

    def next(self) -> Task | None:
        """See `Adapter.next`."""
        suggestion = self._scheduler.suggest(len(self._trials))
        if suggestion is None:
            return None
        if suggestion.spawn_new_trial_id:
            trial = self._trial(len(self._trials), suggestion.config, datetime.now())
            self._trials.append(trial)
            self._scheduler.on_trial_add(trial)
        else:
            trial = self._trials[int(suggestion.checkpoint_trial_id)]
            if suggestion.config is not None:
                trial.config = suggestion.config
        config = {name: value for name, value in trial.config.items() if name != MAX_RESOURCE}
        return Task(str(trial.trial_id), int(trial.config[MAX_RESOURCE]), config)

    def observe(self, trial: str, resource: int, loss: float) -> bool:
        """See `Adapter.observe`; nothing is decided before the job has ended."""
        return False

    def finish(self, trial: str, resource: int, loss: float) -> None:
        """See `Adapter.finish`.

        Told here and not with the job's last report: where workers are free, the scheduler would raise the trial at
        once, while its job still runs.
        """
        own = self._trials[int(trial)]
        decision = self._scheduler.on_trial_result(own, {METRIC: loss, RESOURCE: resource})
        if decision == self._decision.CONTINUE:
            self._scheduler.on_trial_complete(own, {METRIC: loss, RESOURCE: resource})


def _space(study: Study) -> dict[str, Any]:
    domains: Any = import_module("syne_tune.config_space")
    space: dict[str, Any] = {}
    for parameter in study.space:
        kind, log = parameter["type"], parameter.get("log", False)
        if kind == "float":
            make = domains.loguniform if log else domains.uniform
            space[parameter["name"]] = make(parameter["low"], parameter["high"])
        elif kind == "int":
            make = domains.lograndint if log else domains.randint
            space[parameter["name"]] = make(parameter["low"], parameter["high"])
        elif kind == "ordinal":
            space[parameter["name"]] = domains.ordinal(parameter["choices"], kind="equal")
        else:
            space[parameter["name"]] = domains.choice(parameter["choices"])
    return space
