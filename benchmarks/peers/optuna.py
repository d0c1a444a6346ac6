"""Optuna: TPE with the Hyperband pruner, by ask and tell.

Trials run towards the full resource and are pruned on the way: they stop and never resume, so nothing is paid twice.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from benchmarks.peers.adapter import Study, Task, active


class Optuna:
    """A study of Optuna's, in memory. TPE counts running trials as bad ones, as its manual advises for parallel use."""

    every_report = True

    def __init__(self, study: Study) -> None:
        optuna: Any = import_module("optuna")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        import_module("warnings").simplefilter("ignore")
        self._study = study
        self._pruned = optuna.trial.TrialState.PRUNED
        self._own: Any = optuna.create_study(
            # Hyperband's brackets follow from the name, which would otherwise be drawn from the system's entropy.
            study_name=f"seed {study.seed}",
            sampler=optuna.samplers.TPESampler(seed=study.seed, constant_liar=True),
            pruner=optuna.pruners.HyperbandPruner(study.min_resource, study.max_resource, study.eta),
        )
        self._running: dict[str, Any] = {}

    def next(self) -> Task | None:
        """See `Adapter.next`."""
        trial = self._own.ask()
        config: dict[str, Any] = {}
        for parameter in self._study.space:
            if active(parameter, config):
                config[parameter["name"]] = _suggest(trial, parameter)
        self._running[str(trial.number)] = trial
        return Task(str(trial.number), self._study.max_resource, config)

    def observe(self, trial: str, resource: int, loss: float) -> bool:
        """See `Adapter.observe`."""
        own = self._running[trial]
        own.report(loss, resource)
        return resource < self._study.max_resource and bool(own.should_prune())

    def finish(self, trial: str, resource: int, loss: float) -> None:
        """See `Adapter.finish`."""
        own = self._running.pop(trial)
        if resource < self._study.max_resource:
            self._own.tell(own, state=self._pruned)
        else:
            self._own.tell(own, loss)


def _suggest(trial: Any, parameter: dict[str, Any]) -> Any:
    name, log = parameter["name"], parameter.get("log", False)
    if parameter["type"] == "float":
        return trial.suggest_float(name, parameter["low"], parameter["high"], log=log)
    if parameter["type"] == "int":
        return trial.suggest_int(name, parameter["low"], parameter["high"], log=log)
    return trial.suggest_categorical(name, parameter["choices"])
