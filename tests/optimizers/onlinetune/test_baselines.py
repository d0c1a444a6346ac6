"""Every baseline keeps the tuner's contract; each does what its paper does."""

from __future__ import annotations

import numpy as np
import pytest

from optimizers.errors import OptimizerError
from optimizers.onlinetune.actor_critic import ActorCritic, Network
from optimizers.onlinetune.baselines import BASELINES, Fixed, GlobalSafe, GpUcb, cdbtune_reward
from optimizers.onlinetune.intervals import Interval, Target
from optimizers.onlinetune.rules import Rule
from optimizers.onlinetune.simulated import SimulatedDatabase
from tunewright.space import Float, SearchSpace
from tunewright.study import Objective

SPACE = SearchSpace([Float("a", 0.0, 1.0, default=0.2), Float("b", 0.0, 1.0, default=0.5)])
TARGET = Target(SPACE, SPACE.default(), Objective(metric="tps", direction="maximize"), ("rate",))
NAMES = sorted(BASELINES)


def _session(name: str, count: int) -> tuple[list[Interval], list[tuple[float, ...]]]:
    database = SimulatedDatabase("bowls", "switch", 1, knobs=6, intervals=count)
    tuner, told, contexts = BASELINES[name](database.target, guard=database.guard), [], []
    for _ in range(count):
        context = database.context()
        suggestion = tuner.suggest(context, database.rules)
        assert tuner.suggest(context, database.rules) == suggestion
        assert database.guard(suggestion.config) is None
        outcome = database.run(suggestion.config)
        told.append(
            Interval(
                suggestion=suggestion,
                config=outcome.config,
                context=outcome.context,
                performance=outcome.performance,
                seconds=outcome.seconds,
            )
        )
        tuner.tell(told[-1])
        contexts.append(context)
    return told, contexts


@pytest.mark.parametrize("name", NAMES)
def test_a_session_replays_to_the_bit(name: str) -> None:
    told, contexts = _session(name, 14)
    database = SimulatedDatabase("bowls", "switch", 1, knobs=6, intervals=14)

    again = BASELINES[name](database.target, guard=database.guard)

    for interval, context in zip(told, contexts, strict=True):
        assert again.suggest(context, database.rules) == interval.suggestion
        again.tell(Interval.model_validate_json(interval.model_dump_json()))


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused_by_name(name: str) -> None:
    tuner = BASELINES[name](TARGET)
    interval = Interval(config=SPACE.default(), context=(1.0,), performance=0.0, seconds=60.0)

    with pytest.raises(OptimizerError, match="context: 2 numbers"):
        tuner.suggest((1.0, 2.0))
    with pytest.raises(OptimizerError, match='"nope" is not one of'):
        tuner.suggest((1.0,), [Rule("r", low={"nope": 1.0})])
    with pytest.raises(OptimizerError, match=r"interval\.performance"):
        tuner.tell(interval)


@pytest.mark.parametrize("name", NAMES)
def test_settings_that_kill_the_server_can_be_told(name: str) -> None:
    tuner = BASELINES[name](TARGET)
    for number in range(6):
        suggestion = tuner.suggest((1.0,))
        performance = None if number == 3 else 100.0
        tuner.tell(
            Interval(
                suggestion=suggestion, config=suggestion.config, context=(1.0,), performance=performance, seconds=60.0
            )
        )

    assert tuner.suggest((1.0,)).number == 6


def test_the_rules_settings_are_set_once_and_stay() -> None:
    tuner = Fixed(TARGET)
    rule = Rule("r", low={"a": 0.6}, high={"a": 0.8})

    first = tuner.suggest((1.0,), [rule])
    tuner.tell(Interval(suggestion=first, config=first.config, context=(1.0,), performance=100.0, seconds=60.0))

    assert first.config == {"a": pytest.approx(0.7), "b": 0.5}
    assert tuner.suggest((5.0,), [Rule("r", low={"a": 0.9})]).config == first.config


def test_rules_settings_that_the_guard_refuses_are_taken_part_of_the_way() -> None:
    tuner = Fixed(TARGET, guard=lambda config: "memory" if float(config["a"]) > 0.5 else None)

    assert tuner.suggest((1.0,), [Rule("r", low={"a": 0.6}, high={"a": 0.8})]).config["a"] == pytest.approx(0.45)


def _play(tuner: GpUcb | GlobalSafe, count: int) -> list[float]:
    """Truths on a bowl of gain 0.5 at a = 0.7 with 1% noise, as logarithms over the reference."""
    rng, truths = np.random.default_rng(0), []
    for _ in range(count):
        suggestion = tuner.suggest((1.0,))
        a = float(suggestion.config["a"])
        truths.append(2.0 * (0.25 - (a - 0.7) ** 2))
        performance = float(100.0 * np.exp(truths[-1] + 0.01 * rng.standard_normal()))
        tuner.tell(
            Interval(
                suggestion=suggestion, config=suggestion.config, context=(1.0,), performance=performance, seconds=60.0
            )
        )
    return truths


def test_gp_ucb_finds_the_optimum() -> None:
    assert float(np.mean(_play(GpUcb(TARGET), 25)[-5:])) > 0.45


def test_the_safe_baseline_begins_on_the_reference_and_widens_its_safe_set() -> None:
    truths = _play(GlobalSafe(TARGET), 30)

    assert truths[:4] == pytest.approx([0.0] * 4)
    assert max(truths) > 0.1
    assert float(np.mean(truths)) > 0.0


def test_rewards_are_cdbtunes() -> None:
    up, down = float(np.log(1.2)), float(np.log(0.8))

    assert cdbtune_reward(0.0, 0.0, up) == pytest.approx(0.44 * 1.2)
    assert cdbtune_reward(0.0, 0.0, down) == pytest.approx(-0.44 * 1.2)
    assert cdbtune_reward(0.0, 0.5, up) == 0.0
    assert cdbtune_reward(0.0, 0.0, 50.0) == 10.0


def test_a_networks_gradients_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(0)
    network, x, weights = Network([3, 5, 4, 2], rng), rng.normal(size=(7, 3)), rng.normal(size=(7, 2))

    gradients, by_input = network.backward(network.layers(x), weights)

    def value() -> float:
        return float((network(x) * weights).sum())

    for array, gradient in [*zip([*network.weights, *network.biases], gradients, strict=True), (x, by_input)]:
        place = tuple(0 for _ in array.shape)
        kept, ends = array[place], []
        for step in (1e-6, -1e-6):
            array[place] = kept + step
            ends.append(value())
        array[place] = kept
        assert gradient[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-6)


def test_an_actor_begins_near_the_start_and_learns_where_rewards_are() -> None:
    rng, state = np.random.default_rng(0), np.zeros(2)
    networks = ActorCritic(2, np.array([0.2, 0.5]), seed=0)
    began = networks.act(state)
    for _ in range(300):
        action = rng.random(2)
        networks.remember(state, action, float(action[0]), state)

    for _ in range(60):
        networks.learn()

    np.testing.assert_allclose(began, [0.2, 0.5], atol=0.1)
    assert networks.act(state)[0] > began[0] + 0.03
