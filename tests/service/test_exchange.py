"""Studies that are taken away and brought back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from optimizers.protocol import JobEnd
from service import exporting
from service.store import exports, imports
from service.store.engine import writing
from service.store.journal import SqlJournal
from service.store.tables import StudyRow
from tests.service.conftest import Runner, Service, complete_spec, ended, incumbent, report, start
from tunewright.study import Budget, OptimizerSpec, StudyState, TrialState
from workers.journal import Enqueued, JobStarted, Reported
from workers.study_runner import make_optimizer

FORMULA = '=HYPERLINK("http://evil")'


def play(runner: Runner, trials: int, optimizer: str = "random") -> None:
    """A study as its optimizer would have it: every third trial fails."""
    spec = complete_spec(optimizer=OptimizerSpec(name=optimizer)).model_copy(update={"budget": Budget(trials=9)})
    chosen = make_optimizer(spec)
    for n in range(trials):
        job = chosen.next_job()
        assert job is not None
        failed = n % 3 == 2
        reports = [
            report(job.id, job.trial, r, loss=1.0 / (n + r)) for r in range(int(job.start) + 1, int(job.end) + 1)
        ]
        for each in reports:
            chosen.observe(each.report)
        end = JobEnd.FAILED if failed else JobEnd.COMPLETED
        chosen.finish(job.id, end)
        whole = job.end >= 9
        state = TrialState.FAILED if failed else TrialState.COMPLETED if whole else TrialState.WAITING
        problem = FORMULA if failed else None
        runner.commit(JobStarted(job), *reports, ended(job.id, job.trial, state, end, problem=problem))


def over(service: Service, optimizer: str = "random", **fields: Any) -> str:
    study: str = service.create(optimizer=optimizer, budget={"trials": 9}, **fields)["id"]
    runner = service.runner(study)
    play(runner, 6, optimizer)
    trial = service.repository.trials(study, limit=1).items[0]
    runner.counts = {TrialState.COMPLETED: trial.number + 1}
    runner.commit(best=[incumbent(0, 0.5)], improved=True)
    runner.finish()
    return study


def export(service: Service, study: str, **params: str) -> Any:
    answer = service.client.get(f"/v1/studies/{study}/export", params=params)
    assert answer.status_code == 200, answer.text
    return answer


def bring(service: Service, document: Any) -> Any:
    body = document if isinstance(document, (bytes, str)) else json.dumps(document)
    return service.client.post("/v1/studies/import", content=body, headers={"Content-Type": "application/json"})


def external(**fields: Any) -> dict[str, Any]:
    """A document as somebody would write it."""
    spec = {
        "name": "theirs",
        "workload": "external",
        "optimizer": "random",
        "space": [{"name": "x", "type": "float", "low": 0, "high": 1}],
        "objectives": [{"metric": "loss"}],
        "budget": {"trials": 3},
    }
    trials = [
        {
            "number": n,
            "state": "completed",
            "config": {"x": n / 4},
            "reports": [{"resource": 1, "metrics": {"loss": loss}}],
        }
        for n, loss in enumerate([0.5, 0.25, 0.75])
    ]
    return {"format": "tunewright-study", "version": 1, "study": {"spec": {**spec, **fields}}, "trials": trials}


def facts(service: Service, study: str) -> list[Any]:
    return list(SqlJournal(service.settings.store_url, study, 0).load().facts)


def table(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_trials_are_a_table_in_which_texts_are_no_formulas(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "CHUNK", 2)
    monkeypatch.setattr(exporting, "GROUP", 2)
    study = over(service)

    answer = export(service, study)

    rows = table(answer)
    assert answer.headers["content-type"].startswith("text/csv")
    assert f'filename="study-{study}-trials.csv"' in answer.headers["content-disposition"]
    assert [row["trial"] for row in rows] == [str(n) for n in range(6)]
    shown = {trial.number: trial for trial in service.repository.trials(study, limit=10).items}
    for row in rows:
        trial = shown[int(row["trial"])]
        assert float(row["config.x"]) == trial.config["x"]
        assert float(row["metrics.loss"]) == trial.metrics["loss"]
        assert row["state"] == trial.state
        assert row["started_at"] == trial.started_at.isoformat()
    assert {row["problem"] for row in rows} == {"", f"'{FORMULA}"}


def test_negative_numbers_stay_numbers(service: Service) -> None:
    study = service.create(budget={"trials": 1})["id"]
    runner = service.runner(study)
    runner.commit(start(0, 0), report(0, 0, 3.0, loss=-1.5))

    (trial,) = table(export(service, study))
    (row,) = table(export(service, study, what="reports"))

    assert trial["metrics.loss"] == row["metrics.loss"] == "-1.5"
    assert (trial["config.flag"], trial["config.n"]) == ("true", "2")


def test_reports_are_a_table_with_all_that_was_measured(service: Service) -> None:
    study = service.create(budget={"trials": 1})["id"]
    extra = Reported(report(0, 0, 1.0).report.__class__(0, 0, 1.0, {"loss": 1.0, "size": 1.0, "early": 2.0}), 1)
    service.runner(study).commit(start(0, 0), extra, report(0, 0, 2.0), report(0, 0, 3.0, late=True))

    rows = table(export(service, study, what="reports"))

    assert [(row["resource"], row["metrics.early"], row["late"]) for row in rows] == [
        ("1.0", "2.0", "false"),
        ("2.0", "", "false"),
        ("3.0", "", "true"),
    ]


def test_long_curves_are_read_a_few_reports_at_a_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "REPORTS", 2)
    study = service.create(budget={"trials": 3})["id"]
    runner = service.runner(study)
    curves = {0: [1.0, 2.0, 3.0], 1: [], 2: [1.0, 2.0]}
    for trial, resources in curves.items():
        runner.commit(start(trial, trial), *(report(trial, trial, resource) for resource in resources))

    rows = table(export(service, study, what="reports"))
    document = json.loads(export(service, study, format="json").content)

    expected = [(trial, resource) for trial, resources in curves.items() for resource in resources]
    assert [(int(row["trial"]), float(row["resource"])) for row in rows] == expected
    told = [(trial["number"], each["resource"]) for trial in document["trials"] for each in trial["reports"]]
    assert told == expected


def test_a_document_is_sent_in_pieces_of_some_size(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "GROUP_CHARACTERS", 500)
    study = service.repository.study(over(service))
    engine = service.repository.engine

    pieces = list(exporting.export(engine, study, exporting.Format.JSON, exporting.What.TRIALS))

    assert len(pieces) > 5
    assert len(json.loads(b"".join(pieces))["trials"]) == 6


def test_a_study_without_trials_has_a_heading(service: Service) -> None:
    study = service.create()["id"]

    assert export(service, study).text.startswith("trial,state,resource,config.x")
    assert table(export(service, study, what="reports")) == []


@pytest.mark.parametrize("what", ["trials", "reports"])
def test_parquet_holds_what_csv_holds(service: Service, what: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    study = over(service)

    found = parquet.read_table(io.BytesIO(export(service, study, format="parquet", what=what).content))

    rows = table(export(service, study, what=what))
    assert found.column_names == list(rows[0])
    assert found["metrics.loss"].to_pylist() == [float(row["metrics.loss"]) for row in rows]
    assert found["trial"].to_pylist() == [int(row["trial"]) for row in rows]
    if what == "trials":
        assert [moment.isoformat() for moment in found["started_at"].to_pylist()] == [r["started_at"] for r in rows]
        assert set(found["config.flag"].to_pylist()) <= {"True", "False", "1.5", "a"}


def test_an_unknown_study_or_format_is_refused(service: Service) -> None:
    study = service.create()["id"]

    assert service.client.get("/v1/studies/0123456789abcdef/export").status_code == 404
    assert service.client.get(f"/v1/studies/{study}/export?format=xml").status_code == 422


@pytest.mark.parametrize("optimizer", ["random", "asha", "hypertune"])
def test_a_study_comes_back_as_it_was(service: Service, monkeypatch: pytest.MonkeyPatch, optimizer: str) -> None:
    monkeypatch.setattr(exports, "CHUNK", 2)
    monkeypatch.setattr(exports, "REPORTS", 3)
    monkeypatch.setattr(imports, "CHUNK", 7)
    study = over(service, optimizer, tags=["a"], notes="look", priority="high")
    service.repository.note_trial(f"{study}-0", "the first")

    answer = bring(service, export(service, study, format="json").content)

    assert answer.status_code == 201, answer.text
    brought = answer.json()
    before = service.client.get(f"/v1/studies/{study}").json()
    same = ("name", "spec", "tags", "priority", "state", "active_seconds", "started_at", "ended_at")
    assert {name: brought[name] for name in same} == {name: before[name] for name in same}
    assert facts(service, brought["id"]) == facts(service, study)
    assert service.repository.trial(f"{brought['id']}-0").notes == "the first"
    first = service.repository.trials(study, limit=20).items
    again = service.repository.trials(brought["id"], limit=20).items
    differ = {"id": "", "study": ""}
    assert [t.model_copy(update=differ) for t in again] == [t.model_copy(update=differ) for t in first]
    assert [found["id"] for found in service.client.get("/v1/studies?tag=a").json()["items"]] == [brought["id"], study]


def test_an_imported_study_is_extended_and_goes_on_as_the_first_would(service: Service) -> None:
    study = over(service, "asha")
    brought = bring(service, export(service, study, format="json").content).json()["id"]

    for each in (study, brought):
        assert service.client.post(f"/v1/studies/{each}/extend", json={"budget": {"trials": 20}}).status_code == 202

    following = []
    for each in (study, brought):
        record = SqlJournal(service.settings.store_url, each, 0).load()
        optimizer = make_optimizer(record.spec)
        for fact in record.facts:
            if isinstance(fact, JobStarted):
                optimizer.replay(fact.job)
            elif isinstance(fact, Reported):
                optimizer.observe(fact.report)
            elif not isinstance(fact, Enqueued):
                optimizer.finish(fact.job, fact.end)
        following.append([optimizer.next_job() for _ in range(3)])
    assert following[0] == following[1]


def test_how_the_best_changed_comes_along_and_patience_with_it(service: Service) -> None:
    study = service.create(optimizer="asha", budget={"trials": 20, "patience": 3})["id"]
    runner = service.runner(study)
    for n in range(4):
        runner.counts = {TrialState.WAITING: n + 1}
        told = {"best": [incumbent(0, 0.5)], "improved": n == 0}
        runner.commit(start(n, n, end=3.0), report(n, n, 3.0, loss=0.5 + n), ended(n, n, TrialState.WAITING), **told)
    # The first is trained on, and better than it was, when four have been started.
    runner.commit(start(4, 0, begin=3.0, end=9.0), report(4, 0, 9.0, loss=0.25))
    runner.commit(ended(4, 0, TrialState.COMPLETED), best=[incumbent(0, 0.25)], improved=True)

    brought = bring(service, export(service, study, format="json").content)

    assert brought.status_code == 201, brought.text
    shown = [service.client.get(f"/v1/studies/{each}/improvements").json() for each in (study, brought.json()["id"])]
    assert shown[0] == shown[1]
    assert [(entry["trials"], entry["best"]["metrics"]["loss"]) for entry in shown[1]] == [(1, 0.5), (4, 0.25)]
    more = {"budget": {"trials": 20, "patience": 3}}
    assert service.client.post(f"/v1/studies/{brought.json()['id']}/extend", json=more).status_code == 202


def test_a_study_that_was_running_is_over_when_it_is_imported(service: Service) -> None:
    study = service.create()["id"]
    service.runner(study).commit(
        *(start(n, n) for n in range(3)), report(0, 0, 3.0), report(1, 1, 1.0), ended(0, 0, TrialState.WAITING)
    )

    brought = bring(service, export(service, study, format="json").content).json()

    assert brought["state"] == "completed"
    assert "imported; it was running" in brought["reason"]
    assert brought["counts"] == {"stopped": 1, "cancelled": 2}
    states = {trial.number: trial.state for trial in service.repository.trials(brought["id"], limit=5).items}
    assert states == {0: "stopped", 1: "cancelled", 2: "cancelled"}
    service.client.post(f"/v1/studies/{brought['id']}/extend", json={"budget": {"trials": 9}})
    assert service.repository.trial(f"{brought['id']}-0").state is TrialState.WAITING
    open_jobs = SqlJournal(service.settings.store_url, brought["id"], 0).load().attempts
    assert open_jobs == {}


def test_queue_and_earlier_trials_come_along(service: Service) -> None:
    source = over(service)
    study = service.create(warm_start=[source])["id"]
    runner = service.runner(study)
    config = service.client.post(f"/v1/studies/{study}/queue", json={"config": {"n": 3}}).json()["config"]
    service.client.post(f"/v1/studies/{study}/queue", json={"config": {"n": 4}})
    runner.commit(Enqueued(0, config))
    runner.commit(JobStarted(start(0, 0, config=config).job, enqueued=0))
    runner.finish()

    brought = bring(service, export(service, study, format="json").content).json()["id"]

    entries = service.repository.queued(brought, limit=5).items
    assert [(entry.config["n"], entry.trial) for entry in entries] == [(3, f"{brought}-0"), (4, None)]
    before, after = (SqlJournal(service.settings.store_url, each, 0).load() for each in (study, brought))
    assert list(after.earlier) == list(before.earlier) != []
    assert [fact for fact in after.facts if isinstance(fact, Enqueued)] == [Enqueued(0, config)]


def test_results_from_elsewhere_warm_start_a_study(service: Service) -> None:
    brought = bring(service, external())

    assert brought.status_code == 201, brought.text
    shown = brought.json()
    assert (shown["state"], shown["counts"], shown["workload"]) == ("completed", {"completed": 3}, "external")
    assert (shown["best"][0]["trial"], shown["best"][0]["metrics"]) == (1, {"loss": 0.25})
    improvements = service.client.get(f"/v1/studies/{shown['id']}/improvements").json()
    assert [entry["best"]["trial"] for entry in improvements] == [0, 1]
    spec = {**external()["study"]["spec"], "warm_start": [shown["id"]]}
    assert service.client.post("/v1/studies", json=spec).status_code == 201


def test_a_document_that_says_no_time_has_not_started_in_1970(service: Service) -> None:
    study = bring(service, external()).json()

    assert study["started_at"] is None
    assert study["ended_at"] == study["created_at"]


def test_several_objectives_make_a_front(service: Service) -> None:
    document = external(
        objectives=[{"metric": "loss"}, {"metric": "speed", "direction": "maximize"}], optimizer="nsga2"
    )
    points = [(0.5, 1.0), (0.25, 0.5), (0.75, 0.75), (0.5, 1.0)]
    document["trials"] = [
        {
            "number": n,
            "state": "completed",
            "config": {"x": 0.5},
            "reports": [{"resource": 1, "metrics": {"loss": loss, "speed": speed}}],
        }
        for n, (loss, speed) in enumerate(points)
    ]

    # The last is as good as the first: neither beats the other, as with a study that ran here.
    assert [best["trial"] for best in bring(service, document).json()["best"]] == [1, 0, 3]


def improved(document: dict[str, Any], *, behind: bool = False, **changes: Any) -> None:
    best = {"trial": 0, "config": {"x": 0}, "resource": 1, "metrics": {"loss": 0.5}, **changes}
    trials = document.pop("trials")
    entries = [{"at": "2026-01-01T00:00:00Z", "seconds": 1, "trials": 1, "best": best}]
    lists = {"improvements": entries, "trials": trials}
    document |= dict(reversed(lists.items())) if behind else lists


def broken(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    document = external()
    change(document)
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "format: this is no exported study"),
        ({"format": "tunewright-study", "version": 2}, "version: 2 is not known here"),
        (broken(lambda d: d["study"]["spec"].pop("space")), "space"),
        (broken(lambda d: d["study"]["spec"].update(optimizer="asha")), "asha cannot go on from trials"),
        (broken(lambda d: d["study"]["spec"].update(optimizer="magic")), "magic"),
        (broken(lambda d: d["study"]["spec"].update(colour="red")), "study.spec.colour"),
        (broken(lambda d: d.pop("trials")), "trials: there are none"),
        (broken(lambda d: d["trials"][1].update(number=7)), "trials.1.number: it is 7"),
        (broken(lambda d: d["trials"][1]["config"].update(x=2)), 'trials.1.config: parameter "x": 2'),
        (broken(lambda d: d["trials"][1].update(state="great")), "trials.1.state"),
        (broken(lambda d: d["trials"][2].update(reports=[])), "trials.2.reports: a trial that is completed"),
        (broken(lambda d: d["trials"][2]["reports"][0].update(metrics={})), 'no "loss" at resource 1'),
        (broken(lambda d: d["trials"][2]["reports"][0].update(resource=2)), "above fidelity.max (1)"),
        (broken(lambda d: d["trials"][2]["reports"][0].update(resource=-1)), "trials.2.reports.0.resource"),
        (broken(lambda d: d["trials"][2]["reports"].append(d["trials"][2]["reports"][0])), "stands twice"),
        (broken(lambda d: d["trials"][2].update(retry_of=2)), "trials.2.retry_of"),
        (
            broken(
                lambda d: d.update(
                    earlier=[{"source_study": "s", "source_trial": 0, "config": {"x": 0}, "reports": [[1, {}]]}],
                    trials=d.pop("trials"),
                )
            ),
            'earlier.0.reports: no "loss" at resource 1',
        ),
        (
            broken(
                lambda d: d["trials"][1].update(
                    jobs=[{"number": 0, "start": 0, "end": 1, "state": "completed", "seq": 0}]
                )
            ),
            "trials.1.jobs",
        ),
        (broken(lambda d: improved(d, trial=3)), "improvements: there is no trial 3"),
        (broken(lambda d: improved(d, config={"x": 2})), 'improvements.0.best.config: parameter "x": 2'),
        (broken(lambda d: improved(d, metrics={})), 'improvements.0.best.metrics: no "loss" at resource 1'),
        (broken(lambda d: improved(d, behind=True)), "improvements: they stand behind the trials"),
        ('{"format": "tunewright-study", "version": 1, "study": {"spec": NaN}}', "NaN"),
        ("not json", "not JSON"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_document_that_is_wrong_leaves_nothing(shared_service: Service, document: Any, message: str) -> None:
    answer = bring(shared_service, document)

    assert answer.status_code == 422, answer.text
    assert message in answer.json()["detail"]
    with shared_service.repository.engine.connect() as connection:
        assert connection.execute(select(StudyRow.id)).all() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda trial: trial["config"].update(x="much"), "trials.0.config"),
        (lambda trial: trial["reports"][0].update(metrics={"other": 1}), 'trials.0.reports: no "loss" at resource 1'),
    ],
)
def test_a_wrong_first_trial_is_named_before_a_model_sees_it(
    shared_service: Service, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    document = external(optimizer="tpe")
    change(document["trials"][0])

    answer = bring(shared_service, document)

    assert answer.status_code == 422, answer.text
    assert message in answer.json()["detail"]


def test_jobs_that_do_not_fit_together_are_refused(service: Service) -> None:
    document = json.loads(export(service, over(service), format="json").content)

    def renumber(d: dict[str, Any]) -> None:
        for each in d["trials"][2]["jobs"]:
            each["number"] = 77
        for each in d["trials"][2]["reports"]:
            each["job"] = 77

    def wrong(change: Callable[[dict[str, Any]], Any]) -> str:
        changed = json.loads(json.dumps(document))
        change(changed)
        return str(bring(service, changed).json()["detail"])

    assert "job 0 stands twice" in wrong(lambda d: d["trials"][1]["jobs"][0].update(number=0))
    assert "job 2 is missing" in wrong(renumber)
    assert "needs a job of its trial" in wrong(lambda d: d["trials"][1]["reports"][0].update(job=0))
    assert "where it starts or before" in wrong(lambda d: d["trials"][1]["jobs"][0].update(end=0.0001, start=1))
    assert "not as a job ends" in wrong(lambda d: d["trials"][1]["jobs"][0].update(state="bored"))
    assert "does not come before it" in wrong(lambda d: d["trials"][1]["jobs"][0].update(parent=1))
    assert "does not lie between" in wrong(lambda d: d["trials"][1]["reports"][0].update(seq=0))
    assert "does not lie between" in wrong(lambda d: d["trials"][0]["reports"][0].update(seq=10**6))
    assert "does not come after its seq" in wrong(lambda d: d["trials"][0]["jobs"][0].update(end_seq=0))
    assert "either all jobs have a rung" in wrong(lambda d: d["trials"][1]["jobs"][0].update(rung=0))


def test_an_import_that_died_is_cleared_away_by_the_next(service: Service) -> None:
    repository = service.repository
    dead = imports.StudyImport(repository.engine, "0123456789abcdef", complete_spec(), "default")
    dead.begin()
    assert service.client.get("/v1/studies").json()["items"] == []
    with writing(repository.engine) as connection:
        connection.execute(update(StudyRow).values(created_at=1.0))

    bring(service, external())

    with repository.engine.connect() as connection:
        assert len(connection.execute(select(StudyRow.id)).all()) == 1


def test_no_other_bodies_and_none_that_is_too_large(service: Service) -> None:
    plain = service.client.post("/v1/studies/import", content="{}", headers={"Content-Type": "text/plain"})
    large = external(notes="x" * 10_000)
    large["trials"] += [{**large["trials"][0], "number": n, "notes": "y" * 10_000} for n in range(3, 20)]

    assert plain.status_code == 415
    assert len(json.dumps(large)) > service.settings.max_body_bytes
    assert bring(service, large).status_code == 201


def test_variables_of_a_commands_environment_stay_at_home(service: Service) -> None:
    command = {"argv": ["true"], "directory": "/", "environment": {"API_KEY": "canary"}}
    fields = {
        "workload": "command",
        "command": command,
        "space": [{"name": "x", "type": "float", "low": 0, "high": 1}],
        "objectives": [{"metric": "loss"}],
        "fidelity": {"name": "steps", "max": 3},
    }
    study = service.create(**fields)["id"]

    document = export(service, study, format="json").text

    assert "canary" not in document
    assert '"argv":["true"]' in document


def test_a_cancelled_study_stays_cancelled(service: Service) -> None:
    study = service.create()["id"]
    runner = service.runner(study)
    runner.commit(start(0, 0), report(0, 0, 3.0), ended(0, 0, TrialState.CANCELLED, JobEnd.CANCELLED))
    runner.finish(StudyState.CANCELLED)

    assert bring(service, export(service, study, format="json").content).json()["state"] == "cancelled"


def test_a_job_that_is_over_without_a_report_at_its_end_is_no_best(service: Service) -> None:
    document = external(fidelity={"name": "steps", "max": 9})
    at = "2026-01-01T00:00:00Z"
    for trial, end in ((0, 1.0), (1, 9.0)):
        job = {"number": trial, "start": 0, "end": end, "state": "completed", "trial_state": "waiting"}
        job |= {"seq": 10 * trial, "end_seq": 10 * trial + 2, "started_at": at, "ended_at": at}
        one = {"resource": 1, "metrics": {"loss": 0.5}, "job": trial, "seq": 10 * trial + 1}
        document["trials"][trial] |= {"jobs": [job], "reports": [one], "state": "waiting"}
    del document["trials"][2]

    answer = bring(service, document)

    assert answer.status_code == 201, answer.text
    assert answer.json()["best"][0]["trial"] == 0


def test_a_trial_that_was_cut_short_once_it_had_measured_its_end_may_be_the_best(service: Service) -> None:
    study = service.create(optimizer="random")["id"]
    runner = service.runner(study)
    runner.commit(*(start(n, n, end=9.0) for n in range(2)), report(0, 0, 9.0, loss=0.25), report(1, 1, 9.0))
    runner.commit(ended(0, 0, TrialState.STOPPED, JobEnd.CANCELLED), ended(1, 1, TrialState.COMPLETED))
    optimizer = make_optimizer(complete_spec(optimizer=OptimizerSpec(name="random")))
    for fact in facts(service, study):
        if isinstance(fact, JobStarted):
            optimizer.replay(fact.job)
        elif isinstance(fact, Reported):
            optimizer.observe(fact.report)
        else:
            optimizer.finish(fact.job, fact.end)

    brought = bring(service, export(service, study, format="json").content).json()

    assert [best["trial"] for best in brought["best"]] == [best.trial for best in optimizer.best()] == [0]


def test_what_stands_before_the_lists_and_is_not_known_is_not_kept(service: Service) -> None:
    unknown = '"from a newer release": [{}, {}], '
    text = json.dumps(external())

    # Twice: what was kept would be in the way.
    assert bring(service, text.replace("{", "{" + unknown * 2, 1)).status_code == 201
    twice = json.dumps(external()).replace('"version": 1', '"version": 1, "version": 1')
    assert "version: it stands twice" in bring(service, twice).text


def test_a_study_that_goes_on_while_it_is_exported_can_be_imported(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that is under way to the client is promoted, another ends, and a new one begins."""
    monkeypatch.setattr(exports, "CHUNK", 2)
    monkeypatch.setattr(exporting, "GROUP", 1)
    study = service.create(optimizer="asha", budget={"trials": 100})["id"]
    runner = service.runner(study)
    for n in range(4):
        runner.commit(start(n, n, end=1.0), report(n, n, 1.0), ended(n, n, TrialState.WAITING))
    runner.commit(start(4, 4, end=1.0))
    pieces = exporting.export(
        service.repository.engine, service.repository.study(study), exporting.Format.JSON, exporting.What.TRIALS
    )
    text = b""
    while b'"number":1' not in text:
        text += next(pieces)
    runner.commit(start(5, 0, begin=1.0, end=3.0), report(4, 4, 1.0), ended(4, 4, TrialState.WAITING))
    runner.commit(start(6, 5, end=1.0), report(6, 5, 1.0), ended(6, 5, TrialState.WAITING))

    answer = bring(service, text + b"".join(pieces))

    assert answer.status_code == 201, answer.text
    trials = service.repository.trials(answer.json()["id"], limit=10).items
    assert [trial.number for trial in trials] == [4, 3, 2, 1, 0]
    # What had not ended at the place up to which the document tells is over for whoever imports it.
    assert (trials[0].state, trials[0].resource) == (TrialState.CANCELLED, 0.0)


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.999999Z"]
)
@pytest.mark.parametrize("field", ["started_at", "ended_at"])
@pytest.mark.parametrize("whose", ["study", "trials.0"])
def test_a_time_outside_the_calendar_is_refused(shared_service: Service, whose: str, field: str, moment: str) -> None:
    document = external()
    (document["study"] if whose == "study" else document["trials"][0])[field] = moment

    answer = bring(shared_service, document)

    assert answer.status_code == 422, answer.text
    assert f"{whose}.{field}" in answer.text
    assert shared_service.client.get("/v1/studies").json()["items"] == []
