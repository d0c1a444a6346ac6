"""Every page against axe-core's rules, light and wide, dark and narrow: no serious fault, no critical one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.store import tokens
from service.store.engine import writing
from tests.e2e.test_pages import IN_A_BROWSER, Service, browser, expect, open_page, running
from tests.service.conftest import Runner
from tests.service.test_plots import losses, run
from tests.tunewright.live_service import LiveService
from tests.tunewright.session_writer import BETTER, SessionWriter, attach
from tunewright.access import Scope
from workers.session_journal import Noticed

__all__ = ["browser", "open_page", "running"]

axe = pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install axe-playwright-python")

pytestmark = IN_A_BROWSER
SOURCE = Path(axe.__file__).with_name("axe.min.js")
RUN = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
    .filter(fault => ['serious', 'critical'].includes(fault.impact))
    .map(fault => [fault.id, ...fault.nodes.slice(0, 5).map(node => `${node.target}: ${node.failureSummary}`)])"""
# Colours do not depend on the width, so two of the four say all.
SETTINGS = [("light", 1400), ("dark", 400)]
# Where each page lies, and what is to be seen there once it has drawn itself.
PAGES = {
    "overview": ("/", "#studies tbody tr"),
    "studies": ("/studies", "#studies tbody tr"),
    "new study": ("/studies/new", "#writing[aria-busy=false]"),
    "trial": ("/trials/{study}-0", "#curve-chart .trace"),
    "comparison": ("/compare?study={study}&study={large}", "#trials-chart .trace"),
    "study": ("/studies/{study}", "#curves-chart .trace"),
    "study without trials": ("/studies/{empty}", "#trials-empty"),
    "sessions": ("/sessions", "#sessions tbody tr"),
    "session": ("/sessions/{session}", "#performance-chart .trace"),
    "session before its first interval": ("/sessions/{waiting}", "#performance-empty"),
    "labelling": ("/labelling", "#labellings tbody tr"),
    "not found": ("/studies/nothing", ".not-found"),
}


@pytest.fixture(scope="module")
def ids(running: Service) -> Iterator[Mapping[str, str]]:
    """One of everything: ids by the names that `PAGES` has for them."""
    study = running.study("A study", tags=["one", "two"], objectives=[{"metric": "loss"}], budget={"trials": 100})
    study.run_trial(0, [0.9, 0.5, 0.4])
    study.run_trial(1, [0.8, 0.6], end=None)
    study.fail_trial(2)
    large = running.study("Many trials", budget={"trials": 100})
    run(Runner.of(running.repository, running.settings.store_url, large.id), losses(40))
    engine, url = running.repository.engine, running.settings.store_url
    session = SessionWriter(engine, url, attach(engine, "shop", missing=["GRANT pg_monitor TO tuner;"]))
    session.begin()
    session.interval()
    for _ in range(3):
        session.interval(BETTER, 120.0)
    session.interval({**BETTER, "work_mem": 1024}, 70.0, unsafe=True, aborted=True)
    session.commit(Noticed(1.0, "clamped", "the server made 8 of 9", "work_mem"))
    waiting = SessionWriter(engine, url, attach(engine, "crm"))
    labelling = {"dataset": "sbm", "classes": ["toys", "books", "tools"], "batch": 3}
    asked = httpx.post(f"{running.url}/v1/labellings", json=labelling, timeout=60)
    assert asked.status_code == 201, asked.text
    empty = running.study("No trials yet")
    yield {"study": study.id, "large": large.id, "empty": empty.id, "session": session.id, "waiting": waiting.id}
    session.let_go()
    waiting.let_go()


def faults(page: Any) -> list[Any]:
    """Serious and critical ones, light and dark."""
    page.evaluate(SOURCE.read_text())
    found = []
    for scheme, width in SETTINGS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found += [[scheme, width, *fault] for fault in page.evaluate(RUN)]
    return found


@pytest.mark.parametrize("name", PAGES)
def test_pages_have_no_serious_fault(
    running: Service, ids: Mapping[str, str], open_page: Callable[..., Any], name: str
) -> None:
    path, there = PAGES[name]
    page = open_page(running.url + path.format(**ids), tolerate="404")
    page.locator(there).first.wait_for(state="attached")

    assert faults(page) == []


def test_what_opens_on_a_page_has_none_either(
    running: Service, ids: Mapping[str, str], open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{running.url}/studies/{ids['study']}")
    expect(page.locator("#trials .expander")).to_have_count(3)
    for row in page.locator("#trials .expander").all():
        row.click()
    expect(page.locator(".detail-body")).to_have_count(3)
    assert faults(page) == []
    page.locator("#cancel").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert faults(page) == []

    page = open_page(f"{running.url}/sessions/{ids['session']}")
    page.locator("#stop").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert faults(page) == []


def test_the_login_has_none(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    guarded = LiveService(tmp_path / "data")
    guarded.start()
    try:
        with writing(guarded.repository.engine) as connection:
            tokens.create(connection, "person", Scope.WRITE, "default")
        page = open_page(f"{guarded.url}/", tolerate="401")
        page.get_by_label("Token").wait_for()
        assert faults(page) == []
    finally:
        guarded.close()


def test_plots_have_none_once_they_are_drawn(
    running: Service, ids: Mapping[str, str], open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{running.url}/studies/{ids['large']}/plots")
    page.locator("figure.chart").first.wait_for()
    # All in sight at once.
    page.set_viewport_size({"width": 1400, "height": 6000})
    expect(page.locator(".plot-empty:visible", has_text="Loading")).to_have_count(0)

    assert faults(page) == []
