"""The search in scikit-learn's form: scikit-learn's own checks, and what it promises beside."""

# Names are those of scikit-learn.
# ruff: noqa: N803, N806

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.stats import expon, loguniform, poisson, randint, uniform
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris, make_classification
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from tunewright.integrations.sklearn import HyperTuneSearchCV
from tunewright.space import Categorical, Float, Int, Ordinal, SearchSpace
from workers.inprocess.distributions import Distributions
from workers.inprocess.subsamples import Subsamples

DEPTHS = {"max_depth": [1, 2, 3, 5, None], "min_samples_leaf": randint(1, 20)}


class Patient(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Gets better with `steps`, and says what it was fitted on; `bad` cannot be fitted."""

    def __init__(self, skill: float = 0.5, steps: int = 1, bad: bool = False) -> None:
        self.skill = skill
        self.steps = steps
        self.bad = bad

    def fit(self, X: Any, y: Any) -> Patient:
        if self.bad:
            raise ValueError("bad is bad")
        self.classes_ = np.unique(y)
        self.seen_ = len(X)
        return self

    def score(self, X: Any, y: Any) -> float:
        return self.skill * (1 - 0.5**self.steps)


@pytest.fixture(scope="module")
def flowers() -> tuple[Any, Any]:
    X, y = load_iris(return_X_y=True)
    return X, y


def _expected(search: HyperTuneSearchCV) -> dict[str, str]:
    # Ridge takes a column without the warning that is looked for; scikit-learn excuses its own RandomizedSearchCV too.
    linear = isinstance(search.estimator, Ridge)
    return {"check_supervised_y_2d": "the estimator inside does not warn of a column"} if linear else {}


@parametrize_with_checks(
    [
        HyperTuneSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, n_iter=2, cv=2, error_score="raise", random_state=0),
        HyperTuneSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, n_iter=2, cv=2, error_score="raise", random_state=0),
    ],
    expected_failed_checks=_expected,
)
def test_scikit_learn_takes_it_for_an_estimator(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_it_predicts_with_the_best_and_shows_every_evaluation(flowers: tuple[Any, Any]) -> None:
    search = HyperTuneSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": loguniform(1e-3, 1e3)},
        n_iter=12,
        cv=3,
        random_state=0,
    ).fit(*flowers)

    results = search.cv_results_
    resources = np.asarray(results["n_resources"])
    whole = np.asarray(results["mean_test_score"])[resources == resources.max()]
    assert search.score(*flowers) > 0.9
    assert (search.min_resources_, search.max_resources_) == (18, 150)
    assert resources.max() == 150
    assert resources.min() < 150
    assert len(set(results["trial"])) == 12
    assert search.best_score_ == whole.max()
    assert results["params"][search.best_index_] == search.best_params_
    assert search.best_estimator_.get_params()["logisticregression__C"] == search.best_params_["logisticregression__C"]


def test_a_parameter_is_the_resource(flowers: tuple[Any, Any]) -> None:
    search = HyperTuneSearchCV(
        Patient(), {"skill": uniform(0, 1)}, n_iter=20, resource="steps", max_resources=9, cv=2, random_state=1
    ).fit(*flowers)

    steps = [params["steps"] for params in search.cv_results_["params"]]
    skills = {params["skill"] for params in search.cv_results_["params"]}
    assert search.best_params_ == {"skill": max(skills), "steps": 9}
    assert steps == list(search.cv_results_["n_resources"])
    assert set(steps) <= {1, 3, 9}
    assert sum(step == 9 for step in steps) < 20, "poor ones are not trained whole"
    assert search.best_estimator_.seen_ == 150


def test_the_same_seed_gives_the_same_search_and_several_at_a_time_find_as_much(flowers: tuple[Any, Any]) -> None:
    def search(parallel: int = 1) -> HyperTuneSearchCV:
        made = HyperTuneSearchCV(
            DecisionTreeClassifier(random_state=0), DEPTHS, n_iter=8, cv=KFold(3, shuffle=True, random_state=0),
            parallel=parallel, random_state=5,
        )  # fmt: skip
        return made.fit(*flowers)

    first, again, together = search(), search(), search(parallel=4)

    assert first.cv_results_["params"] == again.cv_results_["params"]
    assert first.cv_results_["mean_test_score"].tolist() == again.cv_results_["mean_test_score"].tolist()
    assert len(set(together.cv_results_["trial"])) == 8


@pytest.mark.parametrize("optimizer", ["asha", "hyperband", "bohb", "mobster", "random", "bayes", "tpe", "grid"])
def test_every_optimizer_can_decide(flowers: tuple[Any, Any], optimizer: str) -> None:
    search = HyperTuneSearchCV(
        DecisionTreeClassifier(random_state=0), DEPTHS, n_iter=4, cv=2, optimizer=optimizer, random_state=0
    ).fit(*flowers)

    assert search.best_score_ > 0.6


def test_candidates_that_cannot_be_fitted_are_bad_and_end_nothing(flowers: tuple[Any, Any]) -> None:
    search = HyperTuneSearchCV(Patient(), {"bad": [True, False], "skill": [0.1, 0.5, 0.9]}, n_iter=6, cv=2)

    with pytest.warns(FitFailedWarning, match="no fold could be fitted"):
        search.fit(*flowers)

    assert search.best_params_["bad"] is False
    assert {params["bad"] for params in search.failed_params_} == {True}


def test_where_none_can_be_fitted_it_says_why(flowers: tuple[Any, Any]) -> None:
    search = HyperTuneSearchCV(Patient(), {"bad": [True]}, n_iter=1, cv=2)

    with pytest.warns(FitFailedWarning), pytest.raises(ValueError, match="bad is bad"):
        search.fit(*flowers)


def test_it_is_no_worse_than_chance_for_less_training() -> None:
    X, y = make_classification(600, 20, n_informative=5, random_state=0)
    space = {"max_depth": randint(1, 30), "min_samples_leaf": randint(1, 100), "max_features": uniform(0.05, 0.95)}
    tree = DecisionTreeClassifier(random_state=0)

    ours = HyperTuneSearchCV(tree, space, n_iter=30, cv=3, random_state=0).fit(X, y)
    chance = RandomizedSearchCV(tree, space, n_iter=30, cv=3, random_state=0).fit(X, y)

    assert sum(ours.cv_results_["n_resources"]) < 30 * 600
    assert ours.best_score_ > chance.best_score_ - 0.02


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"n_iter": 0}, "n_iter: must be a whole number from 1, not 0"),
        ({"parallel": 1.5}, "parallel: must be a whole number from 1, not 1.5"),
        ({"resource": "epochs"}, "resource: Patient has no parameter 'epochs'"),
        ({"resource": "steps"}, "max_resources: how large a whole 'steps' is cannot be guessed"),
        ({"resource": "skill", "max_resources": 3}, "param_distributions: 'skill' is the resource"),
        ({"min_resources": 200}, r"min_resources \(200\) must be at most max_resources, which is 150"),
        ({"optimizer": "best"}, 'optimizer.name: "best" is unknown'),
        ({"optimizer_settings": {"etta": 3}}, "optimizer.settings.etta: unknown"),
        ({"optimizer": "pbt"}, "optimizer: 'pbt' copies trained models"),
        ({"scoring": ["accuracy", "f1_macro"], "refit": False}, "refit: with several metrics it names the one"),
        ({"param_distributions": [{"skill": [1]}]}, "param_distributions: expected a SearchSpace or a dict, not list"),
        ({"param_distributions": {"skill": 3}}, 'parameter "skill": 3 is no list of values'),
        ({"param_distributions": {"skill": []}}, 'parameter "skill": its list is empty'),
        ({"param_distributions": {"skill": {"type": "float", "low": 2, "high": 1}}}, 'parameter "skill": .*below high'),
    ],
)
def test_what_is_wrong_is_named(flowers: tuple[Any, Any], arguments: dict[str, Any], problem: str) -> None:
    given = {"param_distributions": {"skill": [0.1, 0.5]}, "cv": 2, "n_iter": 2, **arguments}
    estimator = DecisionTreeClassifier() if "scoring" in given else Patient()
    if "scoring" in given:
        given["param_distributions"] = {"max_depth": [1, 2]}

    with pytest.raises(ValueError, match=problem):
        HyperTuneSearchCV(estimator, **given).fit(*flowers)


def test_distributions_become_parameters_and_their_values_what_they_stand_for() -> None:
    chosen = [None, "auto", {"a": 1}]
    distributions = Distributions.of(
        {
            "a": loguniform(0.1, 10),
            "b": uniform(1, 3),
            "c": randint(2, 5),
            "d": np.array([1, 2, 8]),
            "e": ["x", "y", True],
            "f": chosen,
            "g": expon(scale=2),
            "h": {"type": "int", "low": 1, "high": 64, "log": True},
            "i": poisson(3),
        }
    )

    assert distributions.space == SearchSpace(
        Float("a", 0.1, 10.0, log=True),
        Float("b", 1.0, 4.0),
        Int("c", 2, 4),
        Ordinal("d", [1, 2, 8]),
        Categorical("e", ["x", "y", True]),
        Categorical("f", [0, 1, 2]),
        Float("g", 0.001, 0.999),
        Int("h", 1, 64, log=True),
        Float("i", 0.001, 0.999),
    )
    params = distributions.params({"f": 2, "g": 0.5, "i": 0.5, "a": 0.3})
    assert params["f"] is chosen[2]
    assert params["g"] == pytest.approx(2 * np.log(2))
    assert (params["i"], type(params["i"])) == (3, int)
    assert params["a"] == 0.3


@pytest.mark.parametrize(
    "values", [[1.0, np.inf], [1, 1.0], [2, 2, 3], [True, 1], [-np.inf, 0.5], [np.nan, -1], ["a", "a"], [None, 1]]
)
def test_a_list_may_hold_what_the_estimator_takes(values: list[Any]) -> None:
    found = Distributions.of({"x": values})

    drawn = {repr(found.params(found.space.decode([u]))["x"]) for u in np.linspace(0.01, 0.99, 50)}

    assert drawn == {repr(value) for value in values}


def test_a_space_of_ours_with_conditions(flowers: tuple[Any, Any]) -> None:
    space = SearchSpace(
        Categorical("criterion", ["gini", "entropy"]), Int("max_depth", 1, 5, when={"criterion": "gini"})
    )

    search = HyperTuneSearchCV(DecisionTreeClassifier(), space, n_iter=6, cv=2, random_state=0).fit(*flowers)

    assert all(("max_depth" in p) is (p["criterion"] == "gini") for p in search.cv_results_["params"])


def test_smaller_training_sets_lie_in_larger_ones_and_keep_the_classes() -> None:
    y = np.repeat([0, 1, 2], [60, 30, 10])
    splitter = Subsamples(KFold(4, shuffle=True), stratified=True, seed=0)

    small, half, whole = ([*splitter.cut_to(share).split(np.zeros((100, 1)), y)] for share in (0.2, 0.5, 1.0))

    for (a, test_a), (b, test_b), (c, test_c) in zip(small, half, whole, strict=True):
        assert set(a) < set(b) < set(c)
        assert test_a.tolist() == test_b.tolist() == test_c.tolist()
        assert not set(c) & set(test_c)
        shares = np.bincount(y[a], minlength=3) / len(a), np.bincount(y[c], minlength=3) / len(c)
        assert np.abs(shares[0] - shares[1]).max() <= 1 / len(a) + 1e-9
