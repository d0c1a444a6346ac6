"""Phases and schedules: what clients do, and how that changes; nothing here needs a server."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db_knobs.address import Address, Kind
from db_knobs.errors import LabError
from db_knobs.lab.load import Load
from db_knobs.lab.phase import Deck, LoadStats, Phase
from db_knobs.lab.schedules import PHASES, SHAPES, blend, places, schedule
from db_knobs.lab.shop import DAYS, Shop
from db_knobs.lab.transactions import Draw, transactions

DAY = Phase({"read": 1.0}, clients=2, rate=10.0, span=1.0)
RUSH = Phase({"order": 3.0, "read": 1.0}, clients=8, rate=1_000.0, span=0.25)
NIGHT = Phase({"report": 1.0}, clients=1, rate=10.0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mix": {}}, "phase.mix"),
        ({"mix": {"read": 0.0}}, "phase.mix"),
        ({"mix": {"read": 1.0, "order": -1.0}}, "phase.mix"),
        ({"mix": {"read": 1.0}, "clients": 0}, "phase.clients: 0"),
        ({"mix": {"read": 1.0}, "rate": 0.0}, "phase.rate: 0.0"),
        ({"mix": {"read": 1.0}, "span": 1.5}, "phase.span: 1.5"),
    ],
)
def test_a_phase_that_makes_no_sense_names_its_field(fields: dict[str, object], words: str) -> None:
    with pytest.raises(LabError, match=words):
        Phase(**fields)  # type: ignore[arg-type]


def test_stats_by_hand() -> None:
    done = [(0.5, 10.0, "read"), (1.5, 20.0, "read"), (1.6, 30.0, "order"), (2.2, 40.0, "read")]

    stats = LoadStats.of(done, seconds=2.5, errors=3)

    assert (stats.transactions, stats.throughput, stats.errors) == (4, 1.6, 3)
    assert stats.per_second == (1, 2)
    assert (stats.mean_ms, stats.p50_ms) == (25.0, 25.0)
    assert stats.by == {"order": 1, "read": 3}


def test_stats_of_nothing_tell_no_latency() -> None:
    stats = LoadStats.of([], seconds=2.0, errors=0)

    assert (stats.throughput, stats.per_second, stats.p95_ms) == (0.0, (0, 0), None)


def test_half_way_between_two_phases() -> None:
    half = blend(DAY, RUSH, 0.5)

    assert half.mix == {"read": 0.625, "order": 0.375}
    assert (half.clients, half.span) == (5, 0.5)
    assert half.rate == pytest.approx(100.0)
    assert blend(DAY, Phase({"read": 1.0}), 0.5).rate is None


def test_shapes_of_schedules() -> None:
    assert places("steady", 2, 3) == [0, 0, 0]
    assert places("gradual", 2, 5) == [0, 0.5, 1, 1.5, 2]
    assert places("sudden", 2, 6) == [0, 0, 1, 1, 2, 2]
    periodic = places("periodic", 2, 48)
    assert periodic[0] == 0
    assert periodic[12] == pytest.approx(2)
    assert periodic[:24] == pytest.approx(periodic[24:])


@given(st.sampled_from(SHAPES), st.integers(1, 60), st.integers(0, 5))
def test_schedules_follow_from_their_seed(shape: str, length: int, seed: int) -> None:
    made = schedule(shape, [DAY, RUSH, NIGHT], length, seed)  # type: ignore[arg-type]

    assert len(made) == length
    assert made == schedule(shape, [DAY, RUSH, NIGHT], length, seed)  # type: ignore[arg-type]
    assert all(1 <= phase.clients <= 8 and 0.25 <= phase.span <= 1 for phase in made)
    assert all(math.isclose(sum(phase.mix.values()), 1.0, rel_tol=0.3) for phase in made)


def test_a_schedule_needs_phases_and_intervals() -> None:
    with pytest.raises(LabError, match="0 phases, 3 intervals"):
        schedule("steady", [], 3)
    with pytest.raises(LabError, match="1 phases, 0 intervals"):
        schedule("steady", [DAY], 0)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_ready_made_phases_name_transactions_that_there_are(kind: Kind) -> None:
    assert {name for phase in PHASES[kind] for name in phase.mix} <= set(transactions(kind))


def test_a_transaction_that_there_is_not_is_refused_before_anything_starts() -> None:
    address = Address("postgresql", "127.0.0.1", 1, "nobody", database="none")

    with pytest.raises(LabError, match='"sleep" is none of lookup, match'):
        Load(address, Shop(), Phase({"sleep": 1.0}))


@given(st.integers(0, 1_000), st.floats(0.01, 1.0))
def test_keys_stay_within_the_part_in_use(seed: int, span: float) -> None:
    shop = Shop(0.1)
    draw = Draw(random.Random(seed), shop, span)

    assert 1 <= draw.customer <= max(1, round(shop.customers * span))
    assert 1 <= draw.order <= max(1, round(shop.orders * span))
    keys = draw.customers(300)
    assert len(set(keys)) == 300
    assert keys[-1] <= max(300, round(shop.customers * span))
    first, last = draw.days(7)
    assert 0 <= first < last < DAYS


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0.05, 20.0), min_size=1),
    st.integers(0, 100),
    st.integers(0, 300),
    st.integers(1, 200),
)
def test_a_deck_keeps_its_shares_over_every_stretch(mix: dict[str, float], seed: int, skip: int, length: int) -> None:
    deck = Deck(mix, seed)
    drawn = [deck.draw() for _ in range(skip + length)][skip:]

    for name, share in mix.items():
        owed = length * share / sum(mix.values())
        # Each draw by itself would stray by the square root of the stretch.
        assert abs(drawn.count(name) - owed) <= len(mix)


def test_a_deck_leaves_out_what_has_no_share() -> None:
    deck = Deck({"read": 1.0, "order": 0.0}, seed=0)

    assert {deck.draw() for _ in range(20)} == {"read"}
