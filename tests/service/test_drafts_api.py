"""Drafts over REST: what is wrong is named at its field, and nothing is stored."""

from __future__ import annotations

from typing import Any

from tests.service.access import bearer, make_token
from tests.service.conftest import Service, sqlite_only, study_json
from tunewright.access import Scope

FLOAT = {"name": "x", "type": "float", "low": 0.0, "high": 1.0}

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"space": [{**FLOAT, "low": 2}]}, "space.0.low", "must be below high"),
    ({"space": [{**FLOAT, "low": "two"}]}, "space.0.low", "valid number"),
    ({"space": {"x": {**FLOAT, "default": 7}}}, "space.0.default", "not one of its own values"),
    ({"space": [FLOAT, FLOAT]}, "space.1", "stands twice"),
    ({"space": [FLOAT, {**FLOAT, "name": "y", "when": {"z": [1]}}]}, "space.1.when", "must be declared before"),
    ({"space": [{"name": "c", "type": "categorical", "choices": []}]}, "space.0.choices", "is empty"),
    ({"space": [{"name": "c", "type": "real"}]}, "space.0", "does not match"),
    ({"space": [3, FLOAT, FLOAT]}, "space.0", "valid dictionary"),
    ({"space": []}, "space", "at least one parameter"),
    ({"budget": {}}, "budget", "would never end"),
    ({"name": " "}, "name", "people can read"),
    ({"tags": ["one word"]}, "tags.0", "not one word"),
    ({"objectives": [{"metric": "a", "bound": 1}]}, "objectives", "all are constraints"),
    ({"fidelity": {"name": "epochs", "min": 9, "max": 3}}, "fidelity.min", "at most fidelity.max"),
    ({"workload": "cone"}, "workload", "unknown"),
    ({"workload": "external"}, "space", "declare none"),
    ({"data": {"row": 3}}, "data.row", "no such option"),
    ({"space": {"ratte": {"type": "float", "low": 0, "high": 1}}}, "space.ratte", "no such parameter"),
    ({"optimizer": "luck"}, "optimizer.name", "unknown"),
    ({"optimizer": {"name": "asha", "settings": {"eta": 0}}}, "optimizer.settings.eta", "does not fit"),
    ({"colour": "red"}, "colour", "not permitted"),
]


def validate(service: Service, **draft: Any) -> dict[str, Any]:
    answer = service.client.post("/v1/studies:validate", json=draft)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@sqlite_only
def test_a_good_draft_is_completed_and_not_stored(service: Service) -> None:
    found = validate(service, study={"name": "a", "workload": "bowl", "budget": {"trials": 3}, "seed": 0})

    assert found["errors"] == []
    assert found["study"] == {"name": "a", "workload": "bowl", "budget": {"trials": 3}}
    assert [parameter["name"] for parameter in found["complete"]["space"]] == ["x", "n", "flag"]
    assert service.client.get("/v1/studies").json()["items"] == []


@sqlite_only
def test_a_text_and_its_fields_are_the_same_draft(service: Service) -> None:
    text = "name: a\nworkload: bowl\nbudget: {trials: 3}\nspace:\n  x: {type: float, low: 1e-3, high: 1}\n"

    by_text = validate(service, text=text)
    by_fields = validate(service, study=by_text["study"])
    by_json = validate(service, text='{"name": "a", "workload": "bowl", "budget": {"trials": 3}}')

    assert by_text == by_fields == validate(service, text=by_text["yaml"])
    assert by_text["study"]["space"] == [{"name": "x", "type": "float", "low": 0.001, "high": 1.0}]
    assert by_json["errors"] == []


@sqlite_only
def test_what_is_wrong_is_named_at_its_field(service: Service) -> None:
    for changes, field, message in WRONG:
        draft = {"name": "a", "workload": "bowl", "budget": {"trials": 3}, **changes}

        found = validate(service, study=draft)

        assert field in [problem["field"] for problem in found["errors"]], (changes, found["errors"])
        assert message in found["errors"][0]["message"], (changes, found["errors"])
        assert found["complete"] is None
        assert validate(service, text=found["yaml"])["errors"] == found["errors"]


@sqlite_only
def test_a_text_that_cannot_be_read_is_an_error_of_the_text(service: Service) -> None:
    for text in ("", "- a", "name: [", "name: 2026-02-31", "a: &x [*x]", "null"):
        found = validate(service, text=text)

        assert [problem["field"] for problem in found["errors"]] == ["text"], text
        assert (found["study"], found["yaml"]) == (None, None)


@sqlite_only
def test_what_is_no_draft_is_refused(service: Service) -> None:
    drafts: list[Any] = [{}, {"study": {}, "text": ""}, {"study": 3}, {"text": "a" * 300_000}, {"spec": {}}]

    statuses = [service.client.post("/v1/studies:validate", json=draft).status_code for draft in drafts]

    assert statuses == [422, 422, 422, 413, 422]


@sqlite_only
def test_a_draft_for_another_project_says_so(service: Service) -> None:
    token = make_token(service, Scope.WRITE, "a")
    draft = {"study": study_json(project="b")}

    found = service.client.post("/v1/studies:validate", json=draft, headers=bearer(token)).json()

    assert [problem["field"] for problem in found["errors"]] == ["project"]
