from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.tunewright.spaces import configs, spaces
from tunewright.errors import SpaceError
from tunewright.space import Categorical, Config, Float, Int, Ordinal, SearchSpace, config_key

BOOSTER = SearchSpace(
    Float("learning_rate", 1e-3, 0.5, log=True, default=0.1),
    Int("max_depth", 2, 12),
    Categorical("booster", ["gbtree", "dart"]),
    Float("rate_drop", 0.0, 0.5, when={"booster": "dart"}),
)


def same(space: SearchSpace, a: Config, b: Config) -> bool:
    """Equal, and to rounding where a parameter is continuous."""
    return list(a) == list(b) and all(
        math.isclose(a[name], b[name], rel_tol=1e-9, abs_tol=1e-9 * (space[name].high - space[name].low))  # type: ignore[arg-type, union-attr]
        if isinstance(space[name], Float)
        else a[name] == b[name] and type(a[name]) is type(b[name])
        for name in a
    )


@given(space=spaces(), data=st.data())
def test_decode_undoes_encode(space: SearchSpace, data: st.DataObject) -> None:
    config = data.draw(configs(space))
    # A condition on a continuous value holds at that very value; a rounded one may miss it.
    conditions = {parent for parameter in space.parameters for parent in parameter.when}
    if any(isinstance(space[parent], Float) for parent in conditions):
        return

    assert same(space, space.decode(space.encode(config)), config)


@given(space=spaces(), seed=st.integers(0, 2**32 - 1))
def test_decoded_points_are_valid_and_encode_to_one_canonical_point(space: SearchSpace, seed: int) -> None:
    for u in np.random.default_rng(seed).uniform(-0.1, 1.1, (10, space.dimension)):
        config = space.decode(u)

        point = space.encode(config)

        assert space.validate_config(config) == config
        assert ((point >= 0) & (point <= 1)).all()
        assert space.encode(space.decode(point)) == pytest.approx(point, abs=1e-9)


@given(space=spaces())
def test_python_json_and_yaml_forms_are_equal(space: SearchSpace) -> None:
    dumped = space.model_dump(mode="json")
    by_name = {fields["name"]: {k: v for k, v in fields.items() if k != "name"} for fields in dumped}

    for form in (
        SearchSpace.model_validate_json(space.model_dump_json()),
        SearchSpace.model_validate_json(space.model_dump_json(exclude_defaults=True)),
        SearchSpace.model_validate(yaml.safe_load(yaml.safe_dump(dumped))),
        SearchSpace.model_validate(by_name),
        SearchSpace(by_name),
        SearchSpace(space.parameters),
        SearchSpace(*space.parameters),
    ):
        assert form == space
        assert form.canonical_json() == space.canonical_json()


@given(space=spaces(), data=st.data())
def test_configurations_survive_json(space: SearchSpace, data: st.DataObject) -> None:
    config = data.draw(configs(space))

    again = space.validate_config(json.loads(json.dumps(config)))

    assert again == config
    assert config_key(again) == config_key(config)
    assert list(map(type, again.values())) == list(map(type, config.values()))


def test_default_is_valid_and_leaves_out_what_is_inactive() -> None:
    assert BOOSTER.default() == {"learning_rate": 0.1, "max_depth": 7, "booster": "gbtree"}
    assert BOOSTER.validate_config(BOOSTER.default()) == BOOSTER.default()


def test_inactive_parameter_does_not_move_the_point() -> None:
    points = [BOOSTER.encode(BOOSTER.decode(np.array([0.5, 0.5, 0.2, u]))) for u in (0.0, 0.3, 1.0)]

    assert (points[0] == points[1]).all()
    assert (points[0] == points[2]).all()


def test_child_of_an_inactive_parent_is_inactive() -> None:
    space = SearchSpace(
        Categorical("a", ["on", "off"]),
        Categorical("b", ["on", "off"], when={"a": "on"}),
        Float("c", 0, 1, when={"b": "on"}),
    )

    assert space.decode(np.array([0.9, 0.1, 0.5])) == {"a": "off"}
    assert set(space.decode(np.array([0.1, 0.1, 0.5]))) == {"a", "b", "c"}


def test_true_and_one_are_different_choices() -> None:
    parameter = Categorical("x", [True, 1, "1"])

    assert [parameter.index(value) for value in (True, 1, "1")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        (Float("x", 0.1, 0.5, step=0.1), [0.1, 0.2, 0.3, 0.4, 0.5]),
        (Float("x", 0, 1, step=0.3), [0.0, 0.3, 0.6, 0.9]),
        (Float("x", 123456789.123456, 123456790, step=0.5), [123456789.123456, 123456789.623456]),
        (Float("x", 1e6, 1e6 + 3e-7, step=1e-7), [1e6, 1e6 + 1e-7, 1e6 + 2e-7, 1e6 + 3e-7]),
        (Int("x", 0, 10, step=4), [0, 4, 8]),
        (Int("x", 1, 4, log=True), [1, 2, 3, 4]),
        (Ordinal("x", ["s", "m", "l"]), ["s", "m", "l"]),
    ],
)
def test_all_values_of_a_grid_are_reached(parameter: Any, values: list[Any]) -> None:
    found = sorted({parameter.decode(u) for u in np.linspace(0, 1, 400)}, key=parameter.encode)

    assert found == pytest.approx(values, abs=1e-12) if isinstance(parameter, Float) else found == values
    assert all(parameter.contains(value) for value in found)


def test_whole_numbers_far_from_zero_have_a_grid_of_one() -> None:
    parameter = Int("n", 2**49, 2**50, step=1)

    assert parameter.size == 2**49 + 1
    assert [parameter.decode(parameter.encode(n)) for n in (2**49, 2**50 - 1, 2**50)] == [2**49, 2**50 - 1, 2**50]


def test_many_choices_are_checked_in_passing() -> None:
    assert Categorical("x", list(range(10_000))).size == 10_000


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float("x", 1, 0), r'parameter "x": low \(1.0\) must be below high \(0.0\)'),
        (lambda: Int("x", 3, 3), r'parameter "x": low \(3\) must be below high \(3\)'),
        (lambda: Float("x", 0, math.inf), r'parameter "x": bounds must be finite'),
        (lambda: Float("x", math.nan, 1), r'parameter "x": bounds must be finite'),
        (lambda: Float("x", -1e308, 1e308), r'parameter "x": .* narrow it'),
        (lambda: Float("x", 1e-300, 1e300, log=True), r'parameter "x": .* narrow it'),
        (lambda: Float("x", 0, 1, log=True), r'parameter "x": a log scale needs low > 0, not 0.0; raise low'),
        (lambda: Int("x", 0, 9, log=True), r'parameter "x": a log scale needs low > 0, not 0; raise low'),
        (lambda: Int("x", 1, 2**45, log=True), r'parameter "x": high .* use a larger unit'),
        (lambda: Int("x", 0, 2**60), r"high\n.*less than or equal"),
        (lambda: Float("x", 0, 1, step=2), r'parameter "x": step \(2.0\) must be positive and at most'),
        (lambda: Float("x", 0, 1, step=-0.1), r'parameter "x": step \(-0.1\) must be positive'),
        (lambda: Float("x", 0, 1, step=1e-300), r'parameter "x": step .* widen it or drop it'),
        (lambda: Float("x", 0, 1, step=5e-324), r'parameter "x": step .* widen it or drop it'),
        (lambda: Float("x", 0, 2**50, step=1), r'parameter "x": step .* finer than floats .* widen it or drop it'),
        (lambda: Float("x", 1, 2, step=0.5, log=True), r'parameter "x": step and log exclude each other; drop one'),
        (lambda: Float("x", 0, 1, default=2), r'parameter "x": default \(2.0\) is not one of its own values'),
        (lambda: Int("x", 0, 9, step=2, default=3), r'parameter "x": default \(3\) is not one of'),
        (lambda: Int("x", 1.5, 9), r"low\n.*valid integer"),
        (lambda: Float("x", 0), r"high\n.*Field required"),
        (lambda: Float("", 0, 1), r"name\n.*at least 1 character"),
        (lambda: Float("x", 0, 1, lgo=True), r"lgo\n.*not permitted"),
        (lambda: Categorical("x", []), r'parameter "x": choices is empty; give at least one value'),
        (lambda: Categorical("x", ["a", "b", "a"]), r'parameter "x": choice \'a\' stands twice; remove one'),
        (lambda: Categorical("x", [1, 1.0]), r'parameter "x": choice 1.0 stands twice; remove one'),
        (lambda: Categorical("x", [math.nan]), r'parameter "x": choice nan is not finite; name it with a string'),
        (lambda: Ordinal("x", ["a"], default="b"), r'parameter "x": default \(\'b\'\) is not one of'),
        (lambda: SearchSpace(), r"the search space is empty; give at least one parameter"),
        (lambda: SearchSpace(Float("x", 0, 1), Int("x", 0, 1)), r'parameter "x" stands twice; rename one'),
        (
            lambda: SearchSpace(Float("x", 0, 1, when={"y": 1}), Int("y", 0, 1)),
            r'parameter "x": when names "y", which must be declared before it',
        ),
        (
            lambda: SearchSpace(Int("y", 0, 1), Float("x", 0, 1, when={"y": []})),
            r'parameter "x": when "y" lists no value, so it could never be active',
        ),
        (
            lambda: SearchSpace(Int("y", 0, 1), Float("x", 0, 1, when={"y": 2})),
            r'parameter "x": when "y" is 2, which "y" can never be',
        ),
        (lambda: SearchSpace.model_validate({"x": 5}), r'parameter "x": expected its fields .*, not 5'),
        (lambda: SearchSpace.model_validate({"x": {"type": "flot", "low": 0, "high": 1}}), r"flot.*'float', 'int'"),
    ],
)
def test_wrong_declaration_names_the_parameter_and_the_remedy(make: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_depth": None}, r'configuration: parameter "max_depth" is missing'),
        ({"depth": 3}, r'unknown parameter "depth"; known are learning_rate, max_depth, booster, rate_drop'),
        ({"rate_drop": 0.1}, r'parameter "rate_drop" is inactive here .*; leave it out'),
        ({"max_depth": 13}, r'parameter "max_depth": 13 lies outside integers \[2, 12\]'),
        ({"max_depth": 3.0}, r'parameter "max_depth": 3.0 lies outside'),
        ({"max_depth": True}, r'parameter "max_depth": True lies outside'),
        ({"learning_rate": math.nan}, r'parameter "learning_rate": nan lies outside \[0.001, 0.5\]'),
        ({"learning_rate": "0.1"}, r'parameter "learning_rate": \'0.1\' lies outside'),
        ({"booster": "gblinear"}, r'parameter "booster": \'gblinear\' lies outside \[\'gbtree\', \'dart\'\]'),
        ({"booster": "dart"}, r'configuration: parameter "rate_drop" is missing'),
    ],
)
def test_wrong_configuration_names_the_parameter(change: dict[str, Any], message: str) -> None:
    config = {k: v for k, v in {**BOOSTER.default(), **change}.items() if v is not None}

    with pytest.raises(SpaceError, match=message):
        BOOSTER.validate_config(config)


def test_value_that_is_no_choice_cannot_be_encoded() -> None:
    with pytest.raises(SpaceError, match=r'parameter "booster": \'x\' is none of'):
        BOOSTER.encode({"learning_rate": 0.1, "max_depth": 3, "booster": "x"})


def test_defaults_complete_a_configuration_as_far_as_conditions_hold() -> None:
    space = SearchSpace(
        Float("rate", 0.1, 1.0, default=0.5),
        Categorical("booster", ["tree", "dart"]),
        Float("drop", 0.0, 1.0, default=0.25, when={"booster": "dart"}),
    )

    assert space.complete({}) == {"rate": 0.5, "booster": "tree"}
    assert space.complete({"booster": "dart", "rate": 1}) == {"rate": 1.0, "booster": "dart", "drop": 0.25}
    with pytest.raises(SpaceError, match='"drop" is inactive'):
        space.complete({"drop": 0.5})
    with pytest.raises(SpaceError, match='"rate": 7 lies outside'):
        space.complete({"rate": 7})


def test_what_a_space_leaves_out_of_a_declared_one_stays_at_its_default() -> None:
    declared = SearchSpace(
        Float("rate", 0.1, 1.0, default=0.5),
        Categorical("booster", ["tree", "dart", "linear"], default="dart"),
        Float("drop", 0.0, 1.0, default=0.25, when={"booster": ["dart", "linear"]}),
        Int("depth", 1, 9, default=4, when={"booster": "tree"}),
        Int("leaves", 1, 9, default=2, when={"depth": [3, 4]}),
    )

    assert declared.over(declared) is declared
    rate_alone = SearchSpace(Float("rate", 0.2, 0.4)).over(declared)
    assert rate_alone.parameters[1:] == [
        Categorical("booster", ["dart"]),
        Categorical("drop", [0.25], when={"booster": ["dart"]}),
    ]
    assert rate_alone.default() == {"rate": pytest.approx(0.3), "booster": "dart", "drop": 0.25}
    boosters = SearchSpace(Categorical("booster", ["linear", "tree"])).over(declared)
    assert boosters.default() == {"booster": "linear", "rate": 0.5, "drop": 0.25}
    assert boosters.complete({"booster": "tree"}) == {"booster": "tree", "rate": 0.5, "depth": 4, "leaves": 2}


@given(spaces(), st.data())
def test_a_part_of_a_space_over_the_whole_gives_configurations_of_the_whole(
    declared: SearchSpace, data: st.DataObject
) -> None:
    # A parent goes along with what depends on it, as a space must have it.
    chosen = data.draw(st.sets(st.sampled_from(declared.names), min_size=1))
    for parameter in reversed(declared.parameters):
        if parameter.name in chosen:
            chosen |= set(parameter.when)
    part = SearchSpace(*(parameter for parameter in declared.parameters if parameter.name in chosen))
    merged = part.over(declared)

    config = merged.decode(np.array(data.draw(st.lists(st.floats(0, 1), min_size=len(merged), max_size=len(merged)))))

    assert declared.validate_config(config) == config


def test_grid_point_is_one_value_however_it_was_computed() -> None:
    space = SearchSpace(
        Float("x", 0.0, 0.3, step=0.1, default=0.1 * 3),
        Float("y", 0.0, 1.0, default=0.25, when={"x": [0.1 * 3]}),
    )

    assert 0.1 * 3 != 0.3
    assert space["x"].contains(0.1 * 3)
    assert not space["x"].contains(0.4)
    assert not space["x"].contains(-0.1)
    assert space.validate_config({"x": 0.1 * 3, "y": 0.5}) == {"x": 0.3, "y": 0.5}
    assert space.default() == space.complete({"x": 0.1 * 3}) == space.complete({"x": 0.3}) == {"x": 0.3, "y": 0.25}
    assert space.decode(space.encode({"x": 0.1 * 3, "y": 0.5})) == {"x": 0.3, "y": 0.5}


@pytest.mark.parametrize("kind", [Categorical, Ordinal])
@pytest.mark.parametrize(
    "choices", [[False, True], [1, 2], [0.5, 0.25], ["a", "b"]], ids=["truths", "integers", "numbers", "texts"]
)
@pytest.mark.parametrize("dtype", [None, np.float32])
def test_numpy_values_are_those_of_python(
    kind: type[Categorical | Ordinal], choices: list[Any], dtype: type[np.float32] | None
) -> None:
    array = np.array(choices, dtype=dtype if isinstance(choices[0], float) else None)
    child = Float("y", 0, 1, when={"x": choices[1]})

    space = SearchSpace(kind("x", list(array), default=array[1]), Float("y", 0, 1, when={"x": array[1]}))

    assert space.model_dump_json() == SearchSpace(kind("x", choices, default=choices[1]), child).model_dump_json()
    assert SearchSpace(kind("x", array)).model_dump_json() == SearchSpace(kind("x", choices)).model_dump_json()
    config = space.validate_config({"x": array[1], "y": np.float32(0.5)})
    assert config == {"x": choices[1], "y": 0.5}
    assert type(config["x"]) is type(choices[1])
