"""The simulated database is the same for the same arguments, and what it says of itself is true."""

from __future__ import annotations

import numpy as np
import pytest

from optimizers.onlinetune.sequential import SecondNoise, SequentialTest
from optimizers.onlinetune.simulated import DEVELOPMENT, HELD_OUT, SCHEDULES, SimulatedDatabase, scenarios


def test_equal_arguments_give_equal_servers() -> None:
    one, other = (SimulatedDatabase("bowls", "switch", 3) for _ in range(2))
    config = one.space.decode(np.full(one.space.dimension, 0.4))

    for _ in range(3):
        a, b = one.run(config), other.run(config)
        assert (a.performance, a.context, a.truth) == (b.performance, b.context, b.truth)
    assert one.context() == other.context()


@pytest.mark.parametrize("family", [*DEVELOPMENT, *HELD_OUT])
def test_the_reference_gains_nothing_and_the_optimum_something(family: str) -> None:
    database = SimulatedDatabase(family, "gradual", 1, intervals=20)  # type: ignore[arg-type]

    assert database.run(database.reference).truth == 0.0
    assert database.best_gains().min() > 0.05


def test_there_are_settings_to_be_afraid_of() -> None:
    database = SimulatedDatabase("ridges", "steady", 2)
    points = np.random.default_rng(0).random((500, database.space.dimension))

    gains = database.gain(points, 0)

    assert (gains < np.log(0.9)).mean() > 0.1
    assert gains.min() < np.log(0.5)


def test_an_alarm_ends_the_settings_and_the_rest_of_the_interval_is_left() -> None:
    database = SimulatedDatabase("ridges", "steady", 2)
    points = np.random.default_rng(0).random((500, database.space.dimension))
    worst = database.space.decode(points[int(database.gain(points, 0).argmin())])
    before = database.run(database.reference)

    watch = SequentialTest(before.performance, maximize=True, noise=SecondNoise.of([before.samples]))
    outcome = database.run(worst, watch)

    assert outcome.aborted
    assert outcome.seconds == len(outcome.samples) < 30
    assert (database.interval, database.left) == (1, 60 - outcome.seconds)
    assert outcome.work == pytest.approx(np.exp(outcome.truth) * outcome.reference_work)
    rest = database.run(database.reference)
    assert rest.seconds == 60 - outcome.seconds
    assert (database.interval, database.left) == (2, 60)


def test_an_interval_may_pass_in_pieces() -> None:
    database = SimulatedDatabase("bowls", "switch", 3)

    pieces = [database.run(database.reference, seconds=seconds) for seconds in (20.0, 30.0, 30.0)]

    assert [piece.seconds for piece in pieces] == [20.0, 30.0, 10.0]
    assert database.interval == 1


def test_latencies_are_the_reciprocals_of_speeds() -> None:
    speeds, latencies = (SimulatedDatabase("bowls", seed=5, direction=way) for way in ("maximize", "minimize"))  # type: ignore[arg-type]

    speed, latency = (each.run(each.reference).performance for each in (speeds, latencies))

    assert speed == pytest.approx(1.0 / latency)


def test_some_settings_are_quietly_clamped() -> None:
    database = SimulatedDatabase("bowls", seed=0)
    far = database.space.decode(np.full(database.space.dimension, 0.999))

    assert database.run(far).config == database.clamped(far) != far
    assert database.clamped(database.reference) == database.reference


def test_scenarios_go_round_everything_and_defaults_are_chosen_on_other_families() -> None:
    found = list(scenarios(HELD_OUT, 48, 30))

    assert not set(DEVELOPMENT) & set(HELD_OUT)
    assert {each.family for each in found} == set(HELD_OUT)
    assert {each.schedule for each in found} == set(SCHEDULES)
    assert {each.knobs for each in found} == {10, 20, 40}
    assert {each.direction for each in found} == {"maximize", "minimize"}
    assert len({each.seed for each in found}) == 48
