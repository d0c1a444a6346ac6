"""Writing a study in a real browser, by keyboard alone, as text, over a lost connection; and steering one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import service.app
from service.store import tokens
from service.store.engine import writing
from tests.e2e.test_pages import (
    IN_A_BROWSER,
    SCRIPT_NAME,
    TOO_WIDE,
    IdleConductor,
    Service,
    Writer,
    browser,
    expect,
    open_page,
    serving,
)
from tunewright.access import Scope
from tunewright.study import Priority, StudyState

__all__ = ["browser", "open_page"]

pytestmark = IN_A_BROWSER
READY = re.compile("^Ready:")
SPACE = [
    {"name": "eta", "type": "float", "low": 0.01, "high": 1.0, "log": True},
    {"name": "booster", "type": "categorical", "choices": ["gbtree", "dart"]},
    {"name": "drop", "type": "float", "low": 0, "high": 0.5, "when": {"booster": ["dart"]}},
]
EXTERNAL = "name: {name}\nworkload: external\nobjectives: [{{metric: loss}}]\nbudget: {{trials: 9}}\nspace:\n{space}"


class Conductor(IdleConductor):
    def check(self, _needed: Any) -> None:
        pass


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("pages"), Conductor) as running:
        yield running


@pytest.fixture
def new_study(running: Service, open_page: Callable[..., Any]) -> Callable[..., Any]:
    """Opens the page to write a study, ready to be filled in."""

    def open_ready(**options: Any) -> Any:
        page = open_page(f"{running.url}/studies/new", **options)
        # The first one waits for the workloads to be imported.
        expect(page.locator("#writing")).to_have_attribute("aria-busy", "false", timeout=60_000)
        return page

    return open_ready


def stored(running: Service) -> list[str]:
    return [study.name for study in running.repository.studies(limit=100).items]


def spec_of(running: Service, page: Any) -> Any:
    """The specification of the study whose page is open."""
    expect(page.locator("#study")).to_be_visible()
    return running.repository.study(page.locator("#study").get_attribute("data-study")).spec


def tab_to(page: Any, selector: str, key: str = "Tab") -> None:
    for _ in range(80):
        page.keyboard.press(key)
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached by the {key} key")


def external(name: str, parameters: int = 1) -> str:
    lines = [f"  parameter_with_a_long_name_{i}: {{type: float, low: 0, high: 1}}\n" for i in range(parameters)]
    return EXTERNAL.format(name=name, space="".join(lines))


def test_a_study_is_written_and_submitted_by_keyboard_alone(running: Service, new_study: Callable[..., Any]) -> None:
    page = new_study()
    keyboard = page.keyboard

    tab_to(page, "[data-path='name'] input")
    keyboard.type("by keyboard")
    tab_to(page, "[data-path='workload'] select")
    keyboard.type("xgboost")
    expect(page.locator("#verdict")).to_have_text(READY)
    expect(page.locator(".parameter")).to_have_count(11)
    assert page.locator("[data-path='workload'] select").evaluate("node => node === document.activeElement")
    tab_to(page, "[data-path='data.dataset'] input")
    keyboard.type("wine")
    tab_to(page, ".parameter summary")
    keyboard.press("Enter")
    tab_to(page, "[data-path='space.0.low'] input")
    keyboard.press("Control+A")
    keyboard.type("9")
    expect(page.locator("[data-path='space.0.low'] .field-error")).to_contain_text("low (9.0) must be below high (1.0)")
    tab_to(page, "#submit")
    keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "fault"
    keyboard.press("Enter")
    assert page.locator("[data-path='space.0.low'] input").evaluate("node => node === document.activeElement")
    keyboard.press("Control+A")
    keyboard.type("0.05")
    expect(page.locator("#verdict")).to_have_text(READY)
    tab_to(page, "#settings-part summary")
    keyboard.press("Enter")
    tab_to(page, "[data-path='optimizer.settings.eta'] input")
    keyboard.type("4")
    tab_to(page, "[data-path='budget.trials'] input")
    keyboard.press("Control+A")
    keyboard.type("7")
    expect(page.locator("#verdict")).to_contain_text("within 7 trials")
    expect(page.locator("#text")).to_have_value(re.compile("trials: 7"))
    tab_to(page, "#submit")
    keyboard.press("Enter")

    expect(page.locator("h1")).to_have_text("by keyboard")
    spec = spec_of(running, page)
    assert (spec.data, spec.budget.trials, spec.optimizer.settings) == ({"dataset": "wine"}, 7, {"eta": 4})
    assert (spec.space["learning_rate"].low, len(spec.space)) == (0.05, 11)


def test_what_is_pasted_and_what_the_form_says_are_one_study(running: Service, new_study: Callable[..., Any]) -> None:
    page = new_study()
    text = page.locator("#text")
    workload, optimizer = (page.locator(f"[data-path='{field}'] select") for field in ("workload", "optimizer.name"))

    # What is not chosen yet is said so, its line empty or not there; to choose what there is changes nothing.
    expect(workload.locator("option:checked")).to_have_text("Choose one")
    text.fill("name: without")
    expect(page.locator("[data-path='name'] input")).to_have_value("without")
    expect(workload.locator("option:checked")).to_have_text("Choose one")
    expect(optimizer.locator("option:checked")).to_have_text("hypertune")
    optimizer.select_option("bohb")
    expect(text).to_have_value(re.compile("bohb"))
    optimizer.select_option(label="hypertune")
    expect(text).not_to_have_value(re.compile("bohb|hypertune|optimizer: *\\n +name: *''"))

    text.fill(external(f'"{SCRIPT_NAME}"', 60))
    expect(page.locator("#verdict")).to_contain_text("searches 60 parameters")
    expect(page.locator(".parameter")).to_have_count(60)
    expect(page.locator("[data-path='name'] input")).to_have_value(SCRIPT_NAME)
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate(TOO_WIDE) is False

    text.fill("name: [")
    expect(page.locator("#text-error")).to_contain_text("not valid YAML")
    expect(page.locator("[data-path='name'] input")).to_be_disabled()
    assert text.input_value() == "name: ["
    page.locator("#drop-text").click()
    expect(text).to_have_value(re.compile("parameter_with_a_long_name_59"))

    page.locator("[data-path='budget.trials'] input").fill("12")
    page.locator(".parameter summary").nth(59).click()
    page.locator("[data-path='space.59.name'] input").fill("last")
    page.locator("#format").select_option("json")
    expect(text).to_have_value(re.compile(r'"trials": 12'))
    expect(text).to_have_value(re.compile(r'"name": "last"'))
    page.reload()
    expect(page.locator("#restored")).to_be_visible()
    expect(page.locator("#verdict")).to_have_text(READY)
    page.locator("#submit").click()

    expect(page.locator("h1")).to_have_text(SCRIPT_NAME)
    assert page.evaluate("window.harmed") is None
    spec = spec_of(running, page)
    assert (len(spec.space), spec.space.names[-1], spec.budget.trials) == (60, "last", 12)


def test_parameters_are_added_removed_and_made_conditional(running: Service, new_study: Callable[..., Any]) -> None:
    page = new_study()
    page.locator("#text").fill(external("own space", 2))
    expect(page.locator("#verdict")).to_have_text(READY)
    expect(page.locator("#space-hint")).to_have_text("2 parameters")

    page.locator("#add-parameter").click()
    page.locator("[data-path='space.2.type'] select").select_option("categorical")
    page.locator("[data-path='space.2.choices'] input").fill('1, two, true, "3"')
    page.get_by_role("button", name="Add condition").click()
    page.locator("[data-path^='space.2.when.'] input").fill("9")
    expect(page.locator(".parameter").nth(2)).to_contain_text("can never be")
    page.get_by_role("button", name="Remove the condition").click()
    page.locator(".parameter summary").first.click()
    page.locator(".parameter").first.get_by_role("button", name="Remove parameter").click()
    expect(page.locator("#verdict")).to_contain_text("searches 2 parameters")
    expect(page.locator("#text")).to_have_value(re.compile("- '3'"))


def test_a_part_of_a_workloads_space_is_searched(running: Service, new_study: Callable[..., Any]) -> None:
    page = new_study()
    page.locator("#text").fill("name: own space\nworkload: xgboost\nbudget: {trials: 3}\n")
    hint, verdict, add = page.locator("#space-hint"), page.locator("#verdict"), page.locator("#add-parameter")
    expect(verdict).to_have_text(READY)
    expect(hint).to_have_text("11 parameters, as the workload declares them")
    expect(add).to_be_hidden()

    page.locator(".parameter summary").first.click()
    page.locator(".parameter").first.get_by_role("button", name="Remove parameter").click()
    expect(hint).to_have_text("10 parameters, changed from the workload's; learning_rate stays at its default")
    expect(verdict).to_contain_text("searches 10 parameters")
    add.click()
    expect(page.locator("[data-path='space.10.name'] input")).to_have_value("learning_rate")
    expect(verdict).to_contain_text("searches 11 parameters")
    page.locator("[data-path='space.10.name'] input").fill("lerning_rate")
    expect(page.locator(".parameter-mark:visible")).to_have_text(["not declared by the workload"])
    expect(page.locator("#faults")).to_contain_text('space.lerning_rate workload "xgboost" has no such parameter')
    page.locator("#reset-space").click()
    expect(page.locator("#text")).to_have_value("name: own space\nworkload: xgboost\nbudget:\n  trials: 3\n")


def test_an_answer_that_comes_late_overwrites_nothing(running: Service, new_study: Callable[..., Any]) -> None:
    page = new_study()
    expect(page.locator("#verdict")).to_have_text(re.compile("still to be said"))
    held: list[Any] = []
    page.route("**/v1/studies:validate", lambda route: route.continue_() if held else held.append(route))
    page.locator("[data-path='name'] input").fill("asked about")
    while not held:
        page.wait_for_timeout(20)

    page.locator("#text").fill(external("typed meanwhile"))
    held[0].continue_()

    expect(page.locator("#verdict")).to_have_text(READY)
    expect(page.locator("#text")).to_have_value(re.compile("typed meanwhile"))


def test_a_lost_connection_submits_nothing_twice(running: Service, new_study: Callable[..., Any]) -> None:
    page = new_study(tolerate="ERR_|Failed to load")
    page.locator("#text").fill(external("sent twice"))
    expect(page.locator("#verdict")).to_have_text(READY)

    def lose(route: Any) -> None:
        route.fetch()
        route.abort()

    page.route("**/v1/studies", lose)
    page.locator("#submit").click()
    expect(page.locator("#problem")).to_contain_text("the same study is stored once")
    page.unroute("**/v1/studies")
    page.reload()
    expect(page.locator("#verdict")).to_have_text(READY)
    page.locator("#submit").click()

    expect(page.locator("h1")).to_have_text("sent twice")
    assert stored(running).count("sent twice") == 1


def test_a_clone_begins_as_the_study_that_it_is_of(running: Service, open_page: Callable[..., Any]) -> None:
    study = running.study("🙂" * 200, notes="of the original", seed=5, workload="external", space=SPACE)
    page = open_page(running.page_of(study))

    page.get_by_role("link", name="Clone").click()
    expect(page.locator("#verdict")).to_have_text(READY, timeout=60_000)
    expect(page.locator("[data-path='name'] input")).to_have_value(f"{'🙂' * 192} (clone)")
    page.locator("[data-path='name'] input").fill("copy")
    expect(page.locator("#verdict")).to_have_text(READY)
    page.locator("#submit").click()

    expect(page.locator("h1")).to_have_text("copy")
    spec, before = spec_of(running, page), running.repository.study(study.id).spec
    expected = {"name": "copy", "notes": "", "project": "default"}
    assert spec.model_dump(exclude={"resources"}) == {**before.model_dump(exclude={"resources"}), **expected}


def test_a_configuration_is_enqueued_from_the_space(running: Service, open_page: Callable[..., Any]) -> None:
    words = {"name": "word", "type": "categorical", "choices": ["a", "", 1, "1"]}
    study = running.study("queue", space=[*SPACE, words])
    page = open_page(running.page_of(study))
    page.locator("#enqueue").click()
    dialog = page.get_by_role("dialog")

    expect(dialog.locator("[data-path]")).to_have_count(3)
    expect(dialog.get_by_label("word").locator("option")).to_have_text(["default (a)", "a", '""', "1", '"1"'])
    dialog.get_by_label("word").select_option(label='""')
    dialog.get_by_label("booster").select_option("dart")
    expect(dialog.locator("[data-path]")).to_have_count(4)
    dialog.get_by_label("drop").fill("3")
    dialog.get_by_role("button", name="Enqueue").click()
    expect(dialog.locator("[data-path='config.drop'] .field-error")).to_have_text("From 0 to 0.5")
    dialog.get_by_label("drop").fill("0.25")
    # The Enter that ends a word of an input method.
    composed = {"key": "Enter", "isComposing": True, "bubbles": True}
    dialog.get_by_label("drop").dispatch_event("keydown", composed)
    assert dialog.get_by_role("button", name="Enqueue").is_enabled()
    page.keyboard.press("Enter")

    expect(page.locator("#done")).to_contain_text("of the queue")
    (entry,) = running.repository.queued(study.id, limit=10).items
    assert entry.config == {"eta": pytest.approx(0.1), "booster": "dart", "drop": 0.25, "word": ""}


def test_names_tags_and_notes_are_edited_and_a_change_by_others_stays(
    running: Service, open_page: Callable[..., Any]
) -> None:
    study = running.study("before")
    page = open_page(running.page_of(study), tolerate="409|422")
    page.locator("#edit").click()
    dialog = page.get_by_role("dialog")
    running.repository.change(study.id, {"priority": Priority.HIGH}, None)

    dialog.get_by_label("Name").fill(SCRIPT_NAME)
    dialog.get_by_label("Tags").fill("a, team=search")
    dialog.get_by_label("Notes").fill("one\n<b>two</b>")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    expect(dialog.get_by_label("Name")).to_have_value(SCRIPT_NAME)
    dialog.get_by_role("button", name="Save").click()

    expect(page.locator("h1")).to_have_text(SCRIPT_NAME)
    expect(page.locator("#tags li")).to_have_text(["a", "team=search"])
    expect(page.locator("#priority")).to_have_text("high priority")
    expect(page.locator("#notes-text")).to_have_text("one\n<b>two</b>")
    page.locator("#edit").click()
    dialog.get_by_label("Name").fill("")
    dialog.get_by_label("Notes").fill("")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.locator("[data-path='name'] .field-error")).to_be_visible()
    assert page.evaluate("window.harmed") is None


def test_a_study_that_ended_is_extended_and_its_failed_trials_tried_again(
    running: Service, open_page: Callable[..., Any]
) -> None:
    study = running.study("over", budget={"trials": 2})
    study.fail_trial(0)
    study.fail_trial(1)
    study.commit(state=StudyState.COMPLETED)
    page = open_page(running.page_of(study), tolerate="422")
    expect(page.locator("#retry")).to_be_hidden()
    page.get_by_role("button", name="Trial 0, details").click()
    expect(page.locator(".detail-body")).to_be_visible()
    expect(page.get_by_role("button", name="Try this configuration again")).to_be_hidden()

    page.locator("#extend").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Trials", exact=True)).to_have_value("2")
    dialog.get_by_role("button", name="Extend").click()
    expect(dialog.get_by_role("alert")).to_contain_text("trials")
    dialog.get_by_label("Trials", exact=True).fill("6")
    dialog.get_by_role("button", name="Extend").click()
    expect(page.locator("#state")).to_have_text("queued")
    page.get_by_role("button", name="Try this configuration again").click()
    expect(page.locator("#done")).to_have_text("Trial 0 will be tried again.")
    page.locator("#retry").click()

    expect(page.locator("#done")).to_have_text("1 trial will be tried again.")
    entries = running.repository.queued(study.id, limit=10).items
    assert [entry.retry_of for entry in entries] == [f"{study.id}-0", f"{study.id}-1"]


def test_texts_are_copied_also_without_a_clipboard(running: Service, open_page: Callable[..., Any]) -> None:
    page = open_page(running.page_of(running.study("to copy")))
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")

    page.locator("#copy").click()
    page.get_by_role("button", name="Copy curl").click()

    expect(page.get_by_role("button", name="Copy curl")).to_have_text("Selected: press Ctrl+C")
    selected = page.evaluate("getSelection().toString()")
    assert selected.startswith(f"curl --fail-with-body {running.url}/v1/studies ")
    expect(page.get_by_label("Python, text")).to_have_value(re.compile("client.submit"))
    expect(page.get_by_label("Shell, text")).to_have_value(re.compile("^tunewright submit"))


def test_a_study_that_is_deleted_meanwhile_offers_nothing(running: Service, open_page: Callable[..., Any]) -> None:
    study = running.study("short-lived")
    study.commit(state=StudyState.CANCELLED)
    page = open_page(running.page_of(study), tolerate="404")
    page.locator("#edit").click()
    expect(page.get_by_role("dialog")).to_be_visible()

    running.repository.delete_study(study.id)

    expect(page.locator("#problem")).to_contain_text("This study was deleted")
    expect(page.get_by_role("dialog")).to_be_hidden()
    # Whatever is drawn after it offers nothing again.
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(2000)
    expect(page.locator(".actions .button:visible")).to_have_text(["Plots"])


def test_whoever_may_only_read_is_offered_nothing_to_change(
    tmp_path_factory: pytest.TempPathFactory, browser: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service.app, "Conductor", Conductor)
        guarded = Service(tmp_path_factory.mktemp("guarded"))
        study: Writer = guarded.study("to look at")
        with writing(guarded.repository.engine) as connection:
            token = tokens.create(connection, "reader", Scope.READ, "*")[1].text
        guarded.start()
        context = browser.browser.new_context()
        page = context.new_page()
        try:
            page.goto(f"{guarded.url}/studies/{study.id}")
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Log in").click()
            expect(page.locator("#connection")).to_have_text("Live")
            offered = page.locator(".page-head .actions > *:visible")
            expect(offered).to_have_text(["Plots", "Copy as…"])
            page.locator("#copy").click()
            expect(page.get_by_label("Shell, text")).to_have_value(re.compile("to look at"))
            page.goto(f"{guarded.url}/studies")
            expect(page.get_by_role("link", name="New study")).to_have_count(0)
            page.goto(f"{guarded.url}/studies/new")
            expect(page.get_by_role("alert")).to_contain_text("scope write")
            expect(page.locator("#submit")).to_have_count(0)
        finally:
            context.close()
            guarded.stop()
