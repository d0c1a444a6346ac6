"""The way in for people with a browser, and what pages elsewhere cannot do with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from service import auth, scopes
from service.api.dependencies import Services
from service.dashboard.login import _own_path
from service.settings import ServiceSettings
from service.store import tokens
from service.store.tables import TokenRow
from service.tokens import new
from tests.service.access import bearer, make_token, pass_time, revoke
from tests.service.conftest import Service, quick_app, sqlite_only, study_json
from tunewright.access import Scope

OURS = {"Origin": "http://localhost"}


def log_in(service: Service, token: str, wanted: str = "/", **headers: str) -> Any:
    form = {"token": token, "next": wanted}
    return service.client.post("/login", data=form, headers={**OURS, **headers}, follow_redirects=False)


@sqlite_only
def test_a_page_sends_to_the_login_and_that_back_to_the_page(service: Service) -> None:
    token = make_token(service)
    study = service.client.post("/v1/studies", json=study_json(), headers=bearer(token)).json()["id"]

    sent_away = service.client.get(f"/studies/{study}", follow_redirects=False)
    asked = service.client.get(sent_away.headers["location"])
    let_in = log_in(service, token, f"/studies/{study}")
    page = service.client.get(let_in.headers["location"])

    assert (sent_away.status_code, let_in.status_code) == (303, 303)
    assert f'value="/studies/{study}"' in asked.text
    assert "form-action 'self'" in asked.headers["content-security-policy"]
    assert asked.headers["referrer-policy"] == "same-origin", "else browsers do not say where the form was"
    assert page.status_code == 200
    assert 'id="log-out"' in page.text


def test_a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(service: Service) -> None:
    token = make_token(service)

    cookie = log_in(service, token).headers["set-cookie"]

    assert cookie.startswith("tunewright=tw_")
    assert token not in cookie, "the token itself is not kept in the browser"
    assert set(cookie.split("; ")[1:]) == {"HttpOnly", "Max-Age=43200", "Path=/", "SameSite=strict"}
    assert service.client.get("/v1/studies").status_code == 200


@sqlite_only
def test_behind_tls_the_cookie_travels_encrypted_alone(
    settings: ServiceSettings, assemble: Callable[[ServiceSettings], Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.app.require_tokens", lambda *_: None)
    settings = settings.model_copy(update={"tls_proxies": ["10.0.0.5"]})
    app = quick_app(settings, assemble)
    with TestClient(app, base_url="https://localhost") as client:
        service = Service(app, client, settings)
        cookie = log_in(service, make_token(service), Origin="https://localhost").headers["set-cookie"]
        status = client.get("/v1/studies").status_code

    assert cookie.startswith("__Host-tunewright=tw_")
    assert "Secure" in cookie
    assert status == 200


@sqlite_only
def test_a_wrong_token_is_asked_for_again_and_not_shown(service: Service) -> None:
    make_token(service)

    page = log_in(service, "tw_canary-hunter2", "/studies/0")

    assert page.status_code == 401
    assert "This token is not valid." in page.text
    assert 'value="/studies/0"' in page.text
    assert "hunter2" not in page.text
    assert "set-cookie" not in page.headers


@sqlite_only
def test_guesses_at_the_login_are_limited(service: Service) -> None:
    make_token(service)

    answers = [log_in(service, "guess") for _ in range(11)]

    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert "Too many wrong tokens" in answers[-1].text


@sqlite_only
def test_a_page_whose_token_was_revoked_does_not_lock_its_user_out(service: Service) -> None:
    before, after = make_token(service), make_token(service, name="after")
    log_in(service, before)
    revoke(service, before)
    pass_time(service, auth.KNOWN_SECONDS)

    # A page that compares six studies sends twelve requests at once.
    statuses = [service.client.get("/v1/studies").status_code for _ in range(12)]
    again = log_in(service, after)

    assert statuses == [401] * 12
    assert again.status_code == 303, again.text


@sqlite_only
def test_a_page_whose_token_was_revoked_goes_to_the_login_whatever_others_guess(service: Service) -> None:
    revoked = make_token(service)
    revoke(service, revoked)
    service.client.get("/v1/studies", headers=bearer(revoked))
    refused = [service.client.get("/v1/studies", headers=bearer(new().text)).status_code for _ in range(12)]

    assert refused[-1] == 429
    assert service.client.get("/v1/studies", headers=bearer(revoked)).status_code == 401


def test_logging_out_ends_the_session(service: Service) -> None:
    log_in(service, make_token(service))
    session = service.client.cookies["tunewright"]

    answer = service.client.post("/logout", headers=OURS)

    assert answer.status_code == 204
    assert "tunewright" not in service.client.cookies
    assert service.client.get("/v1/studies", headers={"Cookie": f"tunewright={session}"}).status_code == 401


def test_a_session_ends_with_its_token(service: Service) -> None:
    token = make_token(service)
    log_in(service, token)
    assert service.client.get("/v1/studies").status_code == 200

    revoke(service, token)
    pass_time(service, auth.KNOWN_SECONDS)

    assert service.client.get("/v1/studies").status_code == 401


def test_a_session_ends_by_itself_and_is_forgotten(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    token = make_token(service)
    monkeypatch.setattr(tokens, "SESSION_SECONDS", -1.0)
    log_in(service, token)

    over = service.client.get("/v1/studies").status_code
    log_in(service, token)

    assert over == 401
    with service.repository.engine.connect() as connection:
        assert len(connection.execute(select(TokenRow.id).where(TokenRow.parent.is_not(None))).all()) == 1
        assert len(tokens.tokens(connection)) == 1, "sessions are not listed"


@sqlite_only
def test_a_session_has_the_scope_and_project_of_its_token(service: Service) -> None:
    log_in(service, make_token(service, Scope.READ, "a"))

    assert service.client.get("/v1/studies").status_code == 200
    assert service.client.post("/v1/studies", json=study_json(), headers=OURS).status_code == 403
    assert service.client.get("/v1/studies?project=b").status_code == 403


@sqlite_only
@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://localhost:81", "http://localhost.evil"]
)
def test_a_page_elsewhere_changes_nothing_in_the_name_of_a_session(service: Service, origin: str | None) -> None:
    log_in(service, make_token(service))
    headers = {} if origin is None else {"Origin": origin}

    answer = service.client.post("/v1/studies", json=study_json(), headers=headers)

    assert answer.status_code == 403
    assert "page of this service" in answer.json()["detail"]
    assert service.client.get("/v1/studies").json()["items"] == []
    assert service.client.post("/logout", headers=headers).status_code == 403


@sqlite_only
def test_a_page_of_ours_may(service: Service) -> None:
    log_in(service, make_token(service))

    assert service.client.post("/v1/studies", json=study_json(), headers=OURS).status_code == 201


@sqlite_only
def test_a_page_elsewhere_changes_nothing_on_a_service_without_tokens(service: Service) -> None:
    study = service.create()["id"]

    foreign = service.client.post(f"/v1/studies/{study}/cancel", headers={"Origin": "http://evil.example"})
    program = service.client.post(f"/v1/studies/{study}/pause")

    assert (foreign.status_code, program.status_code) == (403, 202)


@sqlite_only
def test_nobody_is_logged_in_by_a_page_elsewhere(service: Service) -> None:
    token = make_token(service)

    assert log_in(service, token, Origin="http://evil.example").status_code == 403
    assert "tunewright" not in service.client.cookies


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("/", "/"),
        ("/studies/1?x=1", "/studies/1?x=1"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
        ("/a\nb", "/"),
    ],
)
def test_the_login_leads_to_pages_of_ours_alone(wanted: str, path: str) -> None:
    assert _own_path(wanted) == path


@sqlite_only
def test_there_is_no_login_where_no_token_is_asked_for(service: Service) -> None:
    answer = service.client.get("/login?next=/studies/1", follow_redirects=False)

    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/1")
    assert 'id="log-out"' not in service.client.get("/").text


@sqlite_only
@pytest.mark.parametrize("body", [b"", b"\xff=\xff", b"token", b"&" * 50_000, b"a=1&" * 20_000])
def test_rubbish_at_the_login_is_refused(service: Service, body: bytes) -> None:
    make_token(service)

    assert service.client.post(scopes.LOGIN, content=body, headers=OURS).status_code == 401


@sqlite_only
def test_a_neighbours_odd_cookie_does_not_hide_the_session(service: Service) -> None:
    log_in(service, make_token(service))
    session = service.client.cookies["tunewright"]
    service.client.cookies.clear()

    for others in ('prefs={"dark": true}; ', "a b; ", "k\\y=1; "):
        cookie = {"Cookie": f"{others}tunewright={session}"}
        assert service.client.get("/v1/studies", headers=cookie).status_code == 200, others


@sqlite_only
@pytest.mark.parametrize(
    "cookie", ["tunewright=", "tunewright=rubbish", "\x00", "tunewright=;tunewright=tw_x", "a" * 5000]
)
def test_rubbish_for_a_cookie_is_no_session(service: Service, cookie: str) -> None:
    make_token(service)

    assert service.client.get("/v1/studies", headers={"Cookie": cookie}).status_code == 401
