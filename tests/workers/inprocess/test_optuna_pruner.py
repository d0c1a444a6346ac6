"""The pruner for Optuna. Needs an installed Optuna, whose testing package has no cases for pruners."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

optuna = pytest.importorskip("optuna", minversion="5.0", reason="Optuna 5 is not installed; pip install optuna")

from optimizers.errors import OptimizerError  # noqa: E402
from tunewright.integrations.optuna import TunewrightPruner, TunewrightSampler  # noqa: E402


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def run(study: Any, values: Mapping[int, float], *, fail: bool = False) -> int | None:
    """Report values by step as long as the pruner lets it; returns the step at which it was stopped."""
    trial = study.ask()
    for step, value in values.items():
        trial.report(value, step)
        if trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return step
    study.tell(trial, state=optuna.trial.TrialState.FAIL) if fail else study.tell(trial, list(values.values())[-1])
    return None


def flat(value: float, steps: int = 9) -> dict[int, float]:
    return dict.fromkeys(range(1, steps + 1), value)


def new_study(direction: str = "minimize", **pruner: Any) -> Any:
    return optuna.create_study(direction=direction, pruner=TunewrightPruner(**{"max_resource": 9, **pruner}))


@pytest.mark.parametrize(("direction", "better", "worse"), [("minimize", 0.0, 2.0), ("maximize", 2.0, 0.0)])
def test_the_worse_are_stopped_at_the_first_rung(direction: str, better: float, worse: float) -> None:
    study = new_study(direction)

    assert run(study, flat(1.0)) is None, "the first has nobody to be worse than"
    assert run(study, flat(worse)) == 1
    assert run(study, flat(better)) is None


def test_one_in_eta_comes_to_each_rung() -> None:
    study = new_study(max_resource=27)

    ends = [run(study, flat(float(n % 30), 27)) for n in range(0, 600, 7)]

    at = [sum(end is None or end > level for end in ends) / len(ends) for level in (1, 3, 9)]
    assert at[0] == pytest.approx(1 / 3, abs=0.1)
    assert at[1] == pytest.approx(1 / 9, abs=0.07)


def test_between_rungs_nobody_is_stopped() -> None:
    study = new_study()
    run(study, flat(1.0))

    assert run(study, {2: 0.5, 3: 0.5, 4: 9.0, 8: 9.0, 9: 9.0}) is None


def test_who_reports_rarely_is_judged_by_its_first_value_from_the_rung_on() -> None:
    study = new_study()
    run(study, flat(1.0))

    assert run(study, {5: 2.0, 9: 0.0}) == 5


def test_nan_is_never_good_enough() -> None:
    study = new_study()

    assert run(study, {1: math.nan, 2: 0.0}) == 1
    assert run(study, flat(5.0)) is None


def test_failed_trials_count_as_worse_than_any() -> None:
    alone, crowded = new_study(), new_study()
    for study in (alone, crowded):
        run(study, flat(1.0))
    for _ in range(2):
        run(crowded, {}, fail=True)

    assert run(alone, flat(2.0)) == 1
    assert run(crowded, flat(2.0)) == 3, "second of four is in the best third of the first rung"


def test_with_the_sampler_it_finds_the_optimum_with_less() -> None:
    def objective(trial: Any) -> float:
        x = trial.suggest_float("x", -5, 5)
        for step in range(1, 28):
            trial.report((x - 1) ** 2 + 1 / step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float((x - 1) ** 2)

    study = optuna.create_study(sampler=TunewrightSampler(seed=0), pruner=TunewrightPruner(max_resource=27))
    study.optimize(objective, n_trials=60)

    steps = sum(len(trial.intermediate_values) for trial in study.trials)
    assert study.best_value < 0.1
    assert steps < 0.5 * 60 * 27


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"max_resource": 0}, "max_resource"),
        ({"min_resource": 10}, r"fidelity.min \(10.0\) must be at most"),
        ({"eta": 1}, "eta"),
    ],
)
def test_wrong_arguments_are_named(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(OptimizerError, match=told):
        TunewrightPruner(**{"max_resource": 9, **wrong})
