"""SMAC3's multi-fidelity facade (a random forest under Hyperband), by ask and tell.

It names a configuration and a budget; one that it raises to a larger budget resumes here from its checkpoint.
"""

from __future__ import annotations

import logging
import tempfile
from importlib import import_module
from typing import Any

from benchmarks.peers.adapter import Study, Task


class Smac:
    """SMAC's own defaults, with the study's ladder of resources."""

    every_report = False

    def __init__(self, study: Study) -> None:
        logging.disable(logging.WARNING)
        smac: Any = import_module("smac")
        self._value: Any = import_module("smac.runhistory").TrialValue
        facade = smac.MultiFidelityFacade
        space = _space(study)
        scenario = smac.Scenario(
            space,
            deterministic=True,
            n_trials=1_000_000,
            min_budget=study.min_resource,
            max_budget=study.max_resource,
            seed=study.seed,
            output_directory=tempfile.mkdtemp(prefix="smac-"),
        )
        self._facade = facade(
            scenario,
            _no_target,
            intensifier=facade.get_intensifier(scenario, eta=study.eta),
            overwrite=True,
            logging_level=False,
        )
        self._asked: dict[str, Any] = {}
        self._names: dict[Any, str] = {}

    def next(self) -> Task | None:
        """See `Adapter.next`."""
        info = self._facade.ask()
        name = self._names.setdefault(info.config, str(len(self._names)))
        self._asked[name] = info
        return Task(name, round(info.budget), dict(info.config))

    def observe(self, trial: str, resource: int, loss: float) -> bool:
        """See `Adapter.observe`."""
        return False

    def finish(self, trial: str, resource: int, loss: float) -> None:
        """See `Adapter.finish`."""
        self._facade.tell(self._asked.pop(trial), self._value(cost=loss), save=False)


def _space(study: Study) -> Any:
    cs: Any = import_module("ConfigSpace")
    space = cs.ConfigurationSpace(seed=study.seed)
    for parameter in study.space:
        name, kind, log = parameter["name"], parameter["type"], parameter.get("log", False)
        if kind == "float":
            own = cs.UniformFloatHyperparameter(name, parameter["low"], parameter["high"], log=log)
        elif kind == "int":
            own = cs.UniformIntegerHyperparameter(name, parameter["low"], parameter["high"], log=log)
        elif kind == "ordinal":
            own = cs.OrdinalHyperparameter(name, parameter["choices"])
        else:
            own = cs.CategoricalHyperparameter(name, parameter["choices"])
        space.add(own)
        conditions = [
            cs.InCondition(own, space[parent], wanted if isinstance(wanted, list) else [wanted])
            for parent, wanted in (parameter.get("when") or {}).items()
        ]
        if conditions:
            space.add(conditions[0] if len(conditions) == 1 else cs.AndConjunction(*conditions))
    return space


def _no_target(config: Any, seed: int = 0, budget: float = 0.0) -> float:
    raise AssertionError("SMAC trains nothing itself here")
