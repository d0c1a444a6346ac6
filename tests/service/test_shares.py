"""How a cluster is divided among studies: what always holds, and what it comes to over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.shares import Claim, Shares, entitlements, whole_legs

CLOSE = 1e-6


def claim(study: str = "a", weight: float = 1.0, wanted: int = 100, running: int = 0, **needs: float) -> Claim:
    return Claim(study, weight, needs or {"CPU": 1.0}, running, wanted, most=max(wanted, 1))


def taken(claims: Sequence[Claim], legs: Sequence[float]) -> dict[str, float]:
    total: dict[str, float] = {}
    for each, number in zip(claims, legs, strict=True):
        for name, need in each.needs.items():
            total[name] = total.get(name, 0.0) + number * need
    return total


def fits(capacity: Mapping[str, float], used: Mapping[str, float]) -> bool:
    return all(amount <= capacity.get(name, 0.0) + CLOSE for name, amount in used.items())


clusters = st.fixed_dictionaries({"CPU": st.integers(1, 64).map(float), "GPU": st.integers(0, 8).map(float)})
needs = st.fixed_dictionaries(
    {"CPU": st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, 16.0]), "GPU": st.sampled_from([0.0, 0.0, 0.25, 1.0, 2.0])}
)


@st.composite
def claims(draw: st.DrawFn) -> list[Claim]:
    found = []
    for number in range(draw(st.integers(1, 8))):
        wanted = draw(st.integers(0, 100))
        weight = draw(st.sampled_from([1.0, 4.0, 16.0]))
        found.append(Claim(str(number), weight, draw(needs), draw(st.integers(0, wanted)), wanted, max(wanted, 1)))
    return found


@given(clusters, claims(), st.data())
def test_legs_fit_and_no_further_one_does(capacity: dict[str, float], asked: list[Claim], data: st.DataObject) -> None:
    owed = [data.draw(st.floats(-1e6, 1e6)) for _ in asked]

    legs = whole_legs(capacity, asked, owed)

    used = taken(asked, legs)
    assert fits(capacity, used)
    for each, number in zip(asked, legs, strict=True):
        assert 0 <= number <= each.wanted
        one_more = {name: used.get(name, 0.0) + need for name, need in each.needs.items() if need}
        assert number == each.wanted or not fits(capacity, one_more), "left idle what somebody wants"


@given(clusters, claims())
def test_entitlements_are_weighted_max_min_fair(capacity: dict[str, float], asked: list[Claim]) -> None:
    fair = entitlements(capacity, asked)

    assert fits(capacity, taken(asked, fair))
    level = {c.study: c.part(capacity) * f / c.weight if f else 0.0 for c, f in zip(asked, fair, strict=True)}
    full = {n for n, amount in taken(asked, fair).items() if amount >= capacity[n] - CLOSE * max(1.0, capacity[n])}
    for each, share in zip(asked, fair, strict=True):
        if each.part(capacity) > 1 or share >= each.wanted - CLOSE:
            continue
        # Whoever wants more is held back by a resource, and nobody there has more for its weight.
        scarce = [name for name in full if each.needs[name] > 0]
        assert scarce
        assert any(
            all(level[other.study] <= level[each.study] + CLOSE for other in asked if other.needs[name] > 0)
            for name in scarce
        )


@given(clusters, claims())
def test_with_nothing_owed_each_has_the_whole_part_of_its_share(capacity: dict[str, float], asked: list[Claim]) -> None:
    legs = whole_legs(capacity, asked, [0.0] * len(asked))

    assert all(number >= int(share - CLOSE) for number, share in zip(legs, entitlements(capacity, asked), strict=True))


@pytest.mark.parametrize(
    ("asked", "fair"),
    [
        ([claim("a"), claim("b")], [5, 5]),
        ([claim("a", wanted=2), claim("b")], [2, 8]),
        ([claim("a", weight=4), claim("b")], [8, 2]),
        # The example of the paper, section 4.1, with 9 CPUs and 18 GB.
        ([claim("a", CPU=1, GB=4), claim("b", CPU=3, GB=1)], [3, 2]),
        ([claim("a", CPU=20), claim("b")], [0, 10]),
        ([claim("a", CPU=0), claim("b")], [100, 10]),
    ],
)
def test_known_shares(asked: list[Claim], fair: list[float]) -> None:
    capacity = {"CPU": 9.0, "GB": 18.0} if "GB" in asked[0].needs else {"CPU": 10.0}

    assert entitlements(capacity, asked) == pytest.approx(fair)


def test_a_late_study_has_its_share_beside_a_large_one() -> None:
    shares = Shares()
    alone = shares.divide({"CPU": 2.0}, [claim("large", running=0)], 0.0)

    both = shares.divide({"CPU": 2.0}, [claim("large", running=2), claim("late", wanted=1)], 1.0)

    assert alone == {"large": 2}
    assert both == {"large": 1, "late": 1}


def test_who_wants_no_more_may_have_one_more_so_that_it_is_heard() -> None:
    asked = [claim("busy"), replace(claim("idle", wanted=0), most=10)]

    assert Shares().divide({"CPU": 4.0}, asked, 0.0) == {"busy": 4, "idle": 1}


def test_what_nobody_wants_may_be_taken_without_asking() -> None:
    asked = [replace(claim("a", wanted=1), most=10), replace(claim("b", wanted=0), most=2)]

    assert Shares().divide({"CPU": 8.0}, asked, 0.0) == {"a": 6, "b": 2}


def simulate(capacity: dict[str, float], asked: list[Claim], lengths: list[int], ticks: int) -> dict[str, float]:
    """Mean number of legs that run of each, on a cluster that starts legs in the order in which they come in."""
    shares = Shares()
    waiting: list[int] = []
    running: list[tuple[int, int]] = []
    total = [0] * len(asked)
    for now in range(ticks):
        ran = [sum(j == i for j, _ in running) for i in range(len(asked))]
        running = [(i, left - 1) for i, left in running if left > 1]
        counts = [sum(j == i for j, _ in running) for i in range(len(asked))]
        rooms = shares.divide(capacity, [replace(c, running=n) for c, n in zip(asked, ran, strict=True)], now)
        for i, each in enumerate(asked):
            waiting.extend([i] * (rooms[each.study] - counts[i] - waiting.count(i)))
        # Like Ray, which lets smaller tasks pass one that does not fit yet.
        for i in list(waiting):
            used = taken([asked[j] for j, _ in running] + [asked[i]], [1] * (len(running) + 1))
            if fits(capacity, used):
                waiting.remove(i)
                running.append((i, lengths[i]))
        for i, _ in running:
            total[i] += 1
    return {each.study: total[i] / ticks for i, each in enumerate(asked)}


def competing(sizes: list[float]) -> st.SearchStrategy[list[tuple[float, float, int]]]:
    """Weight, size and length of the legs of some studies."""
    each = st.tuples(st.sampled_from([1.0, 4.0]), st.sampled_from(sizes), st.integers(1, 4))
    return st.lists(each, min_size=1, max_size=4)


@settings(max_examples=40)
@given(st.integers(1, 6), competing([0.5, 1.0, 2.0]))
# One of three processors stays idle whatever is done, so that all fall behind, also the one of low weight.
@example(3, [(4.0, 2.0, 1), (1.0, 2.0, 1), (4.0, 2.0, 2)])
def test_over_time_nobody_starves(cpus: int, asked: list[tuple[float, float, int]]) -> None:
    capacity = {"CPU": float(cpus)}
    everybody = [claim(str(i), weight, 20, CPU=size) for i, (weight, size, _) in enumerate(asked)]
    fair = dict(zip([c.study for c in everybody], entitlements(capacity, everybody), strict=True))

    had = simulate(capacity, everybody, [length for *_, length in asked], 300)

    # Legs of different sizes leave gaps.
    assert all(had[study] >= 0.5 * fair[study] for study in fair), (had, fair)


@settings(max_examples=40)
@given(st.integers(1, 6), competing([1.0]))
# Long legs outlast the turn that they were given, at the cost of whoever is entitled to several short ones.
@example(5, [(1.0, 1.0, 1), (1.0, 1.0, 4), (1.0, 1.0, 4), (4.0, 1.0, 1)])
def test_over_time_everybody_has_its_share(cpus: int, asked: list[tuple[float, float, int]]) -> None:
    capacity = {"CPU": float(cpus)}
    everybody = [claim(str(i), weight, 20) for i, (weight, _, _) in enumerate(asked)]
    fair = dict(zip([c.study for c in everybody], entitlements(capacity, everybody), strict=True))

    had = simulate(capacity, everybody, [length for *_, length in asked], 300)

    assert all(had[study] >= 0.85 * fair[study] for study in fair), (had, fair)


def test_weights_hold_where_shares_are_less_than_a_leg() -> None:
    had = simulate({"CPU": 2.0}, [claim("high", weight=4.0), claim("low")], [3, 5], 2_000)

    assert had["low"] == pytest.approx(0.4, abs=0.05)
    assert had["high"] == pytest.approx(1.6, abs=0.05)
