from __future__ import annotations

import numpy as np
import pytest

from optimizers.synthetic import SyntheticTable, branin, hartmann6

OPTIMA = [
    (branin(), [(np.pi + 5) / 15, 2.275 / 15]),
    (branin(), [(-np.pi + 5) / 15, 12.275 / 15]),
    (hartmann6(), [0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573]),
]


@pytest.mark.parametrize(("table", "point"), OPTIMA)
def test_known_optimum_is_reached_at_full_resource(table: SyntheticTable, point: list[float]) -> None:
    curve = table.curve({f"x{i}": value for i, value in enumerate(point)})

    assert curve.metrics["loss"][-1] == pytest.approx(table.optimum, abs=1e-6)


@pytest.mark.parametrize("make", [branin, hartmann6])
def test_nothing_lies_below_the_optimum_and_bias_spoils_early_ranks(make: object) -> None:
    correlations = []
    for bias in (0.0, 0.3, 3.0):
        table: SyntheticTable = make(bias=bias)  # type: ignore[operator]
        rng = np.random.default_rng(0)
        curves = [table.curve(table.space.decode(rng.random(table.dimension))) for _ in range(300)]
        early, late = (np.array([curve.metrics["loss"][at] for curve in curves]) for at in (0, -1))
        assert late.min() > table.optimum
        correlations.append(np.corrcoef(early.argsort().argsort(), late.argsort().argsort())[0, 1])

    assert correlations[0] == pytest.approx(1.0)
    assert correlations[0] > correlations[1] > correlations[2]


def test_seconds_rise_with_the_resource() -> None:
    curve = hartmann6().curve({f"x{i}": 0.5 for i in range(6)})

    assert (np.diff(curve.seconds) > 0).all()
    assert curve.seconds[0] > 0
