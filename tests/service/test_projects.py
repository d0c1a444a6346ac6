"""Projects: what a token for one of them sees of the others, which is nothing."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import aclosing
from typing import Any

import pytest

from service import scopes
from service.api.dependencies import _PROJECT_OF
from service.events import EventFeed
from tests.service.access import bearer, make_token
from tests.service.conftest import Service, ended, report, sqlite_only, start, study_json
from tunewright.access import Scope, project_name
from tunewright.errors import SpecError
from tunewright.study import TrialState
from tunewright.views import MISSED

GUARDED = set(_PROJECT_OF)
# Names of parameters that name nothing with a project by themselves.
HARMLESS = {"number", "plot"}


class Member:
    """Somebody with a token."""

    def __init__(self, service: Service, project: str, scope: Scope = Scope.ADMIN) -> None:
        self._client = service.client
        self._headers = bearer(make_token(service, scope, project))

    def request(self, method: str, path: str, **given: Any) -> Any:
        headers = {**self._headers, **given.pop("headers", {})}
        return self._client.request(method, path, headers=headers, **given)

    def submit(self, key: str | None = None, **fields: Any) -> Any:
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.request("POST", "/v1/studies", json=study_json(**fields), headers=headers)

    def names(self, query: str = "") -> list[str]:
        return [study["name"] for study in self.request("GET", f"/v1/studies{query}").json()["items"]]


@pytest.fixture
def everybody(service: Service) -> tuple[Member, Member, Member]:
    """Somebody of project a, somebody of project b, and somebody who sees both."""
    return Member(service, "a"), Member(service, "b"), Member(service, "*")


def test_studies_are_of_the_tokens_project_and_lists_show_only_that(everybody: tuple[Member, Member, Member]) -> None:
    a, b, both = everybody

    made = a.submit(name="of a").json()
    b.submit(name="of b")
    both.submit(name="of b too", project="b")
    both.submit(name="of nobody")

    assert (made["project"], made["spec"]["project"]) == ("a", "a")
    assert a.names() == ["of a"]
    assert b.names() == ["of b too", "of b"]
    assert both.names() == ["of nobody", "of b too", "of b", "of a"]
    assert both.names("?project=b") == ["of b too", "of b"]
    assert both.names("?project=default") == ["of nobody"]


@sqlite_only
def test_a_token_submits_to_no_other_project(everybody: tuple[Member, Member, Member]) -> None:
    a, b, _ = everybody

    refused = a.submit(project="b")
    listed = a.request("GET", "/v1/studies?project=b")

    assert [refused.status_code, listed.status_code] == [403, 403]
    assert 'this token is for project "a"' in refused.json()["detail"]
    assert b.names() == []


@sqlite_only
@pytest.mark.parametrize("project", ["", "*", "a b", "-a", "a/b", "a" * 65, "\u00e4", "a\n"])
def test_what_is_no_name_of_a_project_is_refused(service: Service, project: str) -> None:
    answer = service.client.post("/v1/studies", json=study_json(project=project))

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "project"
    with pytest.raises(SpecError, match="letter or digit first"):
        project_name(project)


def test_every_route_of_another_projects_study_answers_as_if_there_were_none(
    service: Service, everybody: tuple[Member, Member, Member]
) -> None:
    a, b, _ = everybody
    study = a.submit().json()["id"]
    service.runner(study).commit(start(0, 0), report(0, 0, 3.0), ended(0, 0, TrialState.COMPLETED))
    absent = "0" * 16

    checked = set()
    for path, methods in service.app.openapi()["paths"].items():
        names = set(re.findall(r"{(\w+)}", path))
        assert names <= GUARDED | HARMLESS, f"{path}: say in api/dependencies.py how it names its study"
        if not names & GUARDED:
            continue
        for method in methods:
            theirs, nobodys = (
                b.request(method.upper(), fill(path, target), json=None if method in ("get", "delete") else {})
                for target in (study, absent)
            )
            assert theirs.status_code == nobodys.status_code == 404, (method, path, theirs.text)
            assert theirs.json()["detail"] == nobodys.json()["detail"].replace(absent, study)
            checked.add((method, path))

    assert len(checked) > 20
    assert a.request("GET", f"/v1/studies/{study}").json()["state"] == "running"


def fill(path: str, study: str) -> str:
    # That databases and sessions which do exist are hidden as well is shown beside their routes.
    parts = {
        "study_id": study,
        "trial_id": f"{study}-0",
        "job_id": f"{study}-j0a1",
        "number": "0",
        "plot": "history",
        "database_id": study,
        "session_id": study,
        "labelling_id": study,
    }
    return re.sub(r"{(\w+)}", lambda name: parts[name[1]], path)


@sqlite_only
def test_the_page_of_another_projects_study_is_the_one_of_a_study_that_does_not_exist(
    everybody: tuple[Member, Member, Member],
) -> None:
    a, b, _ = everybody
    study = a.submit(name="hidden").json()["id"]

    mine, theirs = (member.request("GET", f"/studies/{study}") for member in (a, b))

    assert (mine.status_code, theirs.status_code) == (200, 404)
    assert "There is no such study" in theirs.text
    assert "hidden" not in theirs.text


def test_idempotency_keys_are_of_a_project(everybody: tuple[Member, Member, Member]) -> None:
    a, b, both = everybody

    ids = [member.submit(key="k").json()["id"] for member in (a, b, both, a, b, both)]

    assert len(set(ids)) == 3
    assert ids[:3] == ids[3:]
    assert b.submit(key="k", name="another").status_code == 409


@sqlite_only
def test_a_cursor_of_another_project_is_refused(everybody: tuple[Member, Member, Member]) -> None:
    a, b, both = everybody
    for _ in range(3):
        a.submit()
    cursor = a.request("GET", "/v1/studies?limit=1").json()["next_cursor"]

    answers = [member.request("GET", f"/v1/studies?limit=1&cursor={cursor}") for member in (a, b, both)]

    assert [answer.status_code for answer in answers] == [200, 422, 422]
    assert "does not belong to this list" in answers[1].json()["detail"]


@sqlite_only
def test_a_study_is_not_warm_started_or_cloned_from_another_project(
    service: Service, everybody: tuple[Member, Member, Member]
) -> None:
    a, b, both = everybody
    source = a.submit().json()["id"]
    service.runner(source).commit(start(0, 0), report(0, 0, 3.0), ended(0, 0, TrialState.COMPLETED))

    refused = b.submit(warm_start=[source])

    assert refused.status_code == 422
    assert f"study {source} does not exist" in refused.json()["detail"]
    assert b.request("POST", f"/v1/studies/{source}/clone").status_code == 404
    assert both.submit(warm_start=[source], project="b").status_code == 201
    assert a.request("POST", f"/v1/studies/{source}/clone").json()["project"] == "a"


@sqlite_only
def test_an_import_is_of_the_tokens_project(service: Service, everybody: tuple[Member, Member, Member]) -> None:
    a, b, _ = everybody
    study = a.submit().json()["id"]
    runner = service.runner(study)
    runner.commit(start(0, 0), report(0, 0, 3.0), ended(0, 0, TrialState.COMPLETED))
    runner.finish()
    document = a.request("GET", f"/v1/studies/{study}/export?format=json").json()

    imported = b.request("POST", "/v1/studies/import", json=document).json()

    assert (imported["project"], imported["spec"]["project"]) == ("b", "b")
    assert [a.names(), b.names()] == [["a study"], ["a study"]]


async def heard(feed: EventFeed, project: str | None, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with aclosing(feed.subscribe(0, project=project)) as pages:
        while len(found) < count:
            page = await asyncio.wait_for(anext(pages), 20)
            found += [json.loads(entry.text) for entry in page if entry.kind != MISSED]
    return found


def test_events_are_heard_in_their_project_also_those_of_a_deleted_study(
    service: Service, everybody: tuple[Member, Member, Member]
) -> None:
    a, b, _ = everybody
    first, other = a.submit(name="first").json()["id"], b.submit(name="other").json()["id"]
    service.runner(first).finish()
    assert a.request("DELETE", f"/v1/studies/{first}").status_code == 204
    last = a.submit(name="last").json()["id"]

    mine = asyncio.run(heard(EventFeed(service.repository), "a", 2))
    theirs = asyncio.run(heard(EventFeed(service.repository), "b", 1))
    all_of_them = asyncio.run(heard(EventFeed(service.repository), None, 3))

    assert [(event["study"], event["body"]["state"]) for event in mine] == [(first, "deleted"), (last, "queued")]
    assert [event["study"] for event in theirs] == [other]
    assert {event["project"] for event in all_of_them} == {"a", "b"}


@sqlite_only
def test_the_stream_is_confined_to_the_tokens_project(
    everybody: tuple[Member, Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _, _ = everybody
    asked: list[Any] = []

    async def subscribe(_: EventFeed, after: Any, study: Any, project: Any) -> Any:
        asked.append(project)
        return
        yield

    monkeypatch.setattr(EventFeed, "subscribe", subscribe)

    assert a.request("GET", scopes.EVENTS).status_code == 200
    assert asked == ["a"]
