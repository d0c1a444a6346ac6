from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from db_knobs.catalog import Entry, Host, Reported, Share, entries, join, quantity
from db_knobs.database import Allowed, chosen
from db_knobs.errors import CatalogError, KnobRefused, UnknownKnob, ValueRefused
from db_knobs.knob import Applies, Knob, Special, checked, same, to_space
from tunewright.space import Categorical

MEMORY = Knob("work_mem", "integer", "doc", 4096, unit="kB", factor=1024, low=1024, high=65536, scale="log")
COST = Knob("cost", "real", "doc", 4.0, low=1.0, high=6.0)
SWITCH = Knob("jit", "bool", "doc", True)
CHOICE = Knob("mode", "enum", "doc", "on", choices=("off", "on", "lz4"))
DELAY = Knob("delay", "integer", "doc", 0, low=10, high=5000, scale="log", special=Special(0, "off", "low"))
NEVER = Knob("above", "real", "doc", 1e5, low=1e4, high=1e7, scale="log", special=Special(-1, "never", "high"))
ALL = (MEMORY, COST, SWITCH, CHOICE, DELAY, NEVER)


@pytest.mark.parametrize(
    ("knob", "value", "expected"),
    [
        (MEMORY, 8192.0, 8192),
        (MEMORY, np.int64(2048), 2048),
        (COST, 3, 3.0),
        (COST, 1.23456789, 1.23457),
        (SWITCH, np.bool_(False), False),
        (CHOICE, "lz4", "lz4"),
        (DELAY, 0, 0),
        (NEVER, -1, -1.0),
    ],
)
def test_values_come_out_in_the_knobs_own_type(knob: Knob, value: Any, expected: Any) -> None:
    found = knob.checked(value)

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("knob", "value", "says"),
    [
        (MEMORY, 512, "outside 1024 to 65536 kB"),
        (MEMORY, 2048.5, "not an integer"),
        (MEMORY, True, "not a number"),
        (MEMORY, "4MB", "not a number"),
        (COST, float("nan"), "not finite"),
        (SWITCH, 1, "neither true nor false"),
        (CHOICE, "zstd", "none of off, on, lz4"),
        (DELAY, 5, r"or 0 \(off\)"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_the_knobs_name(knob: Knob, value: Any, says: str) -> None:
    with pytest.raises(ValueRefused, match=says) as caught:
        knob.checked(value)

    assert caught.value.knob == knob.name
    assert str(caught.value).startswith(f'knob "{knob.name}"')


def test_only_these_knobs_are_checked() -> None:
    assert checked(ALL, {"jit": False, "cost": 2}) == {"jit": False, "cost": 2.0}
    with pytest.raises(ValueRefused, match="none of the knobs"):
        checked(ALL, {"fsync": False})


def test_a_space_starts_where_the_server_stands() -> None:
    space = to_space(ALL)

    assert space.default() == {knob.name: knob.current for knob in ALL}
    assert space.decode(space.encode(space.default())) == space.default()


@given(st.lists(st.floats(0, 1), min_size=len(ALL), max_size=len(ALL)))
def test_every_point_of_the_space_is_a_value_of_its_knob(point: list[float]) -> None:
    config = to_space(ALL).decode(np.array(point))

    assert checked(ALL, config).keys() == config.keys()


def test_a_special_value_lies_at_the_end_that_it_continues() -> None:
    delay, never = to_space([DELAY, NEVER]).parameters

    assert delay.encode(0) < delay.encode(10) < delay.encode(5000)
    assert never.encode(1e4) < never.encode(1e7) < never.encode(-1.0)


def test_numbers_on_a_nominal_scale_are_names() -> None:
    knob = Knob("level", "integer", "doc", 2, low=0, high=4, scale="nominal")

    parameter = knob.parameter()

    assert parameter == Categorical("level", [0, 1, 2, 3, 4], default=2)
    assert knob.checked(3) == 3
    with pytest.raises(ValueRefused, match="outside 0 to 4"):
        knob.checked(5)


def test_a_knob_without_a_choice_says_so() -> None:
    with pytest.raises(ValueRefused, match="nothing to choose"):
        Knob("fixed", "integer", "doc", 4, low=4, high=4).parameter()


def test_servers_digits_make_no_difference() -> None:
    assert same(0.333333333, 0.333333)
    assert same(200, 200.0)
    assert not same(200, 201)
    assert not same(True, False)
    assert not same("on", "off")


ENTRY = Entry(doc="Something of memory.", low="1MB", high=Share(ram=0.02, at_least="16MB", at_most="1GB"), scale="log")


def test_bounds_are_the_catalogues_within_the_servers_widened_to_what_stands() -> None:
    reported = Reported("work_mem", 512, type="integer", unit="kB", low=64, high=100_000)

    knob = join(ENTRY, reported, Host(ram_bytes=64 * 1024**3))

    assert knob is not None
    assert (knob.low, knob.high, knob.factor) == (512, 100_000, 1024)
    assert knob.quantity(4) == 4096
    assert join(ENTRY, reported, Host()) is None


def test_a_nominal_scale_is_kept_wherever_it_begins_and_has_ends() -> None:
    entry = Entry(doc="One of several ways.", low=0, high=8, scale="nominal")

    knob = join(entry, Reported("level", 2, type="integer", low=0, high=4), Host())

    assert knob is not None
    assert (knob.scale, knob.low, knob.high) == ("nominal", 0, 4)
    with pytest.raises(ValidationError, match="nominal scale has low and high"):
        Entry(doc="One of several ways.", scale="nominal")


def test_a_scale_that_reaches_nothing_is_linear() -> None:
    knob = join(ENTRY, Reported("tmp", 0, type="integer", unit="kB", low=0), Host(ram_bytes=1024**3))

    assert knob is not None
    assert knob.scale == "linear"
    assert to_space([knob]).default() == {"tmp": 0}


@pytest.mark.parametrize("text", ["64 parsecs", "much", "1..2MB"])
def test_a_quantity_that_is_none_says_so(text: str) -> None:
    with pytest.raises(CatalogError, match="no quantity"):
        quantity(text)


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "mariadb"])
def test_catalogues_are_whole(kind: str) -> None:
    catalog = entries(kind)

    assert len([name for name, entry in catalog.items() if entry.offered]) >= 30
    for name, entry in catalog.items():
        assert all(other in catalog for other in entry.moves), name
        assert entry.doc.endswith("."), name
        # MySQL tells no types.
        assert kind == "postgresql" or entry.type, name
    assert not [name for name, entry in catalog.items() if entry.loses and entry.offered]


def test_knobs_that_need_a_restart_are_never_offered_unasked() -> None:
    catalog = {"a": ENTRY, "b": ENTRY, "c": Entry(doc="Another thing.", restart=True)}
    reported = {
        "a": Reported("a", 1),
        "b": Reported("b", 1, applies=Applies.RESTART),
        "c": Reported("c", 1),
        "ssl_key": Reported("ssl_key", "x"),
    }

    assert chosen(catalog, reported, Allowed()) == ["a"]
    assert chosen(catalog, reported, Allowed(names=["c", "b", "a"], restart=True)) == ["a", "b", "c"]
    with pytest.raises(KnobRefused, match="restart"):
        chosen(catalog, reported, Allowed(names=["b"]))
    with pytest.raises(KnobRefused, match="authentication"):
        chosen(catalog, reported, Allowed(names=["ssl_key"]))
    with pytest.raises(UnknownKnob):
        chosen(catalog, reported, Allowed(names=["d"]))
