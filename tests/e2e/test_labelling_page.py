"""The labelling page in a real browser: questions answered with keys and buttons, also over a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_pages import CHROMIUM, browser, expect, open_page
from tests.tunewright.live_service import LiveService

__all__ = ["browser", "open_page"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium: apt-get install chromium"),
]

# What lies beyond its card is cut off, and the window is no wider for it.
BEYOND = """what => {
    const box = document.querySelector(what);
    return box.getBoundingClientRect().right > innerWidth || box.scrollWidth > box.clientWidth;
}"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[LiveService]:
    service = LiveService(tmp_path / "data")
    service.start()
    yield service
    service.close()


def begin(service: LiveService) -> dict[str, Any]:
    sent = {"dataset": "sbm", "classes": ["toys", "books", "<b>tools</b>"], "batch": 3}
    made: dict[str, Any] = httpx.post(f"{service.url}/v1/labellings", json=sent, timeout=60).raise_for_status().json()
    return made


def counts(service: LiveService, labelling: dict[str, Any]) -> dict[str, int]:
    found: dict[str, int] = httpx.get(f"{service.url}/v1/labellings/{labelling['id']}").json()["answers"]
    return found


def test_questions_are_answered_with_keys_and_buttons_and_survive_a_restart(
    running: LiveService, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{running.url}/labelling")
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#question-card")).to_be_hidden()
    page.set_viewport_size({"width": 320, "height": 900})
    assert page.evaluate(BEYOND, "#empty .code") is False
    page.set_viewport_size({"width": 1400, "height": 900})
    labelling = begin(running)
    page.reload()

    page.get_by_role("link", name="sbm").click()
    expect(page.locator("#asked")).to_contain_text("Is node ")
    for place, key in enumerate(["y", "n", "s"]):
        page.keyboard.press(key)
        expect(page.locator("#progress")).to_contain_text(f"{min(place + 1, 2)} answered")
    expect(page.locator("#progress")).to_contain_text("1 skipped")
    page.locator("#no").click()
    expect(page.locator("#progress")).to_contain_text("3 answered")
    shown = page.locator("#asked").inner_text()

    assert counts(running, labelling) == {"yes": 1, "no": 2, "skip": 1}
    expect(page.locator("#labellings tbody tr")).to_contain_text("<b>tools</b>")
    running.stop()
    running.start()
    page.reload()
    expect(page.locator("#asked")).to_have_text(shown)


def test_who_is_second_is_shown_what_is_open(running: LiveService, open_page: Callable[..., Any]) -> None:
    labelling = begin(running)
    page = open_page(f"{running.url}/labelling#{labelling['id']}", tolerate="409")
    expect(page.locator("#asked")).to_contain_text("Is node ")
    path = f"{running.url}/v1/labellings/{labelling['id']}/answer"
    following = httpx.post(path, json={"question": 0, "answer": "yes"}).raise_for_status().json()["question"]

    page.keyboard.press("n")

    expect(page.locator("#asked")).to_contain_text(f"Is node {following['node']} ")
    assert counts(running, labelling) == {"yes": 1, "no": 0, "skip": 0}


def test_a_question_that_could_not_be_had_leaves_nothing_to_answer(
    running: LiveService, open_page: Callable[..., Any]
) -> None:
    first, second = begin(running), begin(running)
    page = open_page("about:blank", tolerate="ERR_|Failed to load")

    def by_pages(route: Any) -> None:
        items = httpx.get(f"{running.url}/v1/labellings").json()["items"]
        later = "cursor=" in route.request.url
        route.fulfill(json={"items": items[1:] if later else items[:1], "next_cursor": None if later else "next"})

    page.route("**/v1/labellings?*", by_pages)
    page.route(f"**/{second['id']}/next", lambda route: route.abort())
    page.goto(f"{running.url}/labelling#{first['id']}")
    expect(page.locator("#asked")).to_contain_text("Is node ")
    # The list goes on to its last page.
    expect(page.locator("#labellings tbody tr")).to_have_count(2)

    page.locator(f"a[href='#{second['id']}']").click()
    expect(page.locator("#problem")).to_contain_text("cannot be reached")
    expect(page.locator("#asking")).to_be_hidden()
    page.keyboard.press("y")
    page.locator(f"a[href='#{first['id']}']").click()
    expect(page.locator("#yes")).to_be_enabled()

    assert counts(running, first) == counts(running, second) == {"yes": 0, "no": 0, "skip": 0}


def test_a_labelling_that_does_not_exist_is_said_to(running: LiveService, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{running.url}/labelling#nothing", tolerate="404")

    expect(page.locator("#problem")).to_contain_text("labelling nothing does not exist")
