"""Tokens and scopes: who is let in, and how the others are answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from service import auth, scopes
from service.api.dependencies import MAX_PAGE, Services
from service.dashboard import api_docs, login, pages
from service.settings import ServiceSettings
from service.store import tokens
from service.store.tables import TokenRow
from service.tokens import new
from tests.service.access import bearer, gate, make_token, pass_time, revoke
from tests.service.conftest import Service, quick_app, sqlite_only, study_json
from tunewright.access import Scope

ROUTES_OF_ALL = ("/v1/audit", "/v1/diagnosis", "/metrics", "/v1/events")
DOCS = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
Operation = tuple[str, str]


def documented() -> dict[Operation, tuple[str, str]]:
    """Method and path -> scope and projects, as the handbook has them."""
    rows = re.findall(r"^\| `([A-Z]+) (/\S*)` \| (\w+) \| (\w*) ?\|$", DOCS, re.MULTILINE)
    return {(method, path): (scope, projects) for method, path, scope, projects in rows}


def operations(service: Service) -> dict[Operation, dict[str, Any]]:
    """All of the REST API."""
    paths = service.app.openapi()["paths"]
    return {(method.upper(), path): found for path, ops in paths.items() for method, found in ops.items()}


def hidden() -> list[Operation]:
    """Pages, and what belongs to them."""
    routes: list[Any] = [*pages.router.routes, *login.router.routes, *api_docs.router.routes]
    listed = [(method, route.path) for route in routes for method in route.methods if method != "HEAD"]
    return [(method, "/static/..." if path.startswith("/static/") else path) for method, path in listed]


@sqlite_only
def test_the_handbook_names_every_route_with_its_scope(shared_service: Service) -> None:
    routes = {*operations(shared_service), *hidden(), ("GET", "/openapi.json")}

    assert set(documented()) == routes, "docs/security.md has a table of all routes: decide on the scope of a new one"
    for (method, path), (scope, projects) in documented().items():
        assert str(scopes.needed(method, path) or "none") == scope, path
        assert scopes.needs_every_project(path) is (projects == "all"), path


@sqlite_only
def test_every_route_asks_for_its_scope(service: Service) -> None:
    by_scope = {scope: make_token(service, scope) for scope in Scope}

    for (method, path), (scope, _) in documented().items():
        url = re.sub(r"{\w+}", "0", path)
        bare = service.client.request(method, url, follow_redirects=False)
        if scope == "none":
            assert bare.status_code not in (401, 403) or path == scopes.LOGIN, path
            continue
        assert bare.status_code == (303 if scopes.is_page(url) else 401), path
        for held, token in by_scope.items():
            if path == scopes.EVENTS and held.includes(Scope(scope)):
                # It would never end.
                continue
            answer = service.client.request(method, url, headers=bearer(token))
            assert (answer.status_code == 403) is not held.includes(Scope(scope)), (path, held, answer.status_code)


def test_nothing_changes_while_there_is_no_token(service: Service) -> None:
    assert service.client.get("/v1/studies").status_code == 200
    assert service.client.get("/v1/studies", headers=bearer("tw_whatever")).status_code == 200
    assert service.create()["project"] == "default"


def test_the_first_token_closes_the_service_and_revoking_it_does_not_open_it(service: Service) -> None:
    assert service.client.get("/v1/studies").status_code == 200
    token = make_token(service)
    pass_time(service, auth.OPEN_SECONDS)

    closed = service.client.get("/v1/studies").status_code
    opened = service.client.get("/v1/studies", headers=bearer(token)).status_code
    revoke(service, token)
    pass_time(service, auth.OPEN_SECONDS)

    assert (closed, opened) == (401, 200)
    assert service.client.get("/v1/studies").status_code == 401


@sqlite_only
def test_an_address_with_a_control_character_needs_no_less_than_the_one_without(service: Service) -> None:
    one = make_token(service, Scope.READ, "alpha")
    everything = make_token(service)
    pass_time(service, auth.OPEN_SECONDS)

    for path in (*ROUTES_OF_ALL, "/v1/studies", "/v1/databases", "/healthz"):
        for token in (one, everything):
            answer = service.client.get(f"{path}%0A", headers=bearer(token))
            assert answer.status_code == 404, path
            assert answer.headers["content-type"] == "application/problem+json"
    for path in ("/v1/databases%0A", "/v1/databases/x:password%0A"):
        assert service.client.post(path, headers=bearer(one), json={}).status_code == 404


@pytest.mark.parametrize("kind", ["missing", "empty", "other scheme", "no token", "wrong secret", "expired", "revoked"])
def test_whatever_is_wrong_with_a_token_the_answer_is_the_same(service: Service, kind: str) -> None:
    good = make_token(service)
    expired = make_token(service, name="expired", seconds=-1)
    revoked = make_token(service, name="revoked")
    revoke(service, revoked)
    sent = {
        "missing": {},
        "empty": {"Authorization": ""},
        "other scheme": {"Authorization": f"Basic {good}"},
        "no token": bearer("tw_"),
        "wrong secret": bearer(f"tw_{good.split('_')[1]}_{new().secret}"),
        "expired": bearer(expired),
        "revoked": bearer(revoked),
    }[kind]

    answer = service.client.get("/v1/studies", headers=sent)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "https://tunewright.dev/problems/unauthorized",
        "title": "No valid token",
        "status": 401,
        "detail": "Send a valid token: Authorization: Bearer tw_... "
        "(TUNEWRIGHT_TOKEN for the client and command line).",
        "errors": [],
    }


@sqlite_only
def test_a_refusal_names_the_scope_that_is_needed(service: Service) -> None:
    reader = make_token(service, Scope.READ)

    answer = service.client.post("/v1/studies", json=study_json(), headers=bearer(reader))

    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "This needs a token with the scope write; yours has read."


def test_a_revoked_token_is_refused_within_seconds(service: Service) -> None:
    token = make_token(service)
    assert service.client.get("/v1/studies", headers=bearer(token)).status_code == 200

    revoke(service, token)
    pass_time(service, auth.KNOWN_SECONDS)

    assert service.client.get("/v1/studies", headers=bearer(token)).status_code == 401


@sqlite_only
def test_a_token_that_is_known_costs_no_look_into_the_store(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    token = make_token(service)
    looks: list[Any] = []
    find = tokens.caller
    monkeypatch.setattr(tokens, "caller", lambda *given: looks.append(1) or find(*given))

    for _ in range(5):
        service.client.get("/v1/studies", headers=bearer(token))

    assert len(looks) == 1


@sqlite_only
def test_a_token_expires_while_it_is_known(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    token = make_token(service, seconds=60)
    assert service.client.get("/v1/studies", headers=bearer(token)).status_code == 200

    now = auth.time.time()
    monkeypatch.setattr(auth.time, "time", lambda: now + 61)

    assert service.client.get("/v1/studies", headers=bearer(token)).status_code == 401


def test_the_store_has_no_secret_and_knows_the_last_use(
    settings: ServiceSettings, assemble: Callable[[ServiceSettings], Services]
) -> None:
    app = quick_app(settings, assemble)
    with TestClient(app, base_url="http://localhost") as client:
        service = Service(app, client, settings)
        token = make_token(service)
        client.get("/v1/studies", headers=bearer(token))
        engine = service.repository.engine

    # What waits is written when the service ends.
    with engine.connect() as connection:
        row = connection.execute(select(TokenRow.__table__)).one()
    engine.dispose()

    assert row.last_used_at == pytest.approx(row.created_at, abs=30)
    assert token.split("_")[2] not in str(row)


@sqlite_only
def test_many_wrong_tokens_are_refused_harder_but_known_ones_are_heard(service: Service) -> None:
    good, later = make_token(service), make_token(service, name="later")
    service.client.get("/v1/studies", headers=bearer(good))

    statuses = [service.client.get("/v1/studies", headers=bearer(new().text)).status_code for _ in range(12)]
    refused = service.client.get("/v1/studies", headers=bearer(later))

    assert statuses == [401] * 10 + [429] * 2
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= auth.FAILURE_SECONDS
    assert service.client.get("/v1/studies", headers=bearer(good)).status_code == 200
    pass_time(service, auth.FAILURE_SECONDS)
    assert service.client.get("/v1/studies", headers=bearer(later)).status_code == 200


@pytest.fixture
def slow_service(settings: ServiceSettings, assemble: Callable[[ServiceSettings], Services]) -> Iterator[Service]:
    """One that lets three requests through at once, and then one in an hour."""
    settings = settings.model_copy(update={"rate_limit": 1 / 3600, "rate_burst": 3})
    app = quick_app(settings, assemble)
    with TestClient(app, base_url="http://localhost") as client:
        yield Service(app, client, settings)


@sqlite_only
def test_too_many_requests_are_refused_with_the_time_to_wait(slow_service: Service) -> None:
    one, other = make_token(slow_service), make_token(slow_service, name="other")
    client = slow_service.client

    answers = [client.get("/v1/studies", headers=bearer(one)) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[3].headers["content-type"] == "application/problem+json"
    assert "rate_limit" in answers[3].json()["detail"]
    assert 3000 < int(answers[3].headers["retry-after"]) <= 3600
    assert client.get("/v1/studies", headers=bearer(other)).status_code == 200, "each token has a limit of its own"
    assert {client.get(path).status_code for path in ("/healthz", "/readyz") for _ in range(9)} == {200}


@sqlite_only
def test_without_tokens_each_address_has_a_limit(slow_service: Service) -> None:
    statuses = [slow_service.client.get("/v1/workloads").status_code for _ in range(4)]

    assert statuses == [200, 200, 200, 429]


@sqlite_only
def test_probes_need_no_token_and_numbers_do(service: Service) -> None:
    reader = make_token(service, Scope.READ)

    assert [service.client.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 401]
    assert service.client.get("/metrics", headers=bearer(reader)).status_code == 200


@sqlite_only
@pytest.mark.parametrize("path", ["/metrics", "/v1/audit", "/v1/diagnosis"])
def test_what_tells_of_all_projects_needs_a_token_for_all(service: Service, path: str) -> None:
    bound = make_token(service, project="a")

    answer = service.client.get(path, headers=bearer(bound))

    assert answer.status_code == 403
    assert "all projects" in answer.json()["detail"]


@sqlite_only
def test_addresses_that_do_not_exist_are_told_to_holders_of_tokens_alone(service: Service) -> None:
    token = make_token(service)

    assert service.client.get("/v1/nothing").status_code == 401
    assert service.client.get("/v1/nothing", headers=bearer(token)).status_code == 404


@sqlite_only
def test_without_the_store_nobody_is_let_in_or_told_that_a_token_is_wrong(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_token(service)

    def fail(*_: Any) -> Any:
        raise OperationalError("SELECT secret", {}, Exception("gone"))

    monkeypatch.setattr(tokens, "caller", fail)
    answer = service.client.get("/v1/studies", headers=bearer(token))

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"


@sqlite_only
def test_authentication_can_be_demanded_before_there_is_a_token(
    settings: ServiceSettings, assemble: Callable[[ServiceSettings], Services]
) -> None:
    app = quick_app(settings.model_copy(update={"auth": "on"}), assemble)
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/v1/studies").status_code == 401


@sqlite_only
def test_authentication_can_be_left_to_others_on_loopback(
    settings: ServiceSettings, assemble: Callable[[ServiceSettings], Services]
) -> None:
    app = quick_app(settings.model_copy(update={"auth": "off"}), assemble)
    with TestClient(app, base_url="http://localhost") as client:
        make_token(Service(app, client, settings))
        assert client.get("/v1/studies").status_code == 200


@sqlite_only
def test_the_document_says_what_each_operation_needs(shared_service: Service) -> None:
    document = shared_service.app.openapi()

    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for (method, path), operation in operations(shared_service).items():
        need = scopes.needed(method, path)
        if need is None:
            assert operation["security"] == []
        else:
            assert operation["security"] == [{"token": [need]}, {}]
            assert {"401", "403", "429"} <= set(operation["responses"])


@sqlite_only
def test_every_list_has_a_limit_on_its_pages(shared_service: Service) -> None:
    limits = {
        path: parameter["schema"]["maximum"]
        for (_, path), operation in operations(shared_service).items()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "limit"
    }

    assert {"/v1/studies", "/v1/audit", "/v1/studies/{study_id}/trials"} <= set(limits)
    assert all(limit <= MAX_PAGE for path, limit in limits.items() if not path.endswith("/log"))


@sqlite_only
@pytest.mark.parametrize("path", ["/v1/studies", "/v1/nothing", "/healthz", "/metrics", "/", "/docs", "/favicon.svg"])
def test_every_answer_tells_browsers_to_be_careful(shared_service: Service, path: str) -> None:
    answer = shared_service.client.get(path)

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "cache-control" in answer.headers
    assert "strict-transport-security" not in answer.headers, "there is no HTTPS here"


@sqlite_only
def test_scripts_from_elsewhere_run_in_a_sandbox(shared_service: Service) -> None:
    page = shared_service.client.get("/docs")
    # Where the scripts cannot be had, the page must not be empty.
    assert '<div id="swagger-ui"><p>' in page.text

    policy = page.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in policy
    assert "connect-src" not in policy
    assert '"openapi": "3.1' in page.text


@sqlite_only
@pytest.mark.parametrize(("proxies", "address"), [(["10.0.0.5"], "203.0.113.7"), (["10.0.0.6"], "10.0.0.5")])
def test_only_a_proxy_that_is_named_is_believed(
    settings: ServiceSettings,
    assemble: Callable[[ServiceSettings], Services],
    monkeypatch: pytest.MonkeyPatch,
    proxies: list[str],
    address: str,
) -> None:
    monkeypatch.setattr("service.app.require_tokens", lambda *_: None)
    app = quick_app(settings.model_copy(update={"tls_proxies": proxies}), assemble)
    seen: list[str] = []
    with TestClient(app, base_url="http://localhost", client=("10.0.0.5", 1)) as client:
        monkeypatch.setattr(gate(Service(app, client, settings)).trail, "refused", lambda act: seen.append(act.address))
        answer = client.get("/v1/studies", headers={"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"})

    assert seen == [address]
    assert "strict-transport-security" in answer.headers
