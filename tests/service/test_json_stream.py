"""Large JSON objects, read piece by piece as strictly as small ones at once."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import json_body, json_stream
from service.json_body import BadBody
from service.json_stream import members

LISTS = ("a", "b")
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    scalars | texts, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
objects = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), values)


def read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in members(io.StringIO(text), LISTS):
        if name in LISTS and isinstance(json.loads(text)[name], list):
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "PIECE", 3)


@given(objects, st.sampled_from([None, 1]), st.booleans())
def test_what_is_read_piece_by_piece_is_what_stands_there(
    body: dict[str, Any], indent: int | None, ascii: bool
) -> None:
    text = json.dumps(body, indent=indent, ensure_ascii=ascii)

    # An empty list has no items to tell of.
    assert read(text) == {name: value for name, value in body.items() if name not in LISTS or value != []}


@given(objects, st.data())
def test_a_body_that_is_cut_off_or_goes_on_is_refused(body: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(body)
    cut = data.draw(st.integers(0, len(text) - 1))

    for wrong in (text[:cut], f"{text}{text}", f"{text},"):
        with pytest.raises(BadBody):
            list(members(io.StringIO(wrong), LISTS))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "an object was expected"),
        ('{"a": [1 2]}', "a comma or the end of the list"),
        ('{"c": NaN}', "NaN is not a number"),
        ('{"a": [1e999]}', "too large"),
        ('{"a": [{"x": 1, "x": 2}]}', "stands twice"),
        ('{"c": "\\u0000"}', "NUL"),
        ('{"a": [' + "[" * 100 + "]" * 100 + "]}", "too deeply"),
        ('{"a": [' + "[" * 100_000, "JSON|too deeply"),
        ("{a: 1}", "a member's name"),
        ("", "an object was expected"),
    ],
)
def test_what_is_no_strict_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadBody) as caught:
        list(members(io.StringIO(text), LISTS))

    assert any(part in caught.value.detail for part in message.split("|"))


def test_a_value_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_VALUE", 100)
    long = json.dumps({"a": ["x" * 50] * 50})

    assert len(read(long)["a"]) == 50
    with pytest.raises(BadBody, match="more than 100 characters"):
        list(members(io.StringIO(json.dumps({"a": ["x" * 200]})), LISTS))


@pytest.mark.parametrize("number", ["-1.5e-7", "1e15", "123456789012345678901.5", "0.1", "-0"])
def test_numbers_are_whole_wherever_a_piece_ends(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    text = f'{{"a": [{number},{number}], "c": {number}}}'

    for piece in range(1, len(text)):
        monkeypatch.setattr(json_stream, "PIECE", piece)
        assert read(text) == json_body.parse(text.encode())
