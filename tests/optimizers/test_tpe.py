from __future__ import annotations

from statistics import median

import numpy as np
import pytest

from optimizers.kde import Kernels, Mixture, even_width
from optimizers.protocol import JobEnd, Problem, Report
from optimizers.random_search import RandomSearch
from optimizers.simulate import simulate
from optimizers.synthetic import hartmann6
from optimizers.tpe import Tpe, TpeSettings
from tunewright.space import Categorical, Config, Float, SearchSpace
from tunewright.study import Fidelity, Objective

LINE = SearchSpace(Float("x", 0.0, 1.0))


def tpe(space: SearchSpace = LINE, max_trials: int | None = None, **settings: object) -> Tpe:
    problem = Problem(space, [Objective(metric="loss")], Fidelity(name="epochs", max=1), max_trials)
    return Tpe(problem, TpeSettings.model_validate({"initial_trials": 10, **settings}))


def tell(optimizer: Tpe, loss: float | None = None) -> Config:
    """Run one job to its end; its loss is x unless given."""
    job = optimizer.next_job()
    assert job is not None
    optimizer.observe(Report(job.id, job.trial, 1.0, {"loss": float(job.config["x"]) if loss is None else loss}))
    optimizer.finish(job.id, JobEnd.COMPLETED)
    return job.config


def test_ratio_is_that_of_the_good_to_the_bad() -> None:
    optimizer = tpe()
    for _ in range(10):
        tell(optimizer)

    job = optimizer.next_job()

    assert job is not None
    xs = sorted(float(trial.config["x"]) for trial in optimizer.trials[:10])
    at, on = np.array([[float(job.config["x"])]]), np.ones((1, 1), dtype=bool)
    kernels = Kernels(LINE)
    good, bad = (
        Mixture(
            kernels, np.array([part]).T, np.ones((len(part), 1), bool), even_width(kernels, len(part), 0.2, 1.0), 1.0
        )
        for part in (xs[:1], xs[1:])
    )
    expected = good.log_joint(at, on)[0] - bad.log_joint(at, on)[0]
    assert job.why["log_ratio"] == pytest.approx(expected, rel=1e-3)
    assert (job.why["rule"], job.why["good"], job.why["of"]) == ("density ratio", 1, 10)


@pytest.mark.parametrize("multivariate", [True, False])
def test_finds_the_promising_end(multivariate: bool) -> None:
    optimizer = tpe(multivariate=multivariate)

    xs = [float(tell(optimizer)["x"]) for _ in range(30)]

    assert min(xs) < 0.02
    assert median(xs[20:]) < 0.3


def test_parallel_trials_spread_out() -> None:
    optimizer = tpe()
    for _ in range(20):
        tell(optimizer)

    xs = [float(job.config["x"]) for job in (optimizer.next_job() for _ in range(12)) if job is not None]

    # Running trials count as bad: without that, all would fall on the same peak.
    assert len(set(xs)) == 12
    assert max(xs) - min(xs) > 0.15


@pytest.mark.parametrize("multivariate", [True, False])
def test_good_choice_and_its_conditional_parameter_are_found(multivariate: bool) -> None:
    space = SearchSpace(Categorical("kind", ["a", "b", "c"]), Float("x", 0.0, 1.0, when={"kind": "b"}))
    optimizer = tpe(space, multivariate=multivariate)
    for _ in range(40):
        job = optimizer.next_job()
        assert job is not None
        loss = 1.0 if job.config["kind"] != "b" else abs(float(job.config["x"]) - 0.7)
        optimizer.observe(Report(job.id, job.trial, 1.0, {"loss": loss}))
        optimizer.finish(job.id, JobEnd.COMPLETED)

    late = [trial.config for trial in optimizer.trials[20:]]
    assert sum(config["kind"] == "b" for config in late) >= 14
    assert optimizer.best()[0].metrics["loss"] < 0.05


def test_failed_trials_are_bad() -> None:
    optimizer = tpe()
    for _ in range(40):
        job = optimizer.next_job()
        assert job is not None
        x = float(job.config["x"])
        if x >= 0.5:
            optimizer.observe(Report(job.id, job.trial, 1.0, {"loss": x}))
        optimizer.finish(job.id, JobEnd.COMPLETED if x >= 0.5 else JobEnd.FAILED)

    # The least loss lies at the border of what fails.
    assert sum(float(trial.config["x"]) < 0.35 for trial in optimizer.trials[20:]) <= 4


def test_many_trials_leave_the_number_of_good_ones_bounded() -> None:
    optimizer = tpe(initial_trials=400, design="random")
    for _ in range(400):
        tell(optimizer)

    job = optimizer.next_job()

    assert job is not None
    assert job.why["good"] == 25


@pytest.mark.parametrize("multivariate", [True, False])
def test_beats_random_search_on_hartmann(multivariate: bool) -> None:
    table = hartmann6(max_resource=3)
    ours, chance = [], []
    for seed in range(5):
        problem = table.problem(max_trials=70, seed=seed)
        for kind, found in (
            (Tpe(problem, TpeSettings(multivariate=multivariate)), ours),
            (RandomSearch(problem), chance),
        ):
            found.append(simulate(kind, table, workers=4).best[0].metrics["loss"] - table.optimum)

    assert median(ours) < 0.6 * median(chance)
