"""The page of a study's plots in a real browser, on studies whose journals the test writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.plots import PLOTS
from service.store.repository import Repository
from tests.e2e.test_pages import IN_A_BROWSER, SCRIPT_NAME, TOO_WIDE, Service, browser, expect, open_page, running
from tests.service.conftest import Runner
from tests.service.test_plots import losses, run
from tunewright.study import StudySpec, StudyState

__all__ = ["browser", "open_page", "running"]

pytestmark = IN_A_BROWSER
ALL_DRAWN = (
    """count => [...document.querySelectorAll('.plot-canvas')].filter(node => node.data?.length).length === count"""
)


def study_of(repository: Repository, **fields: Any) -> str:
    spec = {
        "name": "two aims",
        "workload": "bowl",
        "space": {
            "x": {"type": "float", "low": 0, "high": 1},
            "n": {"type": "int", "low": 1, "high": 8},
            "flag": {"type": "categorical", "choices": [True, False]},
        },
        "objectives": [{"metric": "loss"}, {"metric": "size", "direction": "maximize", "unit": "MB"}],
        "fidelity": {"name": "epochs", "max": 3},
        "budget": {"trials": 100},
    }
    return repository.create_study(StudySpec.model_validate({**spec, **fields})).id


@pytest.fixture
def study(running: Service) -> tuple[str, Runner]:
    made = study_of(running.repository)
    runner = Runner.of(running.repository, running.settings.store_url, made)
    run(runner, losses(40), why={"bracket_weights": [0.6, 0.4]})
    return made, runner


def scroll_through(page: Any) -> None:
    for figure in page.locator("figure.chart").all():
        figure.scroll_into_view_if_needed()


def test_every_plot_is_drawn_with_titles_on_its_axes_and_fits_the_window(
    running: Service, open_page: Callable[..., Any], study: tuple[str, Runner]
) -> None:
    page = open_page(f"{running.url}/studies/{study[0]}")
    page.get_by_role("link", name="Plots").click()

    expect(page.locator("figure.chart")).to_have_count(len(PLOTS))
    scroll_through(page)

    page.wait_for_function(ALL_DRAWN, arg=len(PLOTS))
    expect(page.locator("[data-plot=pareto]")).to_contain_text("size (MB) · higher is better")
    assert "matters most" in page.locator("[data-plot=importance] .plot-canvas").get_attribute("aria-label")
    expect(page.locator("[data-plot=brackets]")).to_contain_text("bracket 1")
    assert not page.evaluate(TOO_WIDE)


def test_another_parameter_is_chosen_by_keyboard(
    running: Service, open_page: Callable[..., Any], study: tuple[str, Runner]
) -> None:
    page = open_page(f"{running.url}/studies/{study[0]}/plots")
    page.locator("[data-plot=slice]").scroll_into_view_if_needed()
    expect(page.locator("[data-plot=slice] .xtitle")).to_have_text("x")

    page.get_by_label("Slice: parameter").focus()
    page.keyboard.press("ArrowDown")

    expect(page.locator("[data-plot=slice] .xtitle")).to_have_text("n")


def test_a_plot_that_could_not_be_fetched_is_fetched_again(
    running: Service, open_page: Callable[..., Any], study: tuple[str, Runner]
) -> None:
    page = open_page(f"{running.url}/studies/{study[0]}", tolerate="ERR_FAILED")
    page.route("**/plots/history", lambda route: route.abort())
    page.get_by_role("link", name="Plots").click()
    card = page.locator("[data-plot=history]")
    expect(card.locator(".plot-empty")).to_have_text("The service cannot be reached.")

    page.unroute("**/plots/history")

    expect(card.locator(".xtitle")).to_have_text("trial")


def test_a_plot_is_taken_away(running: Service, open_page: Callable[..., Any], study: tuple[str, Runner]) -> None:
    page = open_page(f"{running.url}/studies/{study[0]}/plots")
    card = page.locator("[data-plot=pareto]")
    card.scroll_into_view_if_needed()

    for name, begins in (("PNG", b"\x89PNG"), ("SVG", b"<svg"), ("CSV", b"trace,x,y")):
        with page.expect_download() as download:
            card.get_by_text(name, exact=True).click()
        assert Path(download.value.path()).read_bytes().startswith(begins), name


def test_a_study_without_trials_says_so_in_every_plot(running: Service, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{running.url}/studies/{study_of(running.repository)}/plots")
    expect(page.locator("figure.chart")).to_have_count(len(PLOTS))
    scroll_through(page)

    expect(page.locator("[data-plot=history] .plot-empty")).to_have_text("Nothing has been measured yet.")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.plot-empty')].every(node => node.textContent !== 'Loading…')"
    )


def test_the_end_of_the_study_is_drawn_without_reload(
    running: Service, open_page: Callable[..., Any], study: tuple[str, Runner]
) -> None:
    page = open_page(f"{running.url}/studies/{study[0]}/plots")
    expect(page.locator("#state")).to_have_text("running")
    expect(page.locator("figure.chart")).to_have_count(len(PLOTS))
    page.wait_for_function("() => document.querySelector('[data-plot=history] .plot-canvas').data?.length")

    run(study[1], losses(5), first=40)
    study[1].finish(StudyState.COMPLETED)

    expect(page.locator("#state")).to_have_text("completed")
    page.wait_for_function(
        """() => document.querySelector('[data-plot=history] .plot-canvas').data
            .filter(t => t.mode === 'markers').reduce((sum, t) => sum + t.x.length, 0) === 45"""
    )


def test_markup_in_names_is_text(running: Service, open_page: Callable[..., Any]) -> None:
    space = {
        SCRIPT_NAME[:60]: {"type": "float", "low": 0, "high": 1},
        **{f"p{i}": {"type": "float", "low": 0, "high": 1} for i in range(60)},
    }
    made = study_of(running.repository, name=SCRIPT_NAME, space=space)
    runner = Runner.of(running.repository, running.settings.store_url, made)
    run(runner, losses(20))

    page = open_page(f"{running.url}/studies/{made}/plots")
    scroll_through(page)

    expect(page.locator(".subtitle")).to_contain_text(SCRIPT_NAME)
    assert page.evaluate("() => window.harmed") is None
    runner.journal.release()


def test_plots_fit_a_narrow_window(running: Service, open_page: Callable[..., Any], study: tuple[str, Runner]) -> None:
    page = open_page(f"{running.url}/studies/{study[0]}/plots", width=400)
    expect(page.locator("figure.chart")).to_have_count(len(PLOTS))
    scroll_through(page)
    page.wait_for_function(ALL_DRAWN, arg=len(PLOTS))

    assert not page.evaluate(TOO_WIDE)
