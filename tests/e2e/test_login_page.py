"""Logging in and out in a real browser, also by a link from another site."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.store import tokens
from service.store.engine import writing
from tests.e2e.test_pages import CHROMIUM, FLAGS, expect, playwright
from tests.tunewright.live_service import LiveService
from tests.tunewright.session_writer import BETTER, SessionWriter, attach
from tunewright.access import Scope

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium: apt-get install chromium"),
]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LiveService]:
    service = LiveService(tmp_path / "data")
    service.start()
    yield service
    service.close()


@pytest.fixture
def token(service: LiveService) -> str:
    with writing(service.repository.engine) as connection:
        return tokens.create(connection, "person", Scope.WRITE, "default")[1].text


@pytest.fixture
def page() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser.new_page()
        browser.close()


@pytest.fixture
def elsewhere(service: LiveService) -> Iterator[str]:
    """A page of another site with a link to a study."""
    study = service.create().id

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<a href="{service.url}/studies/{study}#trials">the study</a>'.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def log_in(page: Any, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()


def test_a_person_logs_in_steers_and_logs_out(service: LiveService, token: str, page: Any) -> None:
    study = service.create().id
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))

    page.goto(f"{service.url}/studies/{study}#trials")
    expect(page).to_have_title("Log in · Tunewright")
    log_in(page, "tw_wrong")
    expect(page.get_by_role("alert")).to_have_text("This token is not valid.")
    log_in(page, token)
    expect(page).to_have_url(f"{service.url}/studies/{study}#trials")
    expect(page.locator("#connection")).to_have_text("Live")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert service.repository.study(study).wanted == "pause"
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_title("Log in · Tunewright")
    page.goto(service.url)
    expect(page).to_have_title("Log in · Tunewright")

    assert page.context.cookies() == []
    assert problems == []


def test_a_link_from_another_site_leads_to_the_page_and_not_to_the_login(
    service: LiveService, token: str, page: Any, elsewhere: str
) -> None:
    page.goto(service.url)
    log_in(page, token)
    expect(page).to_have_title("Overview · Tunewright")

    page.goto(elsewhere)
    page.get_by_role("link", name="the study").click()

    expect(page).to_have_title("a study · Tunewright")
    expect(page).to_have_url(re.compile("#trials$"))


def test_an_open_page_goes_to_the_login_when_its_token_is_revoked(service: LiveService, token: str, page: Any) -> None:
    page.goto(f"{service.url}/#looks")
    log_in(page, token)
    expect(page.locator("#connection")).to_have_text("Live")

    with writing(service.repository.engine) as connection:
        tokens.revoke(connection, "person")

    expect(page).to_have_title("Log in · Tunewright", timeout=30_000)
    expect(page).to_have_url(f"{service.url}/login?next=%2F%23looks")


def test_who_may_only_read_is_shown_sessions_and_labellings_without_buttons(
    service: LiveService, token: str, page: Any
) -> None:
    writer = SessionWriter(service.repository.engine, service.settings.store_url, attach(service.repository.engine))
    writer.begin()
    writer.interval()
    writer.interval(BETTER, 130.0)
    made = httpx.post(
        f"{service.url}/v1/labellings",
        json={"dataset": "sbm", "classes": ["a", "b", "c"]},
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )
    labelling = made.raise_for_status().json()["id"]
    with writing(service.repository.engine) as connection:
        reader = tokens.create(connection, "reader", Scope.READ, "default")[1].text
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))

    page.goto(f"{service.url}/sessions/{writer.id}")
    log_in(page, reader)

    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("#performance-chart .plotly").first).to_be_visible()
    for name in ("Pause", "Stop and restore"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    page.goto(f"{service.url}/labelling#{labelling}")
    expect(page.locator("#asked")).to_contain_text("Is node ")
    expect(page.locator("button[data-answer]")).to_have_count(0)
    page.keyboard.press("y")
    expect(page.locator("#problem")).to_be_hidden()
    assert problems == []
    writer.let_go()
