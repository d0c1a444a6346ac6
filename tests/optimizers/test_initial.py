from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats.qmc import LatinHypercube

from optimizers import registry
from optimizers.initial import Design, Starts, design_points, untried
from optimizers.protocol import Earlier, JobEnd, Problem, Report
from tunewright.space import Categorical, Config, Float, Int, SearchSpace, config_key
from tunewright.study import Fidelity, Objective

DESIGNS: list[Design] = ["sobol", "halton", "lhs", "random"]


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("dimension", [1, 3, 50])
@pytest.mark.parametrize("size", [1, 5, 16])
def test_design_lies_in_the_cube_and_follows_from_its_seed(design: Design, dimension: int, size: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = design_points(design, size, dimension, 1)

    assert points.shape == (size, dimension)
    assert ((points >= 0) & (points < 1)).all()
    assert (points == design_points(design, size, dimension, 1)).all()
    assert (points != design_points(design, size, dimension, 2)).any()


@pytest.mark.parametrize("design", ["sobol", "halton", "lhs"])
def test_quasi_random_points_cover_every_eighth_of_each_axis(design: Design) -> None:
    points = design_points(design, 32, 4, 5)

    for column in points.T:
        assert len(np.unique((column * 8).astype(int))) == 8


@pytest.mark.parametrize("dimension", [2, 60])
def test_sobol_points_are_evenly_apart_on_each_axis_however_many_there_are(dimension: int) -> None:
    for column in design_points("sobol", 32, dimension, 5).T:
        assert np.diff(np.sort(column)) == pytest.approx(1 / 32)


def test_a_latin_hypercube_has_its_points_further_apart_than_such_have_by_chance() -> None:
    chance = [pdist(LatinHypercube(2, rng=seed).random(16)).min() for seed in range(200)]

    for seed in range(20):
        assert pdist(design_points("lhs", 16, 2, seed)).min() > np.quantile(chance, 0.7)


def test_point_taken_already_is_replaced_by_another() -> None:
    space = SearchSpace(Categorical("a", ["x", "y", "z"]))
    starts = Starts(space, "sobol", 8, seed=0)
    seen = []

    while (config := starts.propose(len(seen), np.random.default_rng(len(seen)))) is not None:
        seen.append(config["a"])
        starts.record(config)

    assert sorted(map(str, seen)) == ["x", "y", "z"]


def test_the_last_untried_configuration_is_found_exactly() -> None:
    space = SearchSpace(
        Categorical("on", [False, True]),
        Int("a", 1, 300, log=True, when={"on": True}),
        Float("b", 0.0, 0.4, step=0.1, when={"on": True}),
    )
    tried: set[str] = set()

    while (config := untried(space, tried, np.random.default_rng(len(tried)))) is not None and len(tried) < 200:
        assert space.validate_config(config) == config
        tried.add(config_key(config))
    assert len(tried) == 200

    small = SearchSpace(Categorical("on", [False, True]), Int("a", 1, 7, log=True, when={"on": True}))
    tried = set()
    while (config := untried(small, tried, np.random.default_rng(0))) is not None:
        tried.add(config_key(config))
    assert len(tried) == 8


def test_rare_continuous_branch_is_found_when_all_else_is_used_up() -> None:
    space = SearchSpace(Categorical("a", list(range(500))), Float("x", 0.0, 1.0, when={"a": 7}))
    tried = {config_key({"a": i}) for i in range(500)}
    starts = Starts(space, "random", 0, seed=0)
    starts.tried |= tried

    configs = [starts.draw(np.random.default_rng(seed)) for seed in range(5)]

    assert all(config is not None and config["a"] == 7 for config in configs)


def test_space_of_many_parameters_is_no_deep_recursion() -> None:
    space = SearchSpace([Categorical(f"p{i}", ["x"]) for i in range(1000)])

    config = untried(space, set(), np.random.default_rng(0))

    assert config == space.default()
    assert untried(space, {config_key(space.default())}, np.random.default_rng(0)) is None


WITH_DEFAULT = SearchSpace(Float("x", 0.0, 1.0, default=0.3), Int("n", 1, 9, default=5))


def tried_after(optimizer: str, earlier: list[Config], enqueued: list[Config], trials: int) -> list[Config]:
    """The first configurations of a study that knows earlier ones, each trained whole."""
    problem = Problem(WITH_DEFAULT, [Objective(metric="loss")], Fidelity(name="epochs", max=1), seed=3)
    study = registry.create(optimizer, {}, problem)
    study.warm_start([Earlier(config, {1.0: {"loss": float(config["x"])}}) for config in earlier])
    for config in enqueued:
        study.enqueue(config)
    for _ in range(trials):
        job = study.next_job()
        assert job is not None
        study.observe(Report(job.id, job.trial, job.end, {"loss": float(job.config["x"])}))
        study.finish(job.id, JobEnd.COMPLETED)
    return [trial.config for trial in study.trials]


def others(count: int) -> list[Config]:
    return [{"x": (i + 0.5) / count, "n": 1 + i % 4} for i in range(count)]


@pytest.mark.parametrize("optimizer", ["bayes", "tpe", "nsga2", "evolution", "hypertune", "mobster", "bohb"])
@pytest.mark.parametrize(("earlier", "enqueued"), [(30, 0), (0, 30), (30, 30)])
def test_declared_defaults_are_tried_where_others_stand_in_for_the_design(
    optimizer: str, earlier: int, enqueued: int
) -> None:
    configs = tried_after(optimizer, others(earlier), others(enqueued), enqueued + 2)

    assert WITH_DEFAULT.default() in configs


@pytest.mark.parametrize("optimizer", ["bayes", "tpe", "nsga2", "evolution", "mobster", "bohb"])
def test_declared_defaults_that_an_earlier_study_has_tried_are_no_part_of_a_shortened_design(optimizer: str) -> None:
    configs = tried_after(optimizer, [*others(30), WITH_DEFAULT.default()], [], 3)

    assert WITH_DEFAULT.default() not in configs
