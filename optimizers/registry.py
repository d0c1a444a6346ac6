"""Optimizers by name, and their settings checked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from optimizers.asha import Asha
from optimizers.bayes import BayesianOptimization
from optimizers.bohb import Bohb
from optimizers.errors import OptimizerError
from optimizers.evolution import Evolution
from optimizers.grid_search import GridSearch
from optimizers.hypertune import HyperTune
from optimizers.mobster import Mobster
from optimizers.nsga2 import Nsga2
from optimizers.pbt import PopulationBasedTraining
from optimizers.protocol import Optimizer, Problem
from optimizers.random_search import RandomSearch
from optimizers.synchronous import Hyperband
from optimizers.tpe import Tpe

OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    kind.name: kind
    for kind in (
        Asha,
        BayesianOptimization,
        Bohb,
        Evolution,
        GridSearch,
        Hyperband,
        HyperTune,
        Mobster,
        Nsga2,
        PopulationBasedTraining,
        RandomSearch,
        Tpe,
    )
}
# Other names under which the literature knows them.
ALIASES: Mapping[str, str] = {"a_bohb": "mobster"}


@dataclass(frozen=True)
class Description:
    """What the API tells about an optimizer.

    Attributes:
        text: one paragraph for people.
        settings: JSON schema of its settings.
    """

    name: str
    text: str
    settings: Mapping[str, Any]


def create(name: str, settings: Mapping[str, Any], problem: Problem) -> Optimizer:
    """A new optimizer for a problem.

    Raises:
        OptimizerError: the name or a setting is wrong; names the field, its value, and what is known.
    """
    kind = OPTIMIZERS.get(ALIASES.get(name, name))
    if kind is None:
        raise OptimizerError(f'optimizer.name: "{name}" is unknown; known are {", ".join(sorted(OPTIMIZERS))}')
    try:
        return kind(problem, kind.settings_model.model_validate(dict(settings)))
    except ValidationError as error:
        known = ", ".join(kind.settings_model.model_fields)
        raise OptimizerError("; ".join(_problem(found, known) for found in error.errors())) from error


def describe() -> list[Description]:
    """Every optimizer, by name."""
    return [
        Description(name, _paragraph(kind), kind.settings_model.model_json_schema())
        for name, kind in sorted(OPTIMIZERS.items())
    ]


def _problem(found: Any, known: str) -> str:
    field = ".".join(str(part) for part in ("optimizer", "settings", *found["loc"]))
    if found["type"] == "extra_forbidden":
        return f"{field}: unknown; {known} are known"
    return f"{field}: {found['input']!r} does not fit: {found['msg']}"


def _paragraph(kind: type[Optimizer]) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
