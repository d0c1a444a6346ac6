"""Bodies that are not the JSON they should be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.json_body import MAX_DEPTH, BadBody, parse
from tests.service.conftest import Service, sqlite_only, study_json

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcé ", max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_every_json_value_is_read_as_it_was_written(value: Any) -> None:
    assert repr(parse(json.dumps(value).encode())) == repr(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "NaN is not a number"),
        ('{"a": -Infinity}', "-Infinity is not a number"),
        ("1e999", "too large"),
        ("[-1e400]", "too large"),
        (str(2**63), "64 bits"),
        ("9" * 10_000, "64 bits"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' stands twice"),
        ('"\\u0000"', "NUL"),
        ('"\\ud800"', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "too deeply"),
        ("[" * 50_000, "too deeply"),
        ('{"a":' * 20_000, "too deeply"),
        ('{"name": }', "line 1, column 10"),
        ("", "line 1"),
    ],
)
def test_what_cannot_be_stored_and_sent_back_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadBody) as refused:
        parse(text.encode())

    assert reason in refused.value.detail
    assert len(refused.value.detail) < 300


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(BadBody, match="UTF-8"):
        parse(b'"\xff"')


@sqlite_only
@pytest.mark.parametrize("value", ["NaN", "1e999", '"\\ud800"', "[" * 300 + "]" * 300, "9" * 5000])
def test_a_value_hidden_in_free_form_data_is_refused(shared_service: Service, value: str) -> None:
    body = json.dumps(study_json(data={"rows": 0})).replace('"rows": 0', f'"rows": {value}')

    answer = shared_service.client.post("/v1/studies", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "body"


@sqlite_only
@pytest.mark.parametrize("body", ["[]", "null", "1", '"x"'])
def test_a_body_that_is_no_object_is_refused(shared_service: Service, body: str) -> None:
    answer = shared_service.client.post("/v1/studies", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "body"


@sqlite_only
def test_no_body_at_all_is_refused(shared_service: Service) -> None:
    answer = shared_service.client.post("/v1/studies")

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "body", "message": "Field required"}]


@sqlite_only
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "rubbish"])
def test_another_content_type_is_refused(shared_service: Service, kind: str) -> None:
    answer = shared_service.client.post("/v1/studies", content=json.dumps(study_json()), headers={"content-type": kind})

    assert answer.status_code == 415
    assert "send application/json" in answer.json()["detail"]
    assert shared_service.client.get("/v1/studies").json()["items"] == []


@sqlite_only
def test_a_body_over_the_limit_is_refused(shared_service: Service) -> None:
    body = json.dumps(study_json(data={"rows": "x" * shared_service.settings.max_body_bytes}))

    answer = shared_service.client.post("/v1/studies", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert "send less" in answer.json()["detail"]


@sqlite_only
def test_a_body_over_the_limit_that_does_not_say_its_length_is_refused(shared_service: Service) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"name": "'
        for _ in range(shared_service.settings.max_body_bytes // 1_000 + 1):
            yield b"x" * 1_000

    answer = shared_service.client.post("/v1/studies", content=chunks(), headers={"content-type": "application/json"})

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


@sqlite_only
def test_a_body_quoted_in_a_message_is_cut_short(shared_service: Service) -> None:
    answer = shared_service.client.post("/v1/studies", json=study_json(workload="w" * 300, name="n" * 90_000))

    assert answer.status_code == 422
    assert len(answer.text) < 20_000
