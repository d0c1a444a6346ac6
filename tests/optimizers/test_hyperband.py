from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizers.errors import OptimizerError
from optimizers.hyperband import Rung, asha_promotes, rung_levels
from optimizers.rankings import ParetoRanking, ScalarRanking, crowding
from tunewright.study import Fidelity


@pytest.mark.parametrize(
    ("low", "high", "eta", "levels"),
    [
        (1, 27, 3, (1, 3, 9, 27)),
        (1, 243, 3, (1, 3, 9, 27, 81, 243)),
        (1, 81, 9, (1, 9, 81)),
        (5, 100, 3, (11, 33, 100)),
        (1, 100, 3, (1, 4, 11, 33, 100)),
        (1, 2, 3, (2,)),
        (7, 7, 3, (7,)),
        (1, 4, 1.5, (1, 2, 3, 4)),
    ],
)
def test_levels_of_whole_resources(low: float, high: float, eta: float, levels: tuple[float, ...]) -> None:
    assert rung_levels(Fidelity(name="epochs", min=low, max=high), eta) == levels


def test_levels_of_fractions_are_not_rounded() -> None:
    levels = rung_levels(Fidelity(name="rows", min=0.1, max=1, integer=False), 3)

    assert levels == (1 / 9, 1 / 3, 1.0)


@given(
    low=st.integers(1, 1000),
    span=st.integers(0, 100_000),
    eta=st.floats(1.1, 20),
    integer=st.booleans(),
)
def test_levels_rise_within_their_bounds(low: int, span: int, eta: float, integer: bool) -> None:
    levels = rung_levels(Fidelity(name="r", min=low, max=low + span, integer=integer), eta)

    assert levels[-1] == low + span
    assert list(levels) == sorted(set(levels))
    assert levels[0] >= low * (1 - 1e-8)
    assert not integer or all(level.is_integer() for level in levels)


@pytest.mark.parametrize("eta", [1.0, 0.5, -3.0, float("nan"), float("inf")])
def test_eta_of_one_or_less_is_refused(eta: float) -> None:
    with pytest.raises(OptimizerError, match=r"optimizer\.settings\.eta: .* such as 3"):
        rung_levels(Fidelity(name="epochs", max=27), eta)


def test_asha_promotes_the_top_third_and_no_one_else() -> None:
    assert [asha_promotes(rank, 9, 3) for rank in range(4)] == [True, True, True, False]
    assert not asha_promotes(0, 2, 3)
    assert asha_promotes(0, 3, 3)


results = st.lists(st.tuples(st.sampled_from([0.0, 0.0, 1.0]), st.integers(0, 5), st.integers(0, 5)), max_size=40)


@given(results=results, promotions=st.lists(st.booleans(), min_size=40, max_size=40))
def test_scalar_ranking_is_a_sort(results: list[tuple[float, int, int]], promotions: list[bool]) -> None:
    ranking = ScalarRanking()
    waiting: set[int] = set()
    known: list[tuple[float, float, int]] = []
    for trial, (violation, loss, _) in enumerate(results):
        ranking.add(trial, violation, [float(loss)])
        known.append((violation, float(loss), trial))
        waiting.add(trial)
        if promotions[trial]:
            expected = next((key[2], rank) for rank, key in enumerate(sorted(known)) if key[2] in waiting)
            found = ranking.best_waiting()
            assert found == expected
            ranking.remove_waiting(found.trial)
            waiting.discard(found.trial)


@given(results=results)
def test_pareto_ranking_gives_the_fronts_of_a_full_sort(results: list[tuple[float, int, int]]) -> None:
    ranking = ParetoRanking()
    for trial, (violation, a, b) in enumerate(results):
        ranking.add(trial, violation, [float(a), float(b)])
    order = []
    while (candidate := ranking.best_waiting()) is not None:
        assert candidate.rank == len(order)
        order.append(candidate.trial)
        ranking.remove_waiting(candidate.trial)

    fronts = _fronts(results)
    assert len(order) == len(results)
    assert [fronts[trial] for trial in order] == sorted(fronts)


def _fronts(points: list[tuple[float, int, int]]) -> list[int]:
    def dominates(p: tuple[float, int, int], q: tuple[float, int, int]) -> bool:
        if p[0] != q[0]:
            return p[0] < q[0]
        return p[1] <= q[1] and p[2] <= q[2] and p != q

    left, fronts, level = set(range(len(points))), [0] * len(points), 0
    while left:
        front = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        for i in front:
            fronts[i] = level
        left -= front
        level += 1
    return fronts


def test_crowding_keeps_the_ends_and_prefers_the_lonely() -> None:
    distance = crowding(np.array([[0.0, 4.0], [1.0, 3.0], [1.2, 2.8], [4.0, 0.0]]))

    assert np.isinf(distance[[0, 3]]).all()
    assert distance[1] == pytest.approx(1.2 / 4 + 1.2 / 4)
    assert distance[2] == pytest.approx(3.0 / 4 + 3.0 / 4)


def test_failed_trials_count_on_their_rung_but_never_wait() -> None:
    rung = Rung(1.0, 1)

    rung.add_failed()
    rung.add_failed()

    assert rung.measured == 2
    assert rung.best_waiting() is None
