from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from optimizers.candidates import around, candidates, canonical, canonical_active, fresh
from tests.tunewright.spaces import spaces
from tunewright.space import Categorical, Float, Int, Ordinal, Parameter, SearchSpace

SPACE = SearchSpace(
    Float("rate", 1e-4, 1.0, log=True),
    Int("depth", 1, 64, log=True),
    Categorical("booster", ["tree", "dart", "linear"]),
    Ordinal("size", ["s", "m", "l"]),
    Float("drop", 0.0, 0.5, when={"booster": "dart"}),
    Int("layers", 1, 9, when={"depth": [1, 2], "booster": "dart"}),
    Float("deep", 0.0, 1.0, when={"layers": 3}),
)


@given(space=spaces(), seed=st.integers(0, 2**32 - 1))
def test_canonical_is_encode_of_decode_row_by_row(space: SearchSpace, seed: int) -> None:
    u = np.random.default_rng(seed).random((20, space.dimension))

    found, active = canonical_active(space, u)

    configs = [space.decode(row) for row in u]
    expected = np.array([space.encode(config) for config in configs])
    assert (active == [[name in config for name in space.names] for config in configs]).all()
    assert (np.abs(found - expected).max(axis=0) < [rounding(parameter) for parameter in space.parameters]).all()


def rounding(parameter: Parameter) -> float:
    """How far a coordinate may move as its value is rounded to a float: far, where a range is narrow for its place."""
    if not isinstance(parameter, Float):
        return 1e-9
    if parameter.log:
        return 1e-9 + 8 * float(np.finfo(float).eps) / float(np.log(parameter.high / parameter.low))
    return 1e-9 + 2 * float(np.spacing(max(abs(parameter.low), abs(parameter.high)))) / (parameter.high - parameter.low)


def test_canonical_follows_chains_of_conditions() -> None:
    u = np.random.default_rng(0).random((3000, SPACE.dimension))
    u[:, 1] *= 0.2

    found, active = canonical_active(SPACE, u)

    configs = [SPACE.decode(row) for row in u]
    expected = np.array([SPACE.encode(config) for config in configs])
    assert np.abs(found - expected).max() < 1e-9
    assert (active == [[name in config for name in SPACE.names] for config in configs]).all()
    assert any("deep" in SPACE.decode(row) for row in found)


def test_changes_are_small_and_never_none_at_all() -> None:
    centres = canonical(SPACE, np.random.default_rng(0).random((3, SPACE.dimension)))

    moved = around(SPACE, centres, 300, np.random.default_rng(1))

    difference = np.abs(moved - centres[np.arange(300) % 3])
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert (difference.max(axis=1) > 0).all()
    assert np.median((difference > 0).sum(axis=1)) <= 2


def test_half_of_the_candidates_stand_around_the_best() -> None:
    space = SearchSpace([Float(f"x{i}", 0, 1) for i in range(6)])
    best = np.full((1, 6), 0.5)

    pool = candidates(space, best, 1000, np.random.default_rng(0))

    near = (np.abs(pool - 0.5) < 1e-9).sum(axis=1) >= 2
    assert near[:500].mean() > 0.95
    assert near[500:].sum() == 0


def test_without_a_best_point_all_candidates_are_uniform() -> None:
    assert candidates(SPACE, np.empty((0, SPACE.dimension)), 11, np.random.default_rng(0)).shape == (11, 7)


def test_near_duplicates_are_passed_over() -> None:
    tried = np.array([[0.5, 0.5], [0.1, 0.1]])
    ranked = np.array([[0.5, 0.5004], [0.1, 0.2], [0.1, 0.1], [0.9, 0.9]])

    assert list(fresh(ranked, tried)) == [1, 3]
