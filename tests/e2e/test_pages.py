"""The pages in a real browser, on a running service whose studies a test writes itself, batch by batch."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import service.app
from optimizers.protocol import Incumbent, Job, JobEnd, Report
from service.app import create_app
from service.conducting import Conducting
from service.settings import ServiceSettings
from service.store import leases
from service.store.engine import migrate, open_engine
from service.store.journal import SqlJournal
from service.store.repository import Repository
from tunewright.study import StudySpec, StudyState, TrialState
from workers.journal import Batch, Fact, JobEnded, JobStarted, Printed, Reported, Status

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
expect.set_options(timeout=45_000)

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCRIPT_NAME = "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>"

# What tests need that open pages.
IN_A_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium: apt-get install chromium"),
]
pytestmark = IN_A_BROWSER
TOO_WIDE = "document.scrollingElement.scrollWidth > document.documentElement.clientWidth"


# Keeps back the answers to requests whose address holds a text, until `release()` is called.
HOLD = """part => {
    const real = fetch;
    window.held = [];
    window.fetch = async (path, ...rest) => {
        const answer = await real(path, ...rest);
        if (path.includes(part)) await new Promise((go) => window.held.push(go));
        return answer;
    };
    window.release = () => {
        window.fetch = real;
        window.held.forEach((go) => go());
    };
}"""
HELD = "() => window.held.length > 0"


class IdleConductor:
    """Starts nothing, so that studies change only when a test says so."""

    problem: str | None = None
    alive = True

    def __init__(self, *_parts: Any, **_settings: Any) -> None:
        pass

    def start(self) -> None:
        pass

    def nudge(self, study: str | None = None) -> None:
        pass

    def facts(self) -> Conducting:
        return Conducting(problem="the cluster is away", ails="cluster")

    def stop(self) -> None:
        pass


class Service:
    """The service in a thread of this process, under an address that stays the same when it is started again."""

    def __init__(self, data_dir: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.settings = ServiceSettings(data_dir=data_dir, port=port)
        self.url = f"http://127.0.0.1:{port}"
        data_dir.mkdir(parents=True, exist_ok=True)
        engine = open_engine(self.settings.store_url)
        migrate(engine)
        self.repository = Repository(engine)

    def start(self) -> None:
        config = uvicorn.Config(
            create_app(self.settings), port=self.settings.port, log_level="warning", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.settings.port)) == 0:
                    return
        raise TimeoutError("the service did not start")

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=20)

    def study(self, name: str = "digits", **fields: Any) -> Writer:
        spec = {
            "name": name,
            "workload": "xgboost",
            "space": {"eta": {"type": "float", "low": 0.01, "high": 1.0, "log": True}},
            "objectives": [{"metric": "loss"}],
            "fidelity": {"name": "rounds", "max": 27},
            "budget": {"trials": 10},
            "parallel": 2,
        }
        study = self.repository.create_study(StudySpec.model_validate({**spec, **fields}))
        return Writer(self.repository, self.settings.store_url, study.id)

    def page_of(self, study: Writer) -> str:
        return f"{self.url}/studies/{study.id}"


class Writer:
    """Writes one study's journal, as its runner would."""

    def __init__(self, repository: Repository, url: str, study_id: str) -> None:
        self.id = study_id
        epoch = leases.acquire(repository.engine, leases.study_lease(study_id), "test", seize=True)
        assert epoch is not None
        self._journal = SqlJournal(url, study_id, epoch)
        self._batch = 0
        self._states: dict[int, TrialState] = {}
        self._best: Incumbent | None = None
        self._began = time.time()

    def age(self, seconds: float) -> None:
        """Let its clock go on by so much."""
        self._began -= seconds

    def commit(
        self,
        facts: Sequence[Fact] = (),
        state: StudyState = StudyState.RUNNING,
        progress: float = 0.0,
        reason: str | None = None,
        printed: Sequence[Printed] = (),
    ) -> None:
        improved = False
        for fact in facts:
            match fact:
                case JobStarted(job):
                    self._states[job.trial] = TrialState.RUNNING
                case JobEnded(trial=trial, trial_state=trial_state):
                    self._states[trial] = trial_state
                case Reported(report):
                    if self._best is None or report.metrics["loss"] < self._best.metrics["loss"]:
                        config = {"eta": 0.1 + report.trial / 100}
                        self._best = Incumbent(report.trial, config, report.resource, report.metrics)
                        improved = True
        self._batch += 1
        states = list(self._states.values())
        status = Status(
            state=state,
            active_seconds=time.time() - self._began,
            reason=reason,
            counts={name: states.count(name) for name in TrialState if name in states},
            progress=progress,
            seconds_left=None if progress == 0 or state.final else 60 * (1 - progress),
            best=[self._best] if self._best else [],
        )
        self._journal.commit(Batch(self._batch, time.time(), facts, [], status, improved, printed))

    def run_trial(self, trial: int, losses: Sequence[float], end: JobEnd | None = JobEnd.COMPLETED) -> None:
        """A whole trial in one batch; `end` None leaves it running."""
        facts: list[Fact] = [started(trial), *reports(trial, losses)]
        if end is not None:
            facts.append(JobEnded(trial, trial, end, TrialState.COMPLETED))
        self.commit(facts, progress=min(0.9, (trial + 1) / 10))

    def fail_trial(self, trial: int) -> None:
        traceback = 'Traceback (most recent call last):\n  File "train.py", line 7, in run\nValueError: no rows left\n'
        end = JobEnded(trial, trial, JobEnd.FAILED, TrialState.FAILED, "ValueError: no rows left", traceback)
        self.commit([started(trial), end], printed=[Printed(trial, "a log\n")])


def started(trial: int) -> JobStarted:
    return JobStarted(Job(trial, trial, {"eta": 0.1 + trial / 100}, 0, 27, rung=0, bracket=0))


def reports(trial: int, losses: Sequence[float]) -> list[Reported]:
    return [Reported(Report(trial, trial, i + 1, {"loss": loss}), 1) for i, loss in enumerate(losses)]


@contextmanager
def serving(directory: Path, conductor: Any) -> Iterator[Service]:
    """A service whose conductor is of this kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service.app, "Conductor", conductor)
        running = Service(directory)
        running.start()
        yield running
        running.stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that starts nothing, for all tests of a module."""
    with serving(tmp_path_factory.mktemp("pages"), IdleConductor) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browsing context for all tests, so that it has Plotly in its cache."""
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser.new_context()
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages; at the end none of them may have written an error (a CSP violation is one) to its console."""
    with ExitStack() as pages:
        errors: list[str] = []

        def open_page(url: str, width: int = 1400, scheme: str = "light", tolerate: str = "^$") -> Any:
            page = browser.new_page()
            pages.callback(page.close)
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            page.set_default_timeout(45_000)

            def note(text: str) -> None:
                if not re.search(tolerate, text):
                    errors.append(text)

            page.on("console", lambda message: note(message.text) if message.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: note(str(error)))
            page.goto(url)
            return page

        yield open_page
        assert errors == []


def wait_for_curve_points(page: Any, points: int) -> None:
    page.wait_for_function(
        """points => (document.querySelector('#curves-chart').data ?? [])
            .reduce((sum, t) => sum + t.x.filter(x => x !== null).length, 0) === points""",
        arg=points,
    )


def test_study_page_draws_both_charts_the_table_and_the_progress(
    running: Service, open_page: Callable[..., Any]
) -> None:
    study = running.study()
    study.run_trial(0, [0.9, 0.5, 0.4])
    study.run_trial(1, [0.8, 0.6])

    page = open_page(running.page_of(study))

    expect(page.locator("#curves-chart .scatterlayer .trace")).not_to_have_count(0)
    expect(page.locator("#best-chart .scatterlayer .trace")).not_to_have_count(0)
    wait_for_curve_points(page, 5)
    expect(page.locator("#curves-chart")).to_contain_text("rounds")
    expect(page.locator("#best-chart")).to_contain_text("active time (s)")
    expect(page.locator("#trials tbody tr[data-trial]")).to_have_count(2)
    expect(page.locator("#progress")).to_have_attribute("aria-valuenow", "20")
    expect(page.locator("#progress-left")).to_have_text("about 50 s left")
    expect(page.locator("#figures")).to_contain_text("0.4000")
    expect(page.locator("#best-config")).to_contain_text("eta")
    page.locator("#best-chart .points path").last.hover(force=True)
    expect(page.locator("#best-chart .hoverlayer")).to_contain_text("trial 0 at 3 rounds")


def test_the_best_is_of_the_first_objective_without_a_bound(running: Service, open_page: Callable[..., Any]) -> None:
    study = running.study("bounded", objectives=[{"metric": "size", "bound": 9.0}, {"metric": "loss"}])
    facts = [Reported(Report(0, 0, i + 1, {"size": 7.0, "loss": loss}), 1) for i, loss in enumerate([0.9, 0.4])]
    study.commit([started(0), *facts])
    page = open_page(running.page_of(study))
    wait_for_curve_points(page, 2)

    expect(page.locator("#figures")).to_contain_text("Best loss0.4000")
    expect(page.locator("tr[data-trial='0']")).to_contain_text("0.4000")
    for chart in ("#best-chart", "#curves-chart"):
        expect(page.locator(chart)).to_contain_text("loss · lower is better")
    assert page.evaluate("document.querySelector('#curves-chart').data.flatMap(t => t.y).includes(0.9)")
    page.goto(f"{running.url}/studies")
    expect(page.locator(f"tr[data-study='{study.id}']")).to_contain_text("0.4000loss")
    page.goto(f"{running.url}/compare?study={study.id}&study={running.study().id}")
    expect(page.locator("#results tr", has_text="best value").locator("td").first).to_have_text("0.4000")
    expect(page.locator("#unlike")).to_be_hidden()
    page.goto(f"{running.url}/trials/{study.id}-0")
    expect(page.locator("#metric")).to_have_value("loss")


def test_first_moments_that_would_flatten_the_best_so_far_are_left_out_and_said(
    running: Service, open_page: Callable[..., Any]
) -> None:
    study = running.study()
    losses = [0.99, 0.5, 0.2, 0.19, 0.18]
    study.commit([started(0)])
    for i, passing in enumerate([0, 0, 0, 1000, 1000]):
        study.age(passing)
        study.commit(reports(0, losses)[i : i + 1], progress=0.5)

    page = open_page(running.page_of(study))

    expect(page.locator("#best-hint")).to_have_text("the first 2 values, from 0.9900, lie outside")
    low, high = page.evaluate("() => document.querySelector('#best-chart').layout.yaxis.range")
    assert 0.17 < low < 0.18 < 0.2 < high < 0.21
    # The points themselves stay there for whoever zooms out.
    assert page.evaluate("() => document.querySelector('#best-chart').data[1].y") == losses


def test_best_values_that_do_not_flatten_are_all_shown(running: Service, open_page: Callable[..., Any]) -> None:
    study = running.study()
    study.commit([started(0)])
    for i in range(3):
        study.age(500)
        study.commit(reports(0, [0.9, 0.6, 0.3])[i : i + 1], progress=0.5)

    page = open_page(running.page_of(study))

    expect(page.locator("#best-chart .points path")).to_have_count(3)
    expect(page.locator("#best-hint")).to_have_text("")


def test_study_page_follows_the_study_without_reload(running: Service, open_page: Callable[..., Any]) -> None:
    study = running.study()
    study.commit([started(0), *reports(0, [0.9])], progress=0.1)
    page = open_page(running.page_of(study))
    page.evaluate("window.sameDocument = true")
    wait_for_curve_points(page, 1)
    page.locator("#curves-chart .points path").hover(force=True)
    expect(page.locator("#curves-chart .hoverlayer")).to_contain_text("trial 0 at 1 rounds")

    study.commit(reports(0, [0.9, 0.7, 0.3])[1:], progress=0.5)
    study.commit([JobEnded(0, 0, JobEnd.COMPLETED, TrialState.COMPLETED), started(1)], progress=0.6)

    wait_for_curve_points(page, 3)
    expect(page.locator("#progress")).to_have_attribute("aria-valuenow", "60")
    expect(page.locator("#progress-left")).to_have_text("about 25 s left")
    expect(page.locator("tr[data-trial='0']")).to_contain_text("completed")
    expect(page.locator("tr[data-trial='0']")).to_contain_text("0.3000")
    expect(page.locator("#trials tbody tr[data-trial]").first).to_contain_text("running")
    page.wait_for_function("() => document.querySelector('#best-chart').data[0].y.at(-1) === 0.3")

    study.commit(state=StudyState.COMPLETED, progress=1.0, reason="the target of 0.3 is reached")

    expect(page.locator("#state")).to_have_text("completed")
    expect(page.locator("#announce")).to_have_text("Study is completed")
    expect(page.locator("#reason")).to_have_text("The target of 0.3 is reached.")
    expect(page.locator("#progress")).to_have_attribute("aria-valuenow", "100")
    expect(page.locator("#pause")).to_be_hidden()
    assert page.evaluate("window.sameDocument") is True


def test_a_changed_copy_of_a_trial_is_listed_as_it_begins(running: Service, open_page: Callable[..., Any]) -> None:
    study = running.study(optimizer="pbt")
    study.run_trial(0, [0.9, 0.7, 0.3])
    page = open_page(running.page_of(study))
    expect(page.locator("tr[data-trial='0']")).to_contain_text("completed")
    expect(page.locator("#connection")).to_have_text("Live")

    study.commit([JobStarted(Job(1, 1, {"eta": 0.5}, 3, 6, rung=1, parent=0))])

    expect(page.locator("#trials tbody tr[data-trial]").first).to_have_attribute("data-trial", "1")
    expect(page.locator("tr[data-trial='1']")).to_contain_text("running")


@pytest.mark.parametrize("width", [320, 1400])
def test_pages_fit_the_window_also_with_a_long_name(
    running: Service, open_page: Callable[..., Any], width: int
) -> None:
    study = running.study("n" * 200, objectives=[{"metric": "loss"}, {"metric": "m" * 100}])
    study.commit([started(0), *reports(0, [0.9, 0.2])])
    study.fail_trial(1)
    page = open_page(running.page_of(study), width=width)
    wait_for_curve_points(page, 2)
    page.get_by_role("button", name="Trial 1, details").click()
    expect(page.locator(".detail-body")).to_be_visible()

    assert page.evaluate(TOO_WIDE) is False

    page.goto(f"{running.url}/studies")
    expect(page.locator("#studies tbody tr").first).to_be_visible()
    assert page.evaluate(TOO_WIDE) is False

    for path in (f"/trials/{study.id}-1", f"/studies/{study.id}/plots"):
        page.goto(running.url + path)
        expect(page.locator("[aria-busy=true]")).to_have_count(0)
        assert page.evaluate(TOO_WIDE) is False, path


def test_colours_follow_the_system_on_the_page_and_in_the_charts(
    running: Service, open_page: Callable[..., Any]
) -> None:
    study = running.study()
    study.run_trial(0, [0.9, 0.5])
    page = open_page(running.page_of(study))
    look = """() => [getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.body).color,
        document.querySelector('#best-chart').data?.[0].line.color]"""
    wait_for_curve_points(page, 2)
    light = page.evaluate(look)

    page.emulate_media(color_scheme="dark")

    page.wait_for_function(
        "before => document.querySelector('#best-chart').data[0].line.color !== before", arg=light[2]
    )
    dark = page.evaluate(look)
    assert all(a != b for a, b in zip(light, dark, strict=True))


def test_study_list_shows_new_studies_and_their_progress_live(running: Service, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{running.url}/studies")
    expect(page.locator("#connection")).to_have_text("Live")

    study = running.study("arrives later")
    study.run_trial(0, [0.9, 0.25])

    row = page.locator(f"tr[data-study='{study.id}']")
    expect(row).to_contain_text("arrives later")
    expect(row).to_contain_text("running")
    expect(row).to_contain_text("0.2500")
    expect(row.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "10")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("arrives later")


def test_study_list_is_loaded_page_by_page_and_says_when_it_cannot(
    tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    with serving(tmp_path, IdleConductor) as alone:
        studies = [alone.study(f"study {n}").id for n in range(52)]
        page = open_page(f"{alone.url}/studies", tolerate="ERR_FAILED")
        rows = page.locator("#studies tbody tr")
        expect(rows).to_have_count(50)
        page.route("**/v1/studies?*cursor=*", lambda route: route.abort())

        page.locator("#more").click()
        expect(page.locator("#problem")).to_be_visible()
        expect(rows).to_have_count(50)
        page.unroute("**/v1/studies?*cursor=*")
        page.locator("#more").click()

        expect(rows).to_have_count(52)
        assert [row.get_attribute("data-study") for row in rows.all()] == studies[::-1]
        expect(page.locator("#more")).to_be_hidden()
        expect(page.locator("#problem")).to_be_hidden()
        page.close()  # before its service: it would complain of lost requests


def test_keyboard_alone_steers_a_study(running: Service, open_page: Callable[..., Any]) -> None:
    study = running.study()
    study.run_trial(0, [0.9], end=None)
    page = open_page(running.page_of(study))
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
    expect(page.locator("#reason")).to_contain_text("Pausing")
    assert running.repository.study(study.id).wanted == "pause"
    tab_to(".expander")
    page.keyboard.press("Space")
    expect(page.locator(".detail-body")).to_be_visible()
    page.keyboard.press("Shift+Tab")
    page.locator("#cancel").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert running.repository.study(study.id).wanted == "pause"
    page.keyboard.press("Enter")
    tab_to("#confirm-yes")
    page.keyboard.press("Enter")
    expect(page.locator("#cancel")).to_be_hidden()
    assert running.repository.study(study.id).wanted == "cancel"


def test_empty_study_says_what_it_waits_for(running: Service, open_page: Callable[..., Any]) -> None:
    page = open_page(running.page_of(running.study()))

    expect(page.locator("#best-empty")).to_contain_text("No reports yet")
    expect(page.locator("#curves-empty")).to_contain_text("No reports yet")
    expect(page.locator("#trials-empty")).to_contain_text("No trials yet")
    expect(page.locator("#state")).to_have_text("queued")


def test_study_that_stands_still_says_why_and_shows_its_tags(running: Service, open_page: Callable[..., Any]) -> None:
    writer = running.study(priority="high", tags=["nightly", "<b>wild</b>"])
    page = open_page(running.page_of(writer))

    expect(page.locator("#findings")).to_be_hidden()
    expect(page.locator("#findings")).to_be_visible()
    expect(page.locator("#findings li").first).to_contain_text("the cluster is away")
    expect(page.locator("#findings li").first).to_have_attribute("data-severity", "problem")
    expect(page.locator("#priority")).to_have_text("high priority")
    expect(page.locator("#tags li")).to_have_text(["nightly", "<b>wild</b>"])

    listed = open_page(f"{running.url}/studies")
    row = listed.locator(f"tr[data-study='{writer.id}']")
    expect(row.locator(".tag")).to_have_text(["nightly", "<b>wild</b>"])
    expect(row).to_contain_text("high priority")


def test_failed_trial_shows_its_problem_and_its_traceback(running: Service, open_page: Callable[..., Any]) -> None:
    study = running.study()
    study.fail_trial(0)
    study.commit(state=StudyState.FAILED, reason="all trials failed")

    page = open_page(running.page_of(study))

    expect(page.locator("tr[data-trial='0']")).to_contain_text("ValueError: no rows left")
    expect(page.locator("#curves-empty")).to_contain_text("the only trial failed")
    page.get_by_role("button", name="Trial 0, details").click()
    expect(page.get_by_role("region", name="Traceback of job 0")).to_contain_text('File "train.py", line 7')


def test_markup_in_names_is_text(running: Service, open_page: Callable[..., Any]) -> None:
    study = running.study(
        SCRIPT_NAME,
        objectives=[{"metric": "loss", "unit": "<b>%{x}</b>"}],
        fidelity={"name": "<i>rounds</i>", "max": 27},
    )
    study.run_trial(0, [0.9, 0.5])
    page = open_page(running.page_of(study))
    wait_for_curve_points(page, 2)

    expect(page.get_by_role("heading", level=1)).to_have_text(SCRIPT_NAME)
    expect(page.locator("#curves-chart")).to_contain_text("<i>rounds</i>")
    expect(page.locator("#curves-chart")).to_contain_text("<b>%{x}</b>")
    page.goto(f"{running.url}/studies")
    expect(page.locator(f"tr[data-study='{study.id}']")).to_contain_text(SCRIPT_NAME)
    assert page.evaluate("window.harmed") is None


def test_older_trials_are_loaded_by_pages(running: Service, open_page: Callable[..., Any]) -> None:
    study = running.study(budget={"trials": 500})
    study.commit([fact for trial in range(130) for fact in (started(trial), *reports(trial, [1 / (trial + 1)]))])
    page = open_page(running.page_of(study), tolerate="ERR_|Failed to load")
    expect(page.locator("#trials tbody tr[data-trial]")).to_have_count(100)

    page.get_by_role("button", name="Load more").click()

    expect(page.locator("#trials tbody tr[data-trial]")).to_have_count(130)
    expect(page.locator("#more")).to_be_hidden()
    study.commit([started(130)])
    page.route("**/trials?limit=100", lambda route: route.abort())
    page.get_by_role("button", name="Show 1 newer").click()
    expect(page.locator("#connection")).to_have_text("Connection lost, trying again")
    page.unroute("**/trials?limit=100")
    expect(page.locator("#trials tbody tr[data-trial]").first).to_have_attribute("data-trial", "130")
    expect(page.locator("#trials tbody tr[data-trial]")).to_have_count(100)


def test_events_that_arrive_while_trials_are_fetched_are_not_lost(
    running: Service, open_page: Callable[..., Any]
) -> None:
    study = running.study(budget={"trials": 500})
    study.commit([fact for trial in range(130) for fact in (started(trial), *reports(trial, [1.0]))])
    page = open_page(running.page_of(study))
    expect(page.locator("#connection")).to_have_text("Live")
    page.evaluate(f"""() => {{
        window.seen = 0;
        new EventSource("/v1/events?study={study.id}").addEventListener("progress", () => (window.seen += 1));
    }}""")

    def end_during(part: str, button: str, trial: int, newer: int) -> None:
        page.evaluate(HOLD, part)
        page.get_by_role("button", name=button).click()
        page.wait_for_function(HELD)
        seen = page.evaluate("window.seen")
        study.commit([JobEnded(trial, trial, JobEnd.COMPLETED, TrialState.COMPLETED), started(newer)])
        page.wait_for_function("seen => window.seen > seen", arg=seen)
        page.wait_for_timeout(200)
        page.evaluate("release()")
        expect(page.locator(f"tr[data-trial='{trial}']")).to_contain_text("completed")

    end_during("&cursor=", "Load more", 5, 130)
    end_during("/trials?limit=100", "Show 1 newer", 128, 131)

    expect(page.locator("#trials tbody tr[data-trial]").first).to_have_attribute("data-trial", "131")


def test_list_does_not_go_back_to_an_older_answer(running: Service, open_page: Callable[..., Any]) -> None:
    study = running.study()
    study.run_trial(0, [0.9])
    page = open_page(f"{running.url}/studies")
    row = page.locator(f"tr[data-study='{study.id}']")
    expect(row).to_contain_text("running")

    page.evaluate("() => void (window.real = fetch)")
    page.evaluate(HOLD, f"/v1/studies/{study.id}")
    study.commit(state=StudyState.PAUSED)
    page.wait_for_function(HELD)
    page.evaluate("() => void (window.fetch = window.real)")
    study.commit(state=StudyState.COMPLETED)
    expect(row).to_contain_text("completed")
    page.evaluate("release()")
    # Drawn once more, whatever is known by now.
    page.wait_for_timeout(100)
    study.commit(reports(0, [0.9, 0.125])[1:], state=StudyState.COMPLETED)

    expect(row).to_contain_text("0.1250")
    expect(row).to_contain_text("completed")


def test_page_that_opens_in_the_background_lets_its_connection_go(
    running: Service, open_page: Callable[..., Any]
) -> None:
    page = open_page("about:blank")
    page.add_init_script("Object.defineProperty(document, 'hidden', {get: () => window.seen !== true})")
    page.clock.install()
    page.goto(running.page_of(running.study()))
    expect(page.locator("#connection")).to_have_text("Live")

    page.clock.fast_forward(31_000)

    expect(page.locator("#connection")).to_have_text("Paused while hidden")
    page.evaluate("window.seen = true; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#connection")).to_have_text("Live")


def test_old_study_that_changes_stays_where_it_belongs(running: Service, open_page: Callable[..., Any]) -> None:
    old = running.study("old")
    for number in range(50):
        running.study(f"between {number}")
    page = open_page(f"{running.url}/studies")
    expect(page.locator("#connection")).to_have_text("Live")
    first = page.locator("#studies tbody tr").first

    old.run_trial(0, [0.5])
    new = running.study("new")
    expect(first).to_contain_text("new")
    expect(first.locator("td").last).to_have_text("\u2013")
    new.run_trial(0, [0.5])
    expect(first.locator("td").last).not_to_have_text("\u2013")

    expect(page.locator(f"tr[data-study='{old.id}']")).to_have_count(0)
    page.locator("#more").click()
    expect(page.locator(f"tr[data-study='{old.id}']")).to_contain_text("0.5000")
    moments = """async () => {
        const page = document.querySelector("script[type=module]").src;
        const { moment } = await import(page.replace(/[^/]*$/, "format.js"));
        const now = new Date();
        const other = new Date(now.getFullYear(), now.getMonth() === 5 ? 6 : 5, 15);
        return [moment(new Date(2019, 5, 15).toISOString()), moment(other.toISOString()), String(now.getFullYear())];
    }"""
    before, this_year, year = page.evaluate(moments)
    assert "2019" in before
    assert year not in this_year


def test_lost_connection_is_shown_and_caught_up(running: Service, open_page: Callable[..., Any]) -> None:
    study = running.study()
    study.commit([started(0), *reports(0, [0.9])])
    page = open_page(running.page_of(study), tolerate="ERR_|Failed to load")
    wait_for_curve_points(page, 1)
    expect(page.locator("#connection")).to_have_text("Live")

    running.stop()
    expect(page.locator("#connection")).to_have_text("Connection lost, trying again")
    study.commit(reports(0, [0.9, 0.7, 0.1])[1:], progress=0.4)
    running.start()

    expect(page.locator("#connection")).to_have_text("Live")
    wait_for_curve_points(page, 3)
    expect(page.locator("#progress")).to_have_attribute("aria-valuenow", "40")


def test_a_service_that_answers_with_a_problem_is_not_taken_for_a_lost_connection(
    running: Service, open_page: Callable[..., Any]
) -> None:
    study = running.study()
    page = open_page(running.page_of(study), tolerate="503")
    expect(page.locator("#connection")).to_have_text("Live")
    problem = {"title": "The store cannot be used now", "detail": "Nothing was changed; try again."}

    page.route("**/v1/studies/*", lambda route: route.fulfill(status=503, json=problem))
    study.commit(state=StudyState.PAUSED)

    told = "The store cannot be used now. Nothing was changed; try again."
    expect(page.locator("#connection")).to_have_text(told)
    page.unroute("**/v1/studies/*")
    expect(page.locator("#connection")).to_have_text("Live")
    expect(page.locator("#state")).to_have_text("paused")


def test_deleted_study_says_so(running: Service, open_page: Callable[..., Any]) -> None:
    study = running.study()
    study.commit(state=StudyState.CANCELLED)
    page = open_page(running.page_of(study), tolerate="404")
    expect(page.locator("#connection")).to_have_text("Live")

    running.repository.delete_study(study.id)

    expect(page.locator("#problem")).to_contain_text("This study was deleted")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such study")
