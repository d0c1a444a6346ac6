"""Whatever is sent, the answer is a documented one: never a 5xx, never without words."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.service.conftest import Service, sqlite_only, study_json

pytestmark = sqlite_only

FULL = study_json(
    space={"x": {"type": "float", "low": 0.1, "high": 1.0, "log": True}, "n": {"type": "int", "low": 1, "high": 9}},
    objectives=[{"metric": "loss", "direction": "minimize"}],
    fidelity={"name": "steps", "min": 1, "max": 9},
    optimizer={"name": "asha", "settings": {"eta": 3}},
    resources={"cpus": 1},
    limits={"retries": 1},
    data={"rows": 10},
    tags=["a"],
    notes="b",
)
EDGES = st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1, 1e308, -1e308, 5e-324, -0.0, "", " ", "../x", "%00", "*"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | EDGES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
quickly = settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [deeper for key, item in items for deeper in paths(item, (*path, key))]


def replaced(whole: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    key, *rest = path
    if isinstance(whole, list):
        return [replaced(item, tuple(rest), value) if n == key else item for n, item in enumerate(whole)]
    return {name: replaced(item, tuple(rest), value) if name == key else item for name, item in whole.items()}


def check(answer: Any) -> None:
    """It is what was asked for, or a problem in words."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
        assert len(answer.content) < 50_000


@quickly
@given(body=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@example(body=b"[" * 50_000)
@example(body=b'{"a":' * 20_000)
@example(body=b'{"name": "\\ud800"}')
@example(body=b'{"name": "\\u0000"}')
@example(body=b"9" * 50_000)
@example(body=b"1e999999999")
@example(body=b"\xef\xbb\xbf{}")
@pytest.mark.parametrize("route", ["studies", "studies/0000000000000000/queue", "studies/0000000000000000/extend"])
def test_any_bytes_are_answered_in_words(service: Service, route: str, body: bytes) -> None:
    check(service.client.post(f"/v1/{route}", content=body, headers={"Content-Type": "application/json"}))


@quickly
@given(path=st.sampled_from(paths(FULL)), value=VALUES)
def test_a_study_with_one_value_replaced_is_kept_as_it_was_sent_or_refused(
    service: Service, path: tuple[Any, ...], value: Any
) -> None:
    sent = replaced(FULL, path, value)

    answer = service.client.post("/v1/studies", json=sent)

    check(answer)
    if answer.status_code == 201:
        study = answer.json()
        again = service.client.get(f"/v1/studies/{study['id']}")
        assert again.json() == study
        json.dumps(study, allow_nan=False)


@settings(quickly, max_examples=80)
@given(name=st.text(max_size=8), value=VALUES)
def test_a_configuration_is_one_of_the_space_or_refused(service: Service, name: str, value: Any) -> None:
    (study, *_) = service.client.get("/v1/studies").json()["items"] or [service.create(budget={"trials": 100_000})]

    for config in ({"x": value}, {"n": value}, {"flag": value}, {name: value}):
        check(service.client.post(f"/v1/studies/{study['id']}/queue", json={"config": config}))


@quickly
@given(
    query=st.dictionaries(
        st.sampled_from(["limit", "cursor", "state", "project", "tag", "metric", "trials", "points"]),
        st.text(max_size=10) | st.integers().map(str),
        max_size=3,
    ),
    study=st.text(max_size=10) | st.just("0" * 16),
)
def test_any_query_and_any_id_are_answered_in_words(service: Service, query: dict[str, str], study: str) -> None:
    for path in ("studies", f"studies/{quote(study, safe='')}/trials", f"studies/{quote(study, safe='')}/curves"):
        check(service.client.get(f"/v1/{path}", params=query))
