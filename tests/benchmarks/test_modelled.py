"""Modelled tables: the same curve for whoever asks, and a best value that no search goes far below."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.data.modelled import METRIC, POINTS, SPACES, modelled


@pytest.mark.parametrize("kind", SPACES)
def test_a_configuration_has_one_curve_of_finite_losses_and_rising_seconds(kind: str) -> None:
    table = modelled(kind, 7)
    rng = np.random.default_rng(1)

    for _ in range(20):
        config = table.space.decode(rng.random(table.space.dimension))
        curve, again = table.curve(config), table.curve(config)
        assert np.isfinite(curve.metrics[METRIC]).all()
        assert (curve.metrics[METRIC] == again.metrics[METRIC]).all()
        assert (np.diff(curve.seconds) > 0).all()
        assert len(curve.resources) == POINTS == table.fidelity.max


@pytest.mark.parametrize("kind", SPACES)
def test_the_best_known_is_better_than_any_random_draw(kind: str) -> None:
    table = modelled(kind, 7)
    rng = np.random.default_rng(2)

    drawn = [table.curve(table.space.decode(rng.random(table.space.dimension))) for _ in range(300)]

    assert table.best - 3 * table.traits.noise < min(curve.metrics[METRIC][-1] for curve in drawn)
    assert table.best < table.median


def test_other_seeds_are_other_tables_and_other_kinds_are_unknown() -> None:
    assert modelled("network", 1).best != modelled("network", 2).best
    assert modelled("network", 1) is modelled("network", 1)
    with pytest.raises(KeyError, match="perceptron"):
        modelled("perceptron", 1)
