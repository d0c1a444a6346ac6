from __future__ import annotations

from optimizers.random_search import RandomSearch, RandomSettings
from optimizers.simulate import simulate
from optimizers.synthetic import branin


def test_every_trial_is_trained_whole_in_one_leg() -> None:
    table = branin()
    optimizer = RandomSearch(table.problem(max_trials=10))

    trace = simulate(optimizer, table, workers=3)

    assert [(job.start, job.end) for job in trace.jobs] == [(0.0, 81.0)] * 10


def test_design_comes_before_uniform_draws() -> None:
    table = branin()
    short = RandomSearch(table.problem(max_trials=8), RandomSettings(design_size=4))
    long = RandomSearch(table.problem(max_trials=8), RandomSettings(design_size=4, design="lhs"))

    simulate(short, table)
    simulate(long, table)

    configs = [[trial.config for trial in optimizer.trials] for optimizer in (short, long)]
    assert all(a != b for a, b in zip(configs[0][:4], configs[1][:4], strict=True))
    assert configs[0][4:] == configs[1][4:]
