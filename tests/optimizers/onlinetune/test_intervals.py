"""What a session is told: checks that name the field, and JSON that comes back as it went."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from optimizers.errors import OptimizerError
from optimizers.onlinetune.intervals import Interval, Suggestion, Target, checked
from tunewright.errors import SpaceError
from tunewright.space import Categorical, Float, Int, SearchSpace
from tunewright.study import Objective

SPACE = SearchSpace([Float("a", 0.0, 1.0, default=0.25), Int("b", 1, 64, log=True, default=8)])
TARGET = Target(SPACE, SPACE.default(), Objective(metric="tps", direction="maximize"), ("rate", "reads"))
SUGGESTION = Suggestion(
    number=0,
    kind="expander",
    config={"a": 0.1 + 0.2, "b": 9},
    point=(0.1 + 0.2, 1 / 3),
    cluster=2,
    shape="line",
    direction=(1.0, -1e-17),
    centre=(0.25, 0.5),
    reference_performance=123.456,
    doubt=0.01,
    gain=0.1,
    lower=-0.02,
    abort_below=110.0,
    testing="r",
    contradicted=("q",),
    why={"rule": "because", "width": 1.5, "against": ["q"]},
)
INTERVAL = Interval(
    suggestion=SUGGESTION, config={"a": 0.3, "b": 9}, context=(1.0, 0.1), performance=math.pi, seconds=59.9
)


def test_facts_come_back_from_json_as_they_went() -> None:
    assert Suggestion.model_validate_json(SUGGESTION.model_dump_json()) == SUGGESTION
    assert Interval.model_validate_json(INTERVAL.model_dump_json()) == INTERVAL


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_gain_and_performance_are_each_others_inverse_and_more_is_better(direction: Any) -> None:
    target = replace(TARGET, objective=Objective(metric="m", direction=direction))

    better, worse = (2.0, 1.0) if direction == "maximize" else (1.0, 2.0)

    assert target.gain(better) > target.gain(worse)
    assert target.performance(target.gain(3.7)) == pytest.approx(3.7)
    assert math.isfinite(target.performance(1e9))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seconds": 0.0}, r"target\.seconds: 0\.0"),
        ({"seconds": math.nan}, r"target\.seconds: nan"),
        ({"features": ()}, r"target\.features"),
        ({"objective": Objective(metric="p95", direction="minimize", bound=3.0)}, r'target\.objective: "p95"'),
        (
            {
                "space": SearchSpace([Categorical("a", ["x", "y"]), Float("b", 0, 1, when={"a": ["x"]})]),
                "reference": {"a": "x", "b": 0.5},
            },
            'knob "b" has a condition',
        ),
    ],
)
def test_a_target_that_cannot_be_tuned_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(OptimizerError, match=words):
        replace(TARGET, **changes)


def test_a_reference_outside_the_space_is_refused() -> None:
    with pytest.raises(SpaceError, match="a"):
        replace(TARGET, reference={"a": 7.0, "b": 8})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"context": (1.0,)}, r"context: 1 numbers, but .* 2 \(rate, reads\)"),
        ({"context": (1.0, math.nan)}, 'context: "reads" is nan'),
        ({"config": {"a": 0.3}}, r'interval\.config: "b" is missing'),
        ({"config": {"a": "red", "b": 9}}, r"""interval\.config: "a" cannot be 'red'"""),
        ({"config": {"a": float("nan"), "b": 9}}, r'interval\.config: "a" cannot be nan'),
        ({"seconds": 0.0}, r"interval\.seconds: 0\.0"),
        ({"performance": 0.0}, r"interval\.performance: 0\.0"),
        ({"performance": -3.0}, r"interval\.performance: -3\.0"),
        ({"performance": math.inf}, r"interval\.performance: inf"),
        ({"suggestion": SUGGESTION.model_copy(update={"number": 4})}, r"number 4, but 0 comes next"),
    ],
)
def test_an_interval_that_does_not_fit_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(OptimizerError, match=words):
        checked(INTERVAL.model_copy(update=changes), TARGET, 0)


def test_an_interval_without_a_measurement_may_be_told() -> None:
    assert checked(INTERVAL.model_copy(update={"performance": None}), TARGET, 0).performance is None
