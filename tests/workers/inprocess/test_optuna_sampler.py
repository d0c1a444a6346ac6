"""The sampler for Optuna: Optuna's own test cases, and what it promises beside. Needs an installed Optuna."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

optuna = pytest.importorskip("optuna", minversion="5.0", reason="Optuna 5 is not installed; pip install optuna")

from optuna.testing import pytest_samplers as cases  # noqa: E402

from optimizers.errors import OptimizerError  # noqa: E402
from tunewright.integrations.optuna import TunewrightSampler  # noqa: E402
from workers.inprocess.optuna_sampler import WHOLE_TRIALS  # noqa: E402

pytestmark = pytest.mark.timeout(120)
QUICK = {"bayes": {"trees": 5, "candidates": 50, "initial_trials": 3}, "tpe": {"initial_trials": 3}}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def sampler_of(name: str) -> TunewrightSampler:
    return TunewrightSampler(name, QUICK.get(name), seed=1)


class _Ours:
    @pytest.fixture(params=WHOLE_TRIALS)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], Any]:
        return lambda: sampler_of(request.param)


class TestBasic(_Ours, cases.BasicSamplerTestCase):
    pass


class TestRelative(_Ours, cases.RelativeSamplerTestCase):
    pass


class TestMultiObjective(_Ours, cases.MultiObjectiveSamplerTestCase):
    pass


def bowl(trial: Any) -> float:
    x, y = trial.suggest_float("x", -5, 5), trial.suggest_float("y", 1e-3, 10, log=True)
    kind = trial.suggest_categorical("kind", [None, "a", True])
    return float((x - 1) ** 2 + (y - 1) ** 2 + (0.0 if kind is None else 1.0))


def test_it_finds_what_chance_does_not() -> None:
    def best(sampler: Any) -> float:
        study = optuna.create_study(sampler=sampler)
        study.optimize(bowl, n_trials=40)
        return float(study.best_value)

    ours = sorted(best(TunewrightSampler("bayes", {"trees": 10, "candidates": 200}, seed=s)) for s in range(3))
    chance = sorted(best(optuna.samplers.RandomSampler(seed=s)) for s in range(3))

    assert ours[1] < chance[1]


def test_the_same_seed_decides_the_same_in_another_sampler_in_the_middle_of_a_study() -> None:
    whole = optuna.create_study(sampler=sampler_of("bayes"))
    whole.optimize(bowl, n_trials=12)
    halves = optuna.create_study(sampler=sampler_of("bayes"))
    halves.optimize(bowl, n_trials=6)
    halves.sampler = sampler_of("bayes")
    halves.optimize(bowl, n_trials=6)

    assert [t.params for t in whole.trials] == [t.params for t in halves.trials]


def test_trials_that_run_are_not_proposed_again() -> None:
    study = optuna.create_study(sampler=sampler_of("bayes"))
    study.optimize(bowl, n_trials=5)

    # None of these has asked for a parameter when the next is made.
    running = [study.ask() for _ in range(4)]
    decided = {(t.suggest_float("x", -5, 5), t.suggest_float("y", 1e-3, 10, log=True)) for t in running}

    assert len(decided) == 4


def test_pruned_and_failed_trials_are_learned_from() -> None:
    def objective(trial: Any) -> float:
        x = trial.suggest_float("x", 0, 1)
        if x > 0.7:
            raise ValueError("cannot be trained")
        trial.report(x, 1)
        if x > 0.4:
            raise optuna.TrialPruned
        return float(x)

    study = optuna.create_study(sampler=sampler_of("bayes"))
    study.optimize(objective, n_trials=25, catch=(ValueError,))

    late = [t.params["x"] for t in study.trials[10:]]
    assert sum(x <= 0.4 for x in late) > len(late) / 2
    assert study.best_value < 0.05


def test_a_small_space_is_searched_once_and_then_at_random() -> None:
    study = optuna.create_study(sampler=sampler_of("grid"))

    study.optimize(lambda t: float(t.suggest_int("n", 1, 3)), n_trials=8)

    assert {t.params["n"] for t in study.trials} == {1, 2, 3}


def test_several_objectives() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler_of("nsga2"))

    study.optimize(lambda t: (t.suggest_float("x", 0, 1), t.suggest_float("y", 0, 1)), n_trials=10)

    assert len(study.best_trials) >= 1


def test_ranges_too_wide_for_us_are_drawn_by_optuna() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(sampler=sampler_of("bayes"))
        study.optimize(lambda t: t.suggest_int("n", 0, 2**60) * 1e-18 + t.suggest_float("x", 0, 1), n_trials=4)

    assert all(set(t.params) == {"n", "x"} for t in study.trials)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(OptimizerError, match=r'optimizer: "hypertune" is none of bayes.*pruner'):
        TunewrightSampler("hypertune")
    with pytest.raises(OptimizerError, match=r"optimizer.settings.tree: unknown"):
        TunewrightSampler("bayes", {"tree": 3})
