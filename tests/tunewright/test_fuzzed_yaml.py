"""Whatever a study's text holds, it is a study or a clear error, soon and in little memory."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tunewright._yaml import MAX_BYTES, MAX_VALUES, read_mapping
from tunewright.errors import SpecError
from tunewright.study import StudySpec

STUDY = {
    "name": "a",
    "workload": "bowl",
    "space": {"x": {"type": "float", "low": 0.1, "high": 1.0, "log": True}},
    "objectives": [{"metric": "loss"}],
    "fidelity": {"name": "steps", "max": 9},
    "optimizer": {"name": "asha", "settings": {"eta": 3}},
    "budget": {"trials": 4},
    "data": {"rows": 10},
}
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}]\n"
    for before, name in zip("abcdefghij", "bcdefghijk", strict=True)
)
# Pieces of which YAML's special cases are made.
PIECES = (
    st.sampled_from([*"a{}[],#%@`~=é\"'", "- ", ": ", "\n", "  ", "&a ", "*a", "|\n", ">\n", "<<: ", "? "])
    | st.sampled_from(
        [
            "!!",
            "!!set ",
            "!!binary ",
            "---\n",
            "...\n",
            "0x",
            "1:",
            "1_0",
            "1e5",
            ".inf",
            ".nan",
            "2026-02-31",
            "!!bool ",
            "!!int ",
            "!!timestamp ",
            "012",
            "\t",
            "\0",
        ]
    )
    | st.sampled_from(
        ["\\u", "\\ud800", "9" * 30, "name: a\n", "workload: b\n", "budget: {trials: 1}\n", "data: ", "\ufeff"]
    )
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=40).map("".join))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


def read(text: str | Path) -> StudySpec | str:
    """The study, or what is wrong with it."""
    try:
        return StudySpec.from_yaml(text)
    except (SpecError, ValidationError) as error:
        return str(error)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [deeper for key, item in items for deeper in paths(item, (*path, key))]


@settings(max_examples=300, deadline=2000)
@given(TEXTS)
@example("{" * 5_000)
@example("- " * 5_000)
@example("a: &a [*a]")
@example("budget: {trials: " + "9" * 5_000 + "}")
@example("day: 2026-02-31")
def test_every_text_is_a_study_or_a_clear_error(text: str) -> None:
    found = read(text)

    assert found if isinstance(found, str) else StudySpec.from_yaml(found.to_yaml()) == found


@settings(max_examples=200, deadline=2000)
@given(st.binary(max_size=200))
def test_every_file_is_a_study_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    file.write_bytes(content)

    read(file)


@settings(max_examples=300, deadline=2000)
@given(st.sampled_from(paths(STUDY)), VALUES)
def test_a_study_with_one_value_replaced_is_one_that_can_be_sent_or_an_error(path: tuple[Any, ...], value: Any) -> None:
    text = yaml.safe_dump(_replaced(STUDY, path, value))

    found = read(text)

    if isinstance(found, StudySpec):
        assert StudySpec.model_validate_json(found.model_dump_json()) == found
        assert StudySpec.from_yaml(found.to_yaml()) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, f"more than {MAX_VALUES:,} values"),
        ("a: &a {b: *a}", "nested too deeply"),
        ("[" * 20_000, "nested too deeply"),
        ("a: " + "[" * 70 + "]" * 70, "nested too deeply"),
        ("a: " + "9" * 30, "a: an integer has more than 64 bits"),
        ("a: " + "9" * 5_000, "too long"),
        ("a: 1" + ":1" * 50_000, "too long"),
        ("a: {b: .nan}", "a.b: nan is no number"),
        ("a: [1, 2026-02-01]", "a.1: 2026-02-01 is read as date; quote it"),
        ("a: 2026-02-31", "quote what is meant as text"),
        ('a: "\\0"', "NUL"),
        ('a: "\\ud800"', "surrogate"),
        ("a\0b: 1", "not valid YAML"),
        ('a: "\\UFFFFFFFF"', "escape stands for no character"),
        ("a: 1\nb: 2\na: 3", "'a' stands in line 1 already; remove one\n  in \"<unicode string>\", line 3"),
        ("a: {b: 1, 'b': 2}", "'b' stands in line 1 already"),
        ('{"\\ud83d\\ude00": 1, "😀": 2}', "'😀' stands in line 1 already"),
        ("b: 0\na: 12:30:00", "YAML reads 12:30:00 in base 60; quote it, or write a plain number\n  in"),
        ("a: 1:30.5", "YAML reads 1:30.5 in base 60"),
        ("a: -012", "YAML reads -012 as octal; leave out the zero in front, or quote what is text\n  in"),
        ("b: 0\na: !!bool maybe", "this is no bool; correct it, or quote what is meant as text\n  in"),
        ("a: !!bool {=: maybe}", "this is no bool"),
        ("a: !!int ''", "this is no int"),
        ("a: !!float ''", "this is no float"),
        ("a: !!timestamp soon", "this is no timestamp"),
        ("1: 2", "'1' is read as int; quote it"),
        ("a: !!binary aGk=", "is read as bytes"),
        ("a: !!set {b}", "is read as set"),
        ("a: !!python/object:os.system {}", "not valid YAML"),
        ("#" * (MAX_BYTES + 1), "more than 256 KiB"),
    ],
    ids=lambda value: str(value)[:20].encode("unicode_escape").decode(),
)
def test_what_could_not_be_sent_on_is_refused_by_name(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)

    for source in (text, file):
        with pytest.raises(SpecError) as refused:
            read_mapping(source, "study", "fields")
        assert reason in str(refused.value)
        assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": "\\ud83d\\ude00"}', "😀"),
        ("a: [0, -0, 0x1F, 0b11, 0.5, 012.5, 1_000]", [0, 0, 31, 3, 0.5, 12.5, 1000]),
        ("a: ['012', '12:30:00', 02:00-04:00, 08]", ["012", "12:30:00", "02:00-04:00", "08"]),
        ("a: {<<: {b: 1, c: 1}, b: 2}", {"b": 2, "c": 1}),
        ("a: [off, On, yes, NO, y, 'true', ~, null]", ["off", "On", "yes", "NO", "y", "true", None, None]),
        ("a: {on: [true, False, TRUE]}", {"on": [True, False, True]}),
    ],
)
def test_what_can_mean_one_thing_only_is_read(text: str, value: Any) -> None:
    assert read_mapping(text, "study", "fields") == {"a": value}


def test_a_word_stands_for_a_truth_value_where_one_is_wanted() -> None:
    space = {
        "x": {"type": "float", "low": 0.1, "high": 1.0, "log": "yes"},
        "mode": {"type": "categorical", "choices": ["off", "on"]},
    }
    text = yaml.safe_dump({**STUDY, "space": space}).replace("'", "")

    study = StudySpec.from_yaml(text)

    assert study.space is not None
    log, mode = study.space["x"], study.space["mode"]
    assert (log.log, mode.choices) == (True, ["off", "on"])
    assert StudySpec.from_yaml(study.to_yaml()) == study


def test_one_mapping_may_be_merged_and_stand_again() -> None:
    text = "a: &a {b: 1}\nc: &c {<<: *a, b: 2}\nd: {<<: *c, b: 3}\ne: *c"

    read = read_mapping(text, "study", "fields")

    assert read == {"a": {"b": 1}, "c": {"b": 2}, "d": {"b": 3}, "e": {"b": 2}}


def test_a_short_text_that_stands_for_a_lot_takes_little_time_and_memory() -> None:
    tracemalloc.start()
    began = time.perf_counter()

    assert isinstance(read(LAUGHS), str)

    assert time.perf_counter() - began < 5
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_file_far_too_large_is_not_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    with file.open("wb") as out:
        out.truncate(10**9)
    tracemalloc.start()

    with pytest.raises(SpecError, match="KiB"):
        read_mapping(file, "study", "fields")

    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def _replaced(study: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    key, *rest = path
    if isinstance(study, list):
        return [_replaced(item, tuple(rest), value) if n == key else item for n, item in enumerate(study)]
    return {name: _replaced(item, tuple(rest), value) if name == key else item for name, item in study.items()}
