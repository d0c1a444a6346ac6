"""The overview, the page of a trial and the comparison of studies in a real browser, on one running service."""

from __future__ import annotations

import json
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from optimizers.protocol import Job, JobEnd
from service.conducting import ClusterSeen, Conducting
from tests.e2e.test_pages import (
    HELD,
    HOLD,
    IN_A_BROWSER,
    SCRIPT_NAME,
    TOO_WIDE,
    IdleConductor,
    Service,
    browser,
    expect,
    open_page,
    reports,
    serving,
    started,
)
from tests.tunewright.session_writer import BETTER, SessionWriter, attach
from tunewright.study import StudyState, TrialState
from workers.checkpoints import CheckpointStore
from workers.journal import JobEnded, JobStarted, Printed

__all__ = ["browser", "open_page"]

pytestmark = IN_A_BROWSER
DRAWN = "name => document.querySelector(`#${name}-chart`).data?.length > 0"
Open = Callable[..., Any]


class SeeingConductor(IdleConductor):
    """Starts nothing, and sees a cluster of two nodes."""

    def facts(self) -> Conducting:
        cluster = ClusterSeen(cpus=8, gpus=0, free_cpus=3, free_gpus=0, nodes=2)
        return Conducting(leads=True, tick_seconds=0.1, most=4, cluster=cluster)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("pages"), SeeingConductor) as running:
        yield running


def trial_page(running: Service, study: Any, trial: int = 0) -> str:
    return f"{running.url}/trials/{study.id}-{trial}"


def compare_page(running: Service, *studies: Any) -> str:
    return f"{running.url}/compare?{'&'.join(f'study={study.id}' for study in studies)}"


# Overview. The first test finds the service empty.


def test_overview_says_how_to_begin_and_then_shows_what_is_under_way_live(running: Service, open_page: Open) -> None:
    page = open_page(running.url)
    expect(page.locator("#nothing")).to_contain_text("tunewright submit study.yaml")
    expect(page.locator("#figures")).to_contain_text("5 of 8on 2 nodes")

    study = running.study("arrives later")
    study.run_trial(0, [0.9, 0.25])
    engine = running.repository.engine
    session = SessionWriter(engine, running.settings.store_url, attach(engine, "prod"))
    session.begin()
    session.interval()
    session.interval(BETTER, 130.0, unsafe=True)

    row = page.locator(f"#studies tr[data-study='{study.id}']")
    expect(row).to_contain_text("10 % · 55 s left")
    expect(row).to_contain_text("0.2500")
    tuned = page.locator(f"tr[data-session='{session.id}']")
    expect(tuned).to_contain_text("+12.0 %")
    expect(tuned).to_contain_text("1 unsafe")
    expect(page.locator("#nothing")).to_be_hidden()
    expect(page.locator("#looks-card")).to_be_hidden()

    study.fail_trial(1)

    look = page.locator(f"[data-failure='{study.id}']")
    expect(look).to_contain_text("had a trial that failed, of 2")
    expect(look).to_contain_text("ValueError: no rows left")
    study.commit(state=StudyState.COMPLETED, progress=1.0)
    expect(row).to_have_count(0)
    look.get_by_role("link", name="trial 1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Trial 1")
    session.let_go()


def test_markup_and_long_names_are_text_on_the_overview(running: Service, open_page: Open) -> None:
    for name in (SCRIPT_NAME, "n" * 200):
        running.study(name).fail_trial(0)
    page = open_page(running.url, width=400, scheme="dark")

    expect(page.locator("#looks")).to_contain_text(SCRIPT_NAME)
    expect(page.locator("#studies")).to_contain_text("n" * 200)
    assert page.evaluate("window.harmed") is None
    assert page.evaluate(TOO_WIDE) is False


def test_an_older_answer_does_not_take_back_what_an_event_told(running: Service, open_page: Open) -> None:
    study = running.study("overtaken")
    study.run_trial(0, [0.9, 0.25])
    page = open_page(running.url)
    row = page.locator(f"#studies tr[data-study='{study.id}']")
    expect(row).to_contain_text("0.2500")

    page.evaluate(HOLD, "/v1/overview")
    study.fail_trial(1)
    page.wait_for_function(HELD)
    study.run_trial(2, [0.125])
    page.wait_for_timeout(200)
    page.evaluate("release()")

    expect(page.locator(f"[data-failure='{study.id}']")).to_be_visible()
    expect(row).to_contain_text("0.1250", timeout=5_000)
    study.commit(state=StudyState.COMPLETED, progress=1.0)


# A trial


def test_trial_page_tells_why_how_it_went_and_what_it_printed(running: Service, open_page: Open) -> None:
    study = running.study()
    study.run_trial(0, [0.9, 0.5, 0.4])
    study.run_trial(1, [0.7, 0.3, 0.2])
    why = {"rule": "expected improvement", "ei": 0.0125, "mean": 0.31}
    first = JobStarted(Job(2, 2, {"eta": 0.12}, 0, 27, rung=0, bracket=1, why=why))
    lines = "".join(f"epoch {i}\n" for i in range(4000))
    study.commit([first, *reports(2, [0.8, 0.35])], printed=[Printed(2, lines)])
    page = open_page(running.page_of(study))
    page.locator("tr[data-trial='2']").get_by_role("link", name="2").click()

    page.wait_for_function(DRAWN, arg="curve")
    expect(page.get_by_role("heading", level=1)).to_have_text("Trial 2")
    expect(page.locator("#place")).to_have_text("rung 0, bracket 1")
    expect(page.locator("#why")).to_contain_text("the model expects the largest improvement")
    expect(page.locator("#why")).to_contain_text("0.0125")
    drawn = page.evaluate("document.querySelector('#curve-chart').data.map(t => t.y)")
    assert drawn == [[pytest.approx(y) for y in (0.8, 0.4, 0.3)], [0.8, 0.35]]
    expect(page.locator("#log")).to_contain_text("epoch 3999")
    expect(page.locator("#log-on")).to_be_disabled()
    page.locator("#log-back").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#log")).not_to_contain_text("epoch 3999")
    page.locator("#log-first").click()
    expect(page.locator("#log")).to_contain_text("epoch 0\n")
    expect(page.locator("#log-back")).to_be_disabled()
    page.locator("#log-last").click()
    expect(page.locator("#log")).to_contain_text("epoch 3999")

    ended = JobEnded(2, 2, JobEnd.COMPLETED, TrialState.COMPLETED)
    study.commit([*reports(2, [0.8, 0.35, 0.1])[2:], ended], printed=[Printed(2, "the end\n")])

    expect(page.locator("#state")).to_have_text("completed")
    expect(page.locator("#announce")).to_have_text("Trial is completed")
    expect(page.locator("#figures")).to_contain_text("0.1000")
    expect(page.locator("#is-best")).to_have_text("the best so far")
    expect(page.locator("#log")).to_contain_text("the end")
    page.wait_for_function("() => document.querySelector('#curve-chart').data[1].y.length === 3")
    expect(page.locator("#next")).to_be_hidden()

    study.run_trial(3, [0.01])

    expect(page.locator("#next")).to_be_visible()
    expect(page.locator("#is-best")).to_have_text("")


def test_trial_page_shows_failure_lineage_and_gives_its_configuration(running: Service, open_page: Open) -> None:
    study = running.study(SCRIPT_NAME)
    study.fail_trial(0)
    copy = Job(1, 1, {"eta": 0.5}, 3, 27, parent=0, why={"rule": "copy", "instead_of": 7, "rank": 9, "of": 9})
    study.commit([JobStarted(copy)])
    page = open_page(trial_page(running, study), width=400)

    expect(page.locator("#failure")).to_have_text("ValueError: no rows left")
    expect(page.locator("#traceback")).to_contain_text('File "train.py", line 7')
    expect(page.locator("#log")).to_have_text("a log\n")
    expect(page.locator("#curve-empty")).to_contain_text("measured no number")
    # Pages may not write to the clipboard without being asked; then the text itself is offered.
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('refused')); }")
    page.locator("#copy").focus()
    page.keyboard.press("Enter")
    text = page.locator("textarea.to-copy")
    expect(text).to_be_focused()
    assert json.loads(text.input_value()) == {"eta": 0.1}
    assert page.evaluate("window.harmed") is None
    assert page.evaluate(TOO_WIDE) is False

    page.locator("#lineage").get_by_role("link", name="trial 1").click()

    expect(page.locator("#lineage")).to_contain_text("trial 0 (a changed copy at 3 rounds)")
    expect(page.locator("#why")).to_contain_text("A changed copy of trial 0")
    expect(page.locator("#next")).to_be_hidden()


def test_trial_page_gives_the_states_that_are_kept(running: Service, open_page: Open, tmp_path: Path) -> None:
    study = running.study()
    study.commit([started(0), *reports(0, [0.9, 0.5, 0.2])])
    store = CheckpointStore(running.settings.leg().checkpoint_url)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "model").write_text("weights")
    for resource in (3.0, 9.5):
        store.put(study.id, 0, resource, tmp_path / "state", keep={3.0})
    page = open_page(trial_page(running, study))

    links = page.locator("#lineage").get_by_role("link")
    expect(links).to_have_text(["9.5 rounds", "3 rounds"])
    with page.expect_download() as download:
        links.nth(0).click()

    assert download.value.suggested_filename == f"checkpoint-{study.id}-0-9.5.tar"
    with tarfile.open(download.value.path()) as members:
        assert members.getnames() == ["model"]


def test_trial_that_failed_with_nan_draws_what_it_had_measured(running: Service, open_page: Open) -> None:
    study = running.study(objectives=[{"metric": "loss"}, {"metric": "size", "bound": 5.0}])
    problem = "loss: nan is no finite number"
    failed = JobEnded(0, 0, JobEnd.FAILED, TrialState.FAILED, problem)
    study.commit([started(0), *reports(0, [0.5]), failed])
    page = open_page(trial_page(running, study))

    expect(page.locator("#failure")).to_have_text(problem)
    page.wait_for_function(DRAWN, arg="curve")
    expect(page.locator("#figures div", has_text="size").locator(".figure")).to_have_text("\u2013")
    metric = page.get_by_label("Metric of the learning curve")
    metric.select_option("size")
    expect(page.locator("#curve-empty")).to_contain_text("measured no number")

    page.evaluate(HOLD, "metric=size")
    metric.select_option("loss")
    expect(page.locator("#curve-empty")).to_be_hidden()
    metric.select_option("size")
    page.wait_for_function(HELD)
    with page.expect_response("**/curve?metric=loss"):
        metric.select_option("loss")
    page.wait_for_timeout(200)
    page.evaluate("release()")
    page.wait_for_timeout(200)

    # What was chosen last is drawn, whatever came last.
    expect(page.locator("#curve-empty")).to_be_hidden()


def test_trial_whose_study_is_deleted_while_open_says_so(running: Service, open_page: Open) -> None:
    study = running.study()
    study.run_trial(0, [0.9])
    study.commit(state=StudyState.CANCELLED)
    page = open_page(trial_page(running, study), tolerate="404")
    expect(page.locator("#connection")).to_have_text("Live")

    running.repository.delete_study(study.id)

    expect(page.locator("#problem")).to_contain_text("This trial was deleted with its study")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such trial")


# Compare


def test_studies_are_marked_by_keyboard_and_compared(running: Service, open_page: Open) -> None:
    one = running.study("narrow", optimizer={"name": "random"})
    one.run_trial(0, [0.9, 0.4])
    two = running.study("wide", space={"eta": {"type": "float", "low": 0.001, "high": 2.0}})
    two.run_trial(0, [0.8, 0.2])
    page = open_page(f"{running.url}/studies")
    for name in ("narrow", "wide"):
        page.get_by_label(f"Compare {name}", exact=True).focus()
        page.keyboard.press("Space")
    page.get_by_role("link", name="Compare 2").focus()
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 studies")
    for name in ("trials", "seconds", "resource"):
        page.wait_for_function(DRAWN, arg=name)
    expect(page.locator("#results tr", has_text="best value")).to_contain_text("0.40000.2000")
    expect(page.locator("#results tr", has_text="resource spent")).to_contain_text("27 rounds27 rounds")
    specs = page.locator("#specs")
    expect(specs.locator("tr", has_text="eta")).to_contain_text("0.01 to 1, logarithmic")
    expect(specs.locator("tr", has_text="eta")).to_contain_text("0.001 to 2")
    expect(specs).to_contain_text("random")
    expect(specs).not_to_contain_text("silent seconds")
    page.get_by_label("only what differs").uncheck()
    expect(specs).to_contain_text("silent seconds")

    one.run_trial(1, [0.3, 0.1])

    expect(page.locator("#results tr", has_text="best value")).to_contain_text("0.1000")
    page.wait_for_function("() => document.querySelector('#trials-chart').data[0].y.includes(0.1)")


def test_texts_are_told_from_numbers_truth_values_and_nothing(running: Service, open_page: Open) -> None:
    plain = ["adam", "a b", "[CLS]"]
    misleading = ["", " ", "1", "1e-3", "true", "None", "null", '"1"', "[1]"]
    choices = [*plain, *misleading, 1, True]
    shown = [*plain, *map(json.dumps, misleading), "1", "true"]
    space = {"kind": {"type": "categorical", "choices": choices[:12]}}
    study = running.study("kinds", space=space)
    config = {f"p{place}": choice for place, choice in enumerate(choices)}
    study.commit([JobStarted(Job(0, 0, config, 0, 27))])

    page = open_page(trial_page(running, study))
    expect(page.locator("dl.config dd").last).to_have_text(shown[-1])
    assert page.locator("dl.config dd").all_inner_texts() == shown
    page = open_page(compare_page(running, study, running.study("other")))
    expect(page.locator("#specs")).to_contain_text(f"categorical: {', '.join(shown[:12])}")
    script = """async (choices) => {
        const page = document.querySelector("script[type=module]").src;
        const { readList, readValue, writeList, writeValue } = await import(page.replace(/[^/]*$/, "values.js"));
        return [choices.map((choice) => readValue(writeValue(choice))), readList(writeList(choices))];
    }"""
    assert page.evaluate(script, choices) == [choices, choices]


def test_comparison_bears_empty_odd_and_deleted_studies(running: Service, open_page: Open) -> None:
    empty = running.study(SCRIPT_NAME)
    other = running.study("n" * 200, objectives=[{"metric": "error", "direction": "maximize"}])
    page = open_page(compare_page(running, empty, other), width=400, tolerate="404")

    expect(page.locator("#trials-empty")).to_have_text("No study has measured anything yet.")
    expect(page.locator("#best-none")).to_be_visible()
    expect(page.locator("#unlike")).to_contain_text("minimize loss, maximize error")
    expect(page.locator("#results")).to_contain_text("no value yet")
    assert page.evaluate("window.harmed") is None
    assert page.evaluate(TOO_WIDE) is False

    empty.commit(state=StudyState.CANCELLED)
    expect(page.locator("#results tr", has_text="best value").locator("td").first).to_have_text("no value")
    running.repository.delete_study(empty.id)

    expect(page.locator("#problem")).to_contain_text("Study A was deleted")
    expect(page.locator("#results tr", has_text="state")).to_contain_text("deleted")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such study")


def test_more_studies_than_can_be_told_apart_are_not_compared(running: Service, open_page: Open) -> None:
    made = [running.study(f"one of seven {i} {time.time()}") for i in range(7)]
    page = open_page(f"{running.url}/studies", tolerate="422")
    for study in made:
        page.locator(f"tr[data-study='{study.id}'] input").check()

    expect(page.locator("#compare-hint")).to_contain_text("At most 6 studies")
    expect(page.locator("#compare")).to_be_hidden()
    page.get_by_role("button", name="Unmark all").click()
    expect(page.locator(".choosing")).to_be_hidden()
    page.goto(compare_page(running, *made))
    expect(page.get_by_role("heading", level=1)).to_have_text("Choose two to 6 studies")
