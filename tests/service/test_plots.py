"""What is drawn of studies: as data, whatever state a study is in."""

from __future__ import annotations

import csv
import io
import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import Engine

from optimizers.protocol import Incumbent, Job, JobEnd, Report
from service import plots
from service.plots import PLOTS
from service.plots.columns import Columns
from service.plots.drawing import MAX_MARKS
from tests.service.conftest import OWN_SPACE, Runner, Service, ended, sqlite_only, start
from tunewright.client import Client
from tunewright.errors import ApiError
from tunewright.study import TrialState
from tunewright.views import Study
from workers.journal import AttemptStarted, Fact, JobStarted, Reported

pytestmark = sqlite_only
MARKUP = "<b>bold</b>"
NUMBERS = [{"name": name, "type": "float", "low": 0, "high": 1} for name in ("x", "n")]


def run(
    runner: Runner,
    values: list[dict[str, float]],
    *,
    state: TrialState = TrialState.COMPLETED,
    resource: float = 3.0,
    why: dict[str, Any] | None = None,
    first: int = 0,
) -> None:
    """Trials whose configurations spread over the space, in one batch."""
    rng = np.random.default_rng(first)
    facts: list[Fact] = []
    attempts = []
    for number, metrics in enumerate(values, start=first):
        config = {"x": float(rng.random()), "n": int(rng.integers(1, 9)), "flag": bool(rng.random() < 0.5)}
        facts.append(JobStarted(Job(number, number, config, 0.0, resource, rung=0, bracket=number % 2, why=why or {})))
        attempts.append(AttemptStarted(number, 1, "host:1"))
        facts.append(Reported(Report(number, number, resource, metrics), attempt=1))
        facts.append(ended(number, number, state))
    best = min(range(len(values)), key=lambda i: values[i]["loss"])
    incumbent = Incumbent(first + best, {"x": 0.1}, resource, values[best])
    runner.counts = {state: runner.counts.get(state, 0) + len(values)}
    runner.commit(*facts, attempts=attempts, best=[incumbent], improved=True)


def losses(count: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(7)
    return [{"loss": float(loss), "size": float(size)} for loss, size in rng.random((count, 2))]


def plot(service: Service, study: str, name: str, **query: Any) -> dict[str, Any]:
    answer = service.client.get(f"/v1/studies/{study}/plots/{name}", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def names(service: Service, study: str) -> list[str]:
    return [item["name"] for item in service.client.get(f"/v1/studies/{study}/plots").json()]


@pytest.fixture(scope="module")
def service(shared_service: Service) -> Service:
    """One for all tests: each looks at its own studies only, and none changes those of the fixtures."""
    return shared_service


def forty(service: Service) -> str:
    """Forty whole trials of two objectives, and four that were stopped early."""
    made: str = service.create(objectives=[{"metric": "loss"}, {"metric": "size", "direction": "maximize"}])["id"]
    runner = service.runner(made)
    run(runner, losses(40))
    run(runner, losses(4), state=TrialState.STOPPED, resource=1.0, first=40)
    return made


@pytest.fixture(scope="module")
def study(service: Service) -> str:
    return forty(service)


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_of_a_study_without_trials_says_why_it_is_empty(service: Service, name: str) -> None:
    drawn = plot(service, service.create()["id"], name)

    assert drawn["data"] == []
    assert drawn["note"].endswith(".")


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_has_points_axes_and_a_sentence(service: Service, study: str, name: str) -> None:
    drawn = plot(service, study, name)

    assert drawn["data"]
    assert drawn["summary"].endswith(".")
    assert "title" in drawn["x"]
    assert "title" in drawn["y"]


@pytest.fixture(scope="module")
def poor(service: Service) -> tuple[str, ...]:
    """Studies with one trial, with failures only, and with an objective that is constant."""
    one, failed, flat = (service.create()["id"] for _ in range(3))
    run(service.runner(one), losses(1))
    runner = service.runner(failed)
    runner.commit(JobStarted(Job(0, 0, {"x": 0.5, "n": 2, "flag": True}, 0.0, 3.0)))
    runner.commit(ended(0, 0, TrialState.FAILED))
    run(service.runner(flat), [{"loss": 1.0, "size": 1.0}] * 30)
    return one, failed, flat


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_bears_one_trial_failures_and_a_constant_objective(
    service: Service, poor: tuple[str, ...], name: str
) -> None:
    for made in poor:
        drawn = plot(service, made, name)
        assert drawn["data"] or drawn["note"]
        json.dumps(drawn, allow_nan=False)


@pytest.mark.parametrize("name", ["history", "history_time", "history_resource"])
def test_a_whole_value_replaces_a_better_one_at_less_and_says_so(service: Service, name: str) -> None:
    study = service.create()["id"]
    runner = service.runner(study)
    run(runner, [{"loss": 0.1}], state=TrialState.STOPPED, resource=1.0)
    assert plot(service, study, name)["note"] == ""

    run(runner, [{"loss": 0.5}], first=1)

    drawn = plot(service, study, name)
    assert drawn["data"][-1]["y"][:2] == [0.1, 0.5]
    assert "replaces the best at less" in drawn["note"]


def test_the_best_by_resource_spent_knows_what_all_trials_were_trained_for(service: Service, study: str) -> None:
    drawn = plot(service, study, "history_resource")

    (best,) = drawn["data"]
    assert drawn["x"]["title"] == "resource spent (steps)"
    # Forty whole trials of 3, and four that were stopped at 1.
    assert best["x"][-1] == pytest.approx(124, rel=0.05)


def test_only_plots_that_say_something_are_listed(service: Service, study: str) -> None:
    single = service.create()["id"]

    assert {"pareto", "hypervolume"} <= set(names(service, study))
    assert not {"pareto", "hypervolume"} & set(names(service, single))


def test_the_front_has_those_that_no_other_beats(service: Service) -> None:
    study = service.create(objectives=[{"metric": "loss"}, {"metric": "size", "direction": "maximize"}])["id"]
    values = [(0.1, 1.0), (0.2, 2.0), (0.3, 1.5), (0.4, 4.0)]
    run(service.runner(study), [{"loss": loss, "size": size} for loss, size in values])

    front = plot(service, study, "pareto")["data"][-1]

    assert list(zip(front["x"], front["y"], strict=True)) == [(0.1, 1.0), (0.2, 2.0), (0.4, 4.0)]


def test_a_bound_keeps_trials_out_of_the_front(service: Service) -> None:
    objectives = [{"metric": "loss"}, {"metric": "size"}, {"metric": "cost", "bound": 1.0}]
    study = service.create(objectives=objectives)["id"]
    run(service.runner(study), [{"loss": 0.1, "size": 0.1, "cost": 2.0}, {"loss": 0.5, "size": 0.5, "cost": 0.5}])

    assert plot(service, study, "pareto")["data"][-1]["x"] == [0.5]


@pytest.fixture(scope="module")
def bounded(service: Service) -> str:
    """Forty trials whose best losses come with sizes beyond a bound; the bound stands first."""
    study: str = service.create(objectives=[{"metric": "size", "bound": 0.5}, {"metric": "loss"}])["id"]
    runner = service.runner(study)
    run(runner, [{"loss": i / 10, "size": 1.0} for i in range(10)])
    run(runner, [{"loss": 2.0 + i / 10, "size": 0.3} for i in range(30)], first=10)
    return study


@pytest.mark.parametrize("name", ["history", "history_time", "history_resource"])
def test_the_best_so_far_is_of_the_first_goal_and_within_the_bounds(service: Service, bounded: str, name: str) -> None:
    drawn = plot(service, bounded, name)

    assert drawn["y"]["title"] == "loss · lower is better"
    assert set(drawn["data"][-1]["y"]) == {2.0}
    assert "the best is 2, of trial 10" in drawn["summary"]
    assert drawn["note"] == ""


@pytest.mark.parametrize("name", ["importance", "slice", "contour"])
def test_parameters_are_drawn_against_the_first_goal(service: Service, bounded: str, name: str) -> None:
    assert "loss" in plot(service, bounded, name)["summary"]


def test_the_best_lines_are_of_trials_within_the_bounds(service: Service, bounded: str) -> None:
    drawn = plot(service, bounded, "parallel")

    assert drawn["data"][-1]["name"] == "2 to 2.5"
    assert drawn["summary"].startswith("30 whole trials")
    assert drawn["note"] == "10 whole trials that miss a bound are not drawn."


def test_what_is_not_searched_is_no_axis(service: Service) -> None:
    study = service.create(space=NUMBERS)["id"]
    facts: list[Fact] = []
    for number, values in enumerate(losses(20)):
        config = {"x": number / 20, "n": values["size"], "flag": True}
        facts.append(JobStarted(Job(number, number, config, 0.0, 3.0)))
        facts.append(Reported(Report(number, number, 3.0, values), attempt=1))
    service.runner(study).commit(*facts)

    assert plot(service, study, "parallel")["summary"].startswith("20 whole trials over 2 parameters")
    importance = plot(service, study, "importance")
    assert (sorted(importance["data"][0]["y"]), importance["note"]) == (["n", "x"], "")
    offered = {item["name"]: item["parameters"] for item in service.client.get(f"/v1/studies/{study}/plots").json()}
    assert offered["slice"] == ["x", "n"]


def test_choices_that_read_alike_have_places_of_their_own(service: Service) -> None:
    choices = [1, "1", True, "true", "<b>"]
    study = service.create(**OWN_SPACE, space={"kind": {"type": "categorical", "choices": choices}})["id"]
    facts: list[Fact] = []
    for number, choice in enumerate(choices):
        facts.append(JobStarted(Job(number, number, {"kind": choice}, 0.0, 3.0)))
        facts.append(Reported(Report(number, number, 3.0, {"loss": 0.1, "size": 1.0}), attempt=1))
    service.runner(study).commit(*facts)

    drawn = plot(service, study, "slice")
    table = service.client.get(f"/v1/studies/{study}/plots/slice/table").text

    assert drawn["data"][0]["x"] == drawn["x"]["categoryarray"] == ["1", '"1"', "true", '"true"', "&#60;b&#62;"]
    assert "kind = true" in drawn["data"][0]["text"][2]
    assert [row["x"] for row in csv.DictReader(io.StringIO(table))] == ["1", '"1"', "true", '"true"', "<b>"]


def test_the_hypervolume_never_falls_and_is_that_of_two_corners(service: Service) -> None:
    study = service.create(objectives=[{"metric": "loss"}, {"metric": "size"}])["id"]
    run(service.runner(study), [{"loss": 1.0, "size": 1.0}, {"loss": 0.0, "size": 1.0}, {"loss": 1.0, "size": 0.0}])

    covered = plot(service, study, "hypervolume")["data"][0]["y"]

    assert covered == sorted(covered)
    # Of a box of 1.1 by 1.1: one corner, then a strip of 0.1 by 1.1 twice, less where they overlap.
    assert covered == pytest.approx([0.01 / 1.21, 0.11 / 1.21, 0.21 / 1.21])


def test_importance_finds_the_parameter_that_matters(service: Service) -> None:
    study = service.create()["id"]
    runner = service.runner(study)
    rng = np.random.default_rng(0)
    facts: list[Fact] = []
    for number in range(60):
        config = {"x": float(rng.random()), "n": int(rng.integers(1, 9)), "flag": True}
        facts.append(JobStarted(Job(number, number, config, 0.0, 3.0)))
        facts.append(Reported(Report(number, number, 3.0, {"loss": config["x"] ** 2, "size": 1.0}), attempt=1))
        facts.append(ended(number, number, TrialState.COMPLETED))
    runner.commit(*facts)

    drawn = plot(service, study, "importance")

    assert drawn["data"][0]["y"][-1] == "x"
    assert drawn["data"][0]["x"][-1] > 0.8
    assert drawn["summary"].startswith("x matters most")


def test_learned_weights_of_brackets_are_drawn_over_trials(service: Service) -> None:
    study = service.create()["id"]
    run(service.runner(study), losses(5), why={"bracket_weights": [0.7, 0.3]})

    drawn = plot(service, study, "brackets")

    assert [trace["name"] for trace in drawn["data"]] == ["bracket 0", "bracket 1"]
    assert drawn["data"][0]["y"] == [0.7] * 5
    assert "0.70, 0.30" in drawn["summary"]


@pytest.mark.parametrize("weights", ["0.7, 0.3", 0.7, {"0": 0.7}, [0.7, None], [0.7, "most"], [0.7, [0.3]]])
def test_weights_that_are_no_numbers_are_left_out(service: Service, weights: Any) -> None:
    study = service.create()["id"]
    run(service.runner(study), losses(5), why={"bracket_weights": weights})

    drawn = plot(service, study, "brackets")

    assert [trace["type"] for trace in drawn["data"]] == ["bar"]


def test_rungs_count_every_trial_once(service: Service, study: str) -> None:
    drawn = plot(service, study, "rungs")

    reached = {trace["name"]: trace["y"] for trace in drawn["data"]}
    assert drawn["data"][0]["x"] == ["1", "3"]
    assert reached["ended here"] == [4, 40]
    assert reached["went on"] == [40, 0]


def test_jobs_that_ran_at_once_have_places_of_their_own(service: Service) -> None:
    study = service.create()["id"]
    runner = service.runner(study)
    attempts = [AttemptStarted(number, 1, "host:1") for number in range(3)]
    # The first two side by side; the third takes the place of the one that ended first.
    runner.commit(start(0, 0), start(1, 1), attempts=attempts[:2])
    runner.commit(ended(1, 1, TrialState.COMPLETED))
    runner.commit(start(2, 2), attempts=attempts[2:])
    runner.commit(ended(0, 0, TrialState.COMPLETED), ended(2, 2, TrialState.FAILED, JobEnd.FAILED))

    drawn = plot(service, study, "timeline")

    places = {
        text.split("<br>")[0]: (place, seconds)
        for trace in drawn["data"]
        for text, place, seconds in zip(trace["text"], trace["y"], trace["x"], strict=True)
    }
    assert places == {
        "trial 0 from 0 to 3": ("place 1", 3.0),
        "trial 1 from 0 to 3": ("place 2", 1.0),
        "trial 2 from 0 to 3": ("place 2", 1.0),
    }
    assert "3 jobs side by side on at most 2 places" in drawn["summary"]


def test_a_job_takes_a_place_from_when_its_last_attempt_began(service: Service) -> None:
    study = service.create()["id"]
    runner = service.runner(study)
    runner.commit(start(0, 0), start(1, 1), attempts=[AttemptStarted(0, 1, "host:1")])
    # The second waits for a worker until the first has ended.
    runner.at += 60.0
    runner.commit(ended(0, 0, TrialState.COMPLETED))
    runner.commit(attempts=[AttemptStarted(1, 1, "host:1")])
    runner.commit(ended(1, 1, TrialState.COMPLETED))

    drawn = plot(service, study, "timeline")

    (bars,) = drawn["data"]
    assert (bars["base"], bars["x"], bars["y"]) == ([0.0, 62.0], [61.0, 1.0], ["place 1", "place 1"])


def test_a_slice_is_of_the_parameter_asked_for(service: Service, study: str) -> None:
    drawn = plot(service, study, "slice", parameter="n")

    assert drawn["title"] == "Slice: n"
    assert drawn["x"]["title"] == "n"
    assert len(drawn["data"][0]["x"]) == 40


def test_contours_are_of_numbers_unless_others_are_named(service: Service) -> None:
    flag, x, n = ({"name": "flag", "type": "categorical", "choices": [1, 2]}, *NUMBERS)
    alone = service.create(workload="external", space=[flag, x], objectives=[{"metric": "loss"}])["id"]
    both = service.create(workload="external", space=[flag, x, n], objectives=[{"metric": "loss"}])["id"]

    assert "contour" not in names(service, alone)
    assert "contour" in names(service, both)
    assert plot(service, both, "contour")["title"] == "Contour: x and n"
    assert plot(service, both, "contour", parameter="n")["title"] == "Contour: n and x"
    assert plot(service, both, "contour", second="x")["title"] == "Contour: n and x"


def test_contours_need_two_numbers(service: Service, study: str) -> None:
    assert "flag is not a number" in plot(service, study, "contour", parameter="x", second="flag")["note"]
    assert "two different" in plot(service, study, "contour", parameter="x", second="x")["note"]
    surface = plot(service, study, "contour", parameter="x", second="n")["data"][0]
    assert surface["type"] == "contour"
    # A whole number has one row of the grid.
    assert surface["y"] == list(range(1, 10))
    assert (len(surface["z"]), len(surface["z"][0])) == (9, len(surface["x"]))


def test_a_parameter_and_a_plot_that_do_not_exist_are_named(service: Service, study: str) -> None:
    unknown = service.client.get(f"/v1/studies/{study}/plots/slice", params={"parameter": "nope"})
    missing = service.client.get(f"/v1/studies/{study}/plots/pie")
    gone = service.client.get("/v1/studies/0000000000000000/plots/history")

    assert unknown.status_code == 422
    assert '"nope" is not a parameter of the study; known: x, n, flag' in unknown.json()["detail"]
    assert missing.status_code == 404
    assert "known: history" in missing.json()["detail"]
    assert gone.status_code == 404


def test_markup_in_names_is_text(service: Service) -> None:
    space = [
        {"name": MARKUP, "type": "float", "low": 0, "high": 1},
        {"name": "y", "type": "float", "low": 0, "high": 1},
    ]
    study = service.create(**OWN_SPACE, space=space, warm_start=None)["id"]
    runner = service.runner(study)
    facts: list[Fact] = []
    for number in range(20):
        config = {MARKUP: number / 20, "y": 0.5}
        facts.append(JobStarted(Job(number, number, config, 0.0, 3.0)))
        facts.append(Reported(Report(number, number, 3.0, {"loss": number / 7, "size": 1.0}), attempt=1))
    runner.commit(*facts)

    for name in ("importance", "parallel", "slice", "contour", "history"):
        drawn = plot(service, study, name)
        assert drawn["data"], drawn["note"]
        assert "<b>" not in json.dumps([drawn["data"], drawn["x"], drawn["y"]])


def test_a_large_study_is_thinned_and_keeps_its_best(service: Service) -> None:
    study = service.create(budget={"trials": 5_000})["id"]
    values = losses(5_000)
    values[3_210]["loss"] = -1.0
    run(service.runner(study), values)

    drawn = plot(service, study, "history")

    points = [y for trace in drawn["data"] if trace["mode"] == "markers" for y in trace["y"]]
    assert len(points) <= MAX_MARKS
    assert min(points) == -1.0


def test_texts_of_a_table_are_no_formulas_and_numbers_stay_numbers(service: Service) -> None:
    choices = ['=HYPERLINK("http://evil")', "@home", -1, 2.5]
    study = service.create(**OWN_SPACE, space={"kind": {"type": "categorical", "choices": choices}})["id"]
    facts: list[Fact] = []
    for number, choice in enumerate(choices):
        facts.append(JobStarted(Job(number, number, {"kind": choice}, 0.0, 3.0)))
        facts.append(Reported(Report(number, number, 3.0, {"loss": -0.5, "size": 1.0}), attempt=1))
    service.runner(study).commit(*facts)

    table = service.client.get(f"/v1/studies/{study}/plots/slice/table").text

    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["x"] for row in rows] == ['\'=HYPERLINK("http://evil")', "'@home", "-1", "2.5"]
    assert {row["y"] for row in rows} == {"-0.5"}


def test_plots_that_are_asked_for_at_once_read_the_study_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = forty(service)
    read: list[str] = []
    again = threading.Event()

    class Slow(Columns):
        def __init__(self, engine: Engine, study: Study) -> None:
            read.append(study.id)
            if len(read) > 1:
                again.set()
            # Time enough for the others to begin as well, if they did.
            again.wait(0.5)
            super().__init__(engine, study)

    monkeypatch.setattr(plots, "Columns", Slow)
    repository = service.repository
    with ThreadPoolExecutor(3) as pool:
        shown = repository.study(study)
        drawing = [
            pool.submit(plots.draw, repository.engine, shown, name, None, None)
            for name in ("history", "pareto", "parallel")
        ]
        drawn = [each.result() for each in drawing]

    assert all(plot.data for plot in drawn)
    assert read == [study]


def test_points_can_be_had_as_a_table(service: Service, study: str) -> None:
    answer = service.client.get(f"/v1/studies/{study}/plots/slice/table", params={"parameter": "x"})

    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-type"].startswith("text/csv")
    assert 'filename="slice.csv"' in answer.headers["content-disposition"]
    assert len(rows) == 40
    assert all(math.isfinite(float(row["x"])) for row in rows)


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_is_a_figure_in_a_notebook(service: Service, study: str, name: str) -> None:
    from tunewright import plots

    def answer(request: httpx.Request) -> httpx.Response:
        found = service.client.get(request.url.raw_path.decode())
        return httpx.Response(found.status_code, content=found.content, headers={"content-type": "application/json"})

    client = Client("http://testserver", transport=httpx.MockTransport(answer))

    figure = getattr(plots, name)(study, client=client)

    assert len(figure.data) == len(plot(service, study, name)["data"])
    assert figure.layout.title.text
    with pytest.raises(ApiError, match="does not exist"):
        getattr(plots, name)("0000000000000000", client=client)
