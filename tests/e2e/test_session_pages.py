"""The pages of tuning sessions in a real browser, on a running service; a test writes what a runner would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.test_pages import IN_A_BROWSER, SCRIPT_NAME, TOO_WIDE, Service, browser, expect, open_page, running
from tests.tunewright.session_writer import BETTER, FORMER, SessionWriter, attach
from tunewright.session import SessionState
from workers.session_journal import Noticed, Restored, Skipped

__all__ = ["browser", "open_page", "running"]

pytestmark = IN_A_BROWSER
POINTS = """points => (document.querySelector('#performance-chart').data?.[2].y ?? [])
    .filter(y => y !== null).length === points"""


@pytest.fixture
def begin(running: Service, request: pytest.FixtureRequest) -> Callable[..., SessionWriter]:
    """Begins a session on a database of its own, whose name may be given."""

    def begin(name: str | None = None, **fields: Any) -> SessionWriter:
        engine, url = running.repository.engine, running.settings.store_url
        writer = SessionWriter(engine, url, attach(engine, name or request.node.name[-60:]), **fields)
        request.addfinalizer(writer.let_go)
        return writer

    return begin


def page_of(running: Service, session: SessionWriter) -> str:
    return f"{running.url}/sessions/{session.id}"


def test_the_list_says_how_to_begin_and_shows_sessions_live(
    running: Service, open_page: Callable[..., Any], begin: Callable[..., SessionWriter]
) -> None:
    page = open_page(f"{running.url}/sessions")
    expect(page.locator("#empty-command")).to_contain_text("tunewright attach postgresql://")

    writer = begin("arrives later")
    writer.begin()
    writer.interval()
    writer.interval(BETTER, 130.0, unsafe=True)

    row = page.locator(f"tr[data-session='{writer.id}']")
    expect(row).to_contain_text("running")
    expect(row).to_contain_text("changed")
    expect(row).to_contain_text("+12.0 %")
    expect(row).to_contain_text("1 unsafe")
    expect(page.locator("#empty")).to_be_hidden()
    page.reload()
    expect(page.locator("#databases")).to_contain_text("all that is needed")
    page.get_by_role("navigation", name="Sections").get_by_role("link", name="Databases").focus()
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("arrives later")


def test_the_page_shows_performance_changes_settings_and_notices(
    running: Service, open_page: Callable[..., Any], begin: Callable[..., SessionWriter]
) -> None:
    writer = begin()
    writer.begin()
    writer.interval()
    writer.interval(BETTER, 130.0)
    writer.interval({**BETTER, "max_wal_size": 512}, 80.0, unsafe=True, aborted=True, seconds=2.0)
    writer.commit(Skipped(writer.view.created_at.timestamp(), "too little traffic"), touched=True)
    writer.commit(Noticed(1.0, "clamped", "the server made 8 of 9", "work_mem"), best={"config": BETTER, "gain": 0.3})

    page = open_page(page_of(running, writer))

    page.wait_for_function(POINTS, arg=3)
    marks = page.evaluate("document.querySelector('#performance-chart').data.slice(3).map(trace => trace.x.length)")
    assert marks == [2, 0, 1]
    expect(page.locator("#timeline-chart")).to_contain_text("random_page_cost")
    expect(page.locator("#touched")).to_have_text("settings changed")
    expect(page.locator("#figures")).to_contain_text("+12.0 %")
    expect(page.locator("#figures")).to_contain_text("best known +30.0 %")
    jit = page.locator("#settings tr", has_text="jit")
    expect(jit.locator("td").nth(0)).to_have_text("on")
    expect(jit.locator("td").nth(1)).to_have_text("off")
    rows = page.locator("#intervals tbody tr")
    expect(rows).to_have_count(4)
    expect(page.locator("tr[data-verdict='aborted']")).to_contain_text("unsafe, ended early after 2.0 s")
    expect(page.locator("tr[data-verdict='aborted']")).to_contain_text("max_wal_size 1024 → 512 MB")
    safe = page.locator("tr[data-verdict='safe']").first
    expect(safe).to_contain_text("work_mem 4096 → 16384 kB")
    expect(safe).to_contain_text("Most promising of the safe settings; expected +10.0 %, at worst +1.0 %.")
    expect(page.locator("#notices")).to_contain_text("the server made 8 of 9")


@pytest.mark.parametrize(
    "why", [{"searched": "line: advice of rules"}, {"advised by rule": "work-mem"}, {"tests rule": "work-mem"}]
)
def test_the_page_shows_contexts_clusters_safe_regions_and_who_changed_a_knob(
    running: Service, open_page: Callable[..., Any], begin: Callable[..., SessionWriter], why: dict[str, str]
) -> None:
    writer = begin()
    writer.begin()
    writer.interval(context=(5.0, 0.9), cluster=1)
    writer.interval({"work_mem": 900_000}, 120.0, context=(5.0, 0.9), cluster=1)
    writer.interval(context=(1.0, 0.1))
    writer.interval(BETTER, 130.0)
    writer.interval({**BETTER, "work_mem": 65536}, 140.0, why={"rule": "safe", **why})
    writer.interval({**BETTER, "work_mem": 262144}, 70.0, unsafe=True)
    writer.interval({**BETTER, "work_mem": 65536}, 135.0)

    page = open_page(page_of(running, writer))

    page.wait_for_function("() => document.querySelector('#context-chart').data?.length === 3")
    expect(page.locator("#context-hint")).to_have_text("2 clusters; now in cluster 0")
    expect(page.locator("#context-legend li")).to_have_count(2)
    assert page.evaluate("document.querySelector('#context-chart').data[0].y") == [5, 5, 1, 1, 1, 1, 1]
    page.get_by_label("What of the context is shown").select_option("writes")
    assert page.evaluate("document.querySelector('#context-chart').data[0].y[0]") == 0.9
    # What was safe at another load says nothing of this one.
    work_mem = page.locator("#settings tr", has_text="work_mem")
    expect(work_mem.locator("td").nth(3)).to_have_text("4096 to 65536")
    jit = page.locator("#settings tr", has_text="jit")
    expect(jit.locator("td").nth(3)).to_have_text("off, on")
    expect(page.locator("#region-chart")).to_contain_text("work_mem")
    unsafe = page.evaluate("document.querySelector('#region-chart').data.at(-1).text")
    assert unsafe == ["work_mem 262144 kB: part of unsafe settings"]
    made = page.evaluate("document.querySelector('#timeline-chart').data.slice(2).map(trace => trace.text)")
    by_model, by_rule, back = (" ".join(texts) for texts in made)
    assert "work_mem 4096 → 16384 kB" in by_model
    assert "work_mem 16384 → 65536 kB" in by_rule
    assert "work_mem 262144 → 65536 kB" in back
    assert "work_mem 65536 → 262144 kB" in by_model


def test_the_page_follows_the_session_without_reload(
    running: Service, open_page: Callable[..., Any], begin: Callable[..., SessionWriter]
) -> None:
    writer = begin()
    page = open_page(page_of(running, writer))
    page.evaluate("window.sameDocument = true")
    expect(page.locator("#reason")).to_have_text("It has not begun; nothing is changed.")
    expect(page.locator("#performance-empty")).to_have_text("The session has not begun yet.")

    writer.begin()
    writer.interval(BETTER, 120.0)
    page.wait_for_function(POINTS, arg=1)
    expect(page.locator("#state")).to_have_text("running")
    writer.commit(state=SessionState.WAITING, reason="too little traffic: 0.1 transactions/s", touched=False)
    expect(page.locator("#reason")).to_contain_text("There is too little traffic to judge settings by.")
    left = {"jit": "was set by somebody else"}
    writer.commit(Restored(1.0, {**FORMER, "jit": False}, left), state=SessionState.YIELDED, reason="jit was set")

    expect(page.locator("#state")).to_have_text("yielded")
    expect(page.locator("#announce")).to_have_text("Session is yielded")
    expect(page.locator("#reason")).to_contain_text("Somebody else changed what was tuned here")
    expect(page.locator("#touched")).to_have_text("settings differ from before")
    expect(page.locator("#notices")).to_contain_text("jit was left alone: was set by somebody else")
    expect(page.locator("#stop")).to_be_hidden()
    assert page.evaluate("window.sameDocument") is True


def test_the_keyboard_alone_stops_and_restores(
    running: Service, open_page: Callable[..., Any], begin: Callable[..., SessionWriter]
) -> None:
    writer = begin()
    writer.begin()
    writer.interval(BETTER)
    page = open_page(page_of(running, writer))
    expect(page.locator("#pause")).to_be_visible()

    def tab_to(selector: str) -> None:
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} is not reached by the Tab key")

    tab_to("#pause")
    page.keyboard.press("Enter")
    expect(page.locator("#resume")).to_be_visible()
    assert writer.view.wanted == "pause"
    tab_to("#stop")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Stop and restore?")
    expect(dialog).to_contain_text("work_mem 16384 → 4096 kB")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert writer.view.wanted == "pause"
    page.keyboard.press("Enter")
    tab_to("#confirm-yes")
    page.keyboard.press("Enter")
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator("#reason")).to_contain_text("Stopping: the former settings are being put back.")
    assert writer.view.wanted == "stop"


def test_what_a_session_has_kept_can_be_taken_back(
    running: Service, open_page: Callable[..., Any], begin: Callable[..., SessionWriter]
) -> None:
    writer = begin(keep=True)
    writer.begin()
    writer.interval(BETTER)
    writer.commit(Restored(1.0, BETTER), state=SessionState.FINISHED, touched=False)
    page = open_page(page_of(running, writer))
    expect(page.locator("#state")).to_have_text("finished")
    expect(page.locator("#pause")).to_be_hidden()

    page.locator("#stop").click()
    dialog = page.get_by_role("dialog", name="Restore?")
    expect(dialog).to_contain_text("What the session has kept is taken back. These settings go back")
    expect(dialog).to_contain_text("work_mem 16384 → 4096 kB")
    page.get_by_role("button", name="Leave it as it is").click()
    assert writer.view.wanted == "run"
    page.locator("#stop").click()
    page.locator("#confirm-yes").click()

    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator("#reason")).to_contain_text("The former settings are not back yet.")
    assert writer.view.wanted == "stop"


def test_advice_is_shown_as_what_it_would_set(
    running: Service, open_page: Callable[..., Any], begin: Callable[..., SessionWriter]
) -> None:
    writer = begin(mode="advice", objective={"latency_p95": 0.7, "throughput": 0.3})
    writer.begin()
    writer.interval({"jit": False}, 101.0)
    page = open_page(page_of(running, writer))

    expect(page.locator("#reason")).to_contain_text("Advice only: it changes nothing")
    expect(page.locator("#objective")).to_have_text("latency_p95 70 %, throughput 30 %")
    expect(page.locator("#intervals tbody tr")).to_contain_text("jit on → off")
    expect(page.locator("#intervals tbody tr")).to_contain_text("as it stands")
    expect(page.locator("#settings-hint")).to_have_text("all as before")
    expect(page.locator("#stop")).to_have_text("Stop")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1400, "light")])
def test_pages_fit_the_window_and_markup_in_names_is_text(
    running: Service, open_page: Callable[..., Any], begin: Callable[..., SessionWriter], width: int, scheme: str
) -> None:
    writer = begin(f"{SCRIPT_NAME[:80]} {width}")
    writer.begin()
    for _ in range(60):
        writer.interval(BETTER, 110.0, why={"rule": "w" * 300})
    page = open_page(page_of(running, writer), width=width, scheme=scheme)
    page.wait_for_function(POINTS, arg=60)

    expect(page.locator("#intervals tbody tr")).to_have_count(40)
    page.get_by_role("button", name="Load more").click()
    expect(page.locator("#intervals tbody tr")).to_have_count(60)
    expect(page.get_by_role("heading", level=1)).to_contain_text("<script>")
    assert page.evaluate(TOO_WIDE) is False
    page.goto(f"{running.url}/sessions")
    expect(page.locator(f"tr[data-session='{writer.id}']")).to_be_visible()
    assert page.evaluate(TOO_WIDE) is False
    assert page.evaluate("window.harmed") is None


def test_a_session_that_does_not_exist_or_was_deleted_says_so(
    running: Service, open_page: Callable[..., Any], begin: Callable[..., SessionWriter]
) -> None:
    from service.store import sessions

    writer = begin()
    writer.commit(state=SessionState.STOPPED)
    page = open_page(page_of(running, writer), tolerate="404")
    expect(page.locator("#connection")).to_have_text("Live")

    sessions.remove(running.repository.engine, writer.id)

    expect(page.locator("#problem")).to_contain_text("This session was deleted")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such session")
