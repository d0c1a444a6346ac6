"""Pages, cursors and filters."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from service.store.repository import thin
from tests.service.conftest import Service, ended, incumbent, report, start
from tunewright.study import StudyState, TrialState
from workers.journal import Printed


def pages(client: TestClient, path: str, **query: Any) -> list[list[Any]]:
    """All pages of a list."""
    found, cursor = [], None
    while True:
        page = client.get(path, params={**query, **({"cursor": cursor} if cursor else {})}).json()
        found.append(page["items"])
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def with_trials(service: Service) -> str:
    """A study with 7 trials, each with 5 reports; the even ones have failed."""
    study: str = service.create()["id"]
    runner = service.runner(study)
    runner.commit(*[start(n, n) for n in range(7)])
    runner.commit(*[report(n, n, r / 10, loss=n + r) for r in range(1, 6) for n in range(7)])
    runner.commit(*[ended(n, n, TrialState.FAILED) for n in range(0, 7, 2)], best=[incumbent(1, 0.1)])
    return study


@pytest.fixture
def trials(service: Service) -> str:
    return with_trials(service)


@pytest.fixture(scope="module")
def shared_trials(shared_service: Service) -> str:
    return with_trials(shared_service)


def test_studies_come_newest_first_in_pages(service: Service) -> None:
    ids = [service.create(name=str(n))["id"] for n in range(7)]

    found = pages(service.client, "/v1/studies", limit=3)

    assert [len(page) for page in found] == [3, 3, 1]
    assert sorted(ids, reverse=True) == [item["id"] for page in found for item in page]
    assert "spec" not in found[0][0]


def test_a_full_last_page_has_no_cursor(service: Service) -> None:
    for n in range(4):
        service.create(name=str(n))

    assert [len(page) for page in pages(service.client, "/v1/studies", limit=2)] == [2, 2]


def test_pages_stay_in_step_while_studies_are_added_and_deleted(service: Service) -> None:
    ids = sorted((service.create(name=str(n))["id"] for n in range(5)), reverse=True)
    first = service.client.get("/v1/studies", params={"limit": 2}).json()
    service.create(name="new")
    service.runner(ids[1]).finish()
    service.client.delete(f"/v1/studies/{ids[1]}")

    second = service.client.get("/v1/studies", params={"limit": 5, "cursor": first["next_cursor"]}).json()

    assert [item["id"] for item in first["items"]] == ids[:2]
    assert [item["id"] for item in second["items"]] == ids[2:]


def test_studies_are_filtered_by_state(service: Service) -> None:
    ids = [service.create(name=str(n))["id"] for n in range(4)]
    for study in ids[:3]:
        service.runner(study).finish(StudyState.FAILED)

    found = pages(service.client, "/v1/studies", limit=2, state="failed")

    assert {item["id"] for page in found for item in page} == set(ids[:3])
    assert service.client.get("/v1/studies", params={"state": "odd"}).status_code == 422


def test_trials_come_newest_first_in_pages(shared_service: Service, shared_trials: str) -> None:
    found = pages(shared_service.client, f"/v1/studies/{shared_trials}/trials", limit=3)

    assert [item["number"] for page in found for item in page] == [6, 5, 4, 3, 2, 1, 0]
    assert found[0][0]["id"] == f"{shared_trials}-6"
    assert "log" not in found[0][0]


def test_trials_are_filtered_by_state(shared_service: Service, shared_trials: str) -> None:
    found = pages(shared_service.client, f"/v1/studies/{shared_trials}/trials", limit=1, state="failed")

    assert [item["number"] for page in found for item in page] == [6, 4, 2, 0]


def test_reports_come_by_resource_in_pages(shared_service: Service, shared_trials: str) -> None:
    found = pages(shared_service.client, f"/v1/trials/{shared_trials}-3/reports", limit=2)

    assert [item["resource"] for page in found for item in page] == [0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.parametrize("path", ["/v1/studies", "/v1/studies/{study}/trials", "/v1/trials/{study}-1/reports"])
@pytest.mark.parametrize("limit", ["0", "-1", "501", "1e3", "x", ""])
def test_a_limit_out_of_bounds_is_refused(shared_service: Service, shared_trials: str, path: str, limit: str) -> None:
    answer = shared_service.client.get(path.format(study=shared_trials), params={"limit": limit})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "limit"


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize("path", ["/v1/studies", "/v1/studies/{study}/trials", "/v1/trials/{study}-1/reports"])
@pytest.mark.parametrize("made_up", ["rubbish", "ü", "%%%", cursor("trials:other|3"), cursor("studies|"), "x" * 501])
def test_a_cursor_that_no_list_made_is_refused(
    shared_service: Service, shared_trials: str, path: str, made_up: str
) -> None:
    answer = shared_service.client.get(path.format(study=shared_trials), params={"cursor": made_up})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "cursor"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        *[("/v1/studies", f"studies|{key}") for key in ("z" * 16, "0" * 15, "0' OR ''='", "\0" * 16)],
        *[
            ("/v1/studies/{s}/trials", f"trials:{{s}}|{key}")
            for key in ("-1", "9" * 300, "1.5", "1 OR 1", "", "\u00b2")
        ],
        *[("/v1/trials/{s}-1/reports", f"reports:{{s}}-1|{key}") for key in ("nan", "inf", "-1", "1_0", "1e9999", "")],
    ],
)
def test_a_forged_cursor_is_refused(shared_service: Service, shared_trials: str, path: str, text: str) -> None:
    answer = shared_service.client.get(
        path.format(s=shared_trials), params={"cursor": cursor(text.format(s=shared_trials))}
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "cursor"


def test_a_cursor_of_another_studys_trials_is_refused(service: Service, trials: str) -> None:
    other = service.create()["id"]
    page = service.client.get(f"/v1/studies/{trials}/trials", params={"limit": 1}).json()

    answer = service.client.get(f"/v1/studies/{other}/trials", params={"cursor": page["next_cursor"]})

    assert answer.status_code == 422


@pytest.mark.parametrize(
    "number", ["7", "-1", "01", "x", "", "1.0", "1e0", "9" * 30, "%C2%B2", "%D9%A1", "0%00", "1-1"]
)
def test_a_trial_that_does_not_exist_is_not_found(shared_service: Service, shared_trials: str, number: str) -> None:
    answers = [shared_service.client.get(f"/v1/trials/{shared_trials}-{number}{part}") for part in ("", "/reports")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].headers["content-type"] == "application/problem+json"


def test_a_trial_shows_its_jobs_its_traceback_and_its_log(service: Service) -> None:
    study = service.create()["id"]
    runner = service.runner(study)
    runner.commit(start(0, 0, why={"score": float("nan"), "of": [1.0, float("inf")]}))
    runner.commit(
        ended(0, 0, TrialState.FAILED, problem="it broke", traceback="Traceback ..."), printed=[Printed(0, "printed")]
    )

    trial = service.client.get(f"/v1/trials/{study}-0").json()

    assert (trial["state"], trial["problem"], trial["log"]) == ("failed", "it broke", "printed")
    assert trial["jobs"][0]["traceback"] == "Traceback ..."
    assert trial["jobs"][0]["why"] == {"score": None, "of": [1.0, None]}


def test_curves_show_the_incumbent_and_the_newest(shared_service: Service, shared_trials: str) -> None:
    found = shared_service.client.get(f"/v1/studies/{shared_trials}/curves", params={"trials": 3, "points": 2}).json()

    assert [curve["trial"] for curve in found["curves"]] == [1, 6, 5]
    assert found["curves"][0]["points"] == [[0.1, 2.0], [0.5, 6.0]]
    assert (found["metric"], found["direction"], found["resource"], found["total"]) == ("loss", "minimize", "steps", 7)


@pytest.mark.parametrize("metric", ["nothing", "a'b", "$.x", "%", "\U0001f40d"])
def test_a_metric_that_nobody_reported_has_no_curves(shared_service: Service, shared_trials: str, metric: str) -> None:
    answer = shared_service.client.get(f"/v1/studies/{shared_trials}/curves", params={"metric": metric})

    assert (answer.status_code, answer.json()["curves"]) == (200, [])


def test_a_metric_name_that_cannot_be_is_refused(shared_service: Service, shared_trials: str) -> None:
    answer = shared_service.client.get(f"/v1/studies/{shared_trials}/curves", params={"metric": 'a"b'})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "metric"


def test_improvements_come_oldest_first(service: Service, trials: str) -> None:
    runner = service.runner(trials)
    for loss in (0.5, 0.4):
        runner.commit(improved=True, best=[incumbent(1, loss)])

    found = service.client.get(f"/v1/studies/{trials}/improvements").json()

    assert [entry["best"]["metrics"]["loss"] for entry in found] == [0.5, 0.4]


@given(count=st.integers(0, 300), most=st.integers(2, 50))
def test_a_thinned_curve_keeps_its_ends_and_its_order(count: int, most: int) -> None:
    points = [(float(n), float(-n)) for n in range(count)]

    kept = thin(points, most)

    assert len(kept) == min(count, most)
    assert kept == sorted(set(kept))
    assert (kept[:1], kept[-1:]) == (points[:1], points[-1:])
