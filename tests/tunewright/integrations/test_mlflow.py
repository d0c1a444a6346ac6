"""Studies as runs of MLflow, in a store of MLflow's own. Needs an installed MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from optimizers.protocol import Report
from tests.service.conftest import ended, incumbent, report, start
from tests.tunewright.live_service import LiveService
from tunewright.client import Client
from tunewright.study import Objective, StudyState, TrialState
from tunewright.views import Study, Trial
from workers.journal import Reported

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed; pip install mlflow-skinny")

from tunewright.integrations.mlflow import TRIAL_TAG, log_study  # noqa: E402

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return mlflow.MlflowClient(tracking_uri=f"file://{tmp_path / 'mlruns'}")


def run_some(service: LiveService, state: StudyState) -> Study:
    study = service.create()
    runner = service.runner(study)
    runner.counts = {TrialState.COMPLETED: 1, TrialState.FAILED: 1}
    runner.commit(
        start(0, 0),
        start(1, 1),
        report(0, 0, 1.0, 0.5),
        report(0, 0, 3.0, 0.25),
        ended(0, 0, TrialState.COMPLETED),
        ended(1, 1, TrialState.FAILED, problem="ValueError: bad"),
        best=[incumbent(0, 0.25)],
        state=state,
    )
    return study


def trial_runs(store: Any, parent: str) -> dict[str, Any]:
    experiment = store.get_run(parent).info.experiment_id
    runs = store.search_runs([experiment])
    return {run.data.tags[TRIAL_TAG]: run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent}


def test_a_study_is_a_run_and_its_trials_are_runs_within_it(service: LiveService, store: Any) -> None:
    study = run_some(service, StudyState.COMPLETED)

    with Client(service.url) as client:
        parent = log_study(client, study.id, experiment="mine", mlflow=store)

    run = store.get_run(parent)
    assert run.info.status == "FINISHED"
    assert run.data.params["workload"] == "bowl"
    assert run.data.metrics["best_loss"] == 0.25
    trials = trial_runs(store, parent)
    first, second = trials[f"{study.id}-0"], trials[f"{study.id}-1"]
    assert (first.info.status, second.info.status) == ("FINISHED", "FAILED")
    assert set(first.data.params) == set(client_config(service, study))
    curve = store.get_metric_history(first.info.run_id, "loss")
    assert [(point.step, point.value) for point in curve] == [(1, 0.5), (3, 0.25)]
    assert second.data.tags["tunewright.problem"] == "ValueError: bad"


def test_an_objective_may_have_a_name_that_mlflow_does_not_allow(service: LiveService, store: Any) -> None:
    study = service.create(objectives=[Objective(metric="recall@10", direction="maximize")])
    best = replace(incumbent(0, 0.25), metrics={"recall@10": 0.25})
    service.runner(study).commit(
        start(0, 0), ended(0, 0, TrialState.COMPLETED), best=[best], state=StudyState.COMPLETED
    )

    with Client(service.url) as client:
        parent = log_study(client, study.id, experiment="mine", mlflow=store)

    run = store.get_run(parent)
    assert run.info.status == "FINISHED"
    assert [name.startswith("best_recall_10") for name in run.data.metrics] == [True]


def test_names_that_mlflow_does_not_allow_stay_apart(service: LiveService, store: Any) -> None:
    names = ["a@b", "a_b", "a:b", "a/b", "/a/b", "a//b", "..", "."]
    study = service.create(objectives=[Objective(metric="loss")])
    config = {name: place for place, name in enumerate(names)}
    measured = Reported(Report(0, 0, 3.0, {"loss": 0.5, **config}), attempt=1, late=False)
    service.runner(study).commit(
        start(0, 0, config=config), measured, ended(0, 0, TrialState.COMPLETED), state=StudyState.COMPLETED
    )

    with Client(service.url) as client:
        parent = log_study(client, study.id, mlflow=store)

    (run,) = trial_runs(store, parent).values()
    assert sorted(run.data.params.values()) == [str(place) for place in range(len(names))]
    assert sorted(run.data.metrics.values()) == sorted([0.5, *range(len(names))])
    assert (run.data.params["a_b"], run.data.params["a/b"], run.data.metrics["a_b"]) == ("1", "3", 1.0)


@pytest.mark.parametrize("calls", [0, 1, 3, 4, 10, 12])
def test_logging_that_broke_off_goes_on_in_the_same_runs(
    service: LiveService, store: Any, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    study = run_some(service, StudyState.COMPLETED)
    # One value a call, so that it also breaks off between them.
    monkeypatch.setattr("tunewright.integrations.mlflow._BATCH", 1)
    monkeypatch.setattr("tunewright.integrations.mlflow._PARAMS", 1)
    left = iter(range(calls))

    def break_off(*arguments: Any, **fields: Any) -> None:
        if next(left, None) is None:
            raise ConnectionError
        log_batch(*arguments, **fields)

    log_batch = store.log_batch
    with Client(service.url) as client:
        with monkeypatch.context() as patched:
            patched.setattr(store, "log_batch", break_off)
            with pytest.raises(ConnectionError):
                log_study(client, study.id, mlflow=store)
        parent = log_study(client, study.id, mlflow=store)

    runs = store.search_runs([store.get_run(parent).info.experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED", "FINISHED"]
    assert store.get_run(parent).data.params.keys() == {"workload", "optimizer", "seed"}
    first = trial_runs(store, parent)[f"{study.id}-0"]
    assert set(first.data.params) == set(client_config(service, study))
    for name, points in {"loss": [(1, 0.5), (3, 0.25)], "size": [(1, 1.0), (3, 1.0)]}.items():
        curve = store.get_metric_history(first.info.run_id, name)
        assert [(point.step, point.value) for point in curve] == points


def test_it_is_logged_once_however_often_it_is_asked_for(service: LiveService, store: Any) -> None:
    study = run_some(service, StudyState.RUNNING)

    with Client(service.url) as client:
        early = log_study(client, study.id, follow=False, mlflow=store)
        assert store.get_run(early).info.status == "RUNNING"
        again = log_study(client, study.id, follow=False, mlflow=store)

    assert early == again
    assert len(trial_runs(store, early)) == 2
    assert len(store.search_runs([store.get_run(early).info.experiment_id])) == 3


def test_runs_that_others_have_put_into_the_studys_are_left_alone(service: LiveService, store: Any) -> None:
    study = run_some(service, StudyState.RUNNING)

    with Client(service.url) as client:
        parent = log_study(client, study.id, follow=False, mlflow=store)
        experiment = store.get_run(parent).info.experiment_id
        own = store.create_run(experiment, tags={"mlflow.parentRunId": parent})
        log_study(client, study.id, follow=False, mlflow=store)

    assert store.get_run(own.info.run_id).info.status == "RUNNING"
    assert len(store.search_runs([experiment])) == 4


def test_trials_are_looked_for_only_as_far_as_one_has_ended(
    service: LiveService, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = service.create()
    runner = service.runner(study)
    for n in range(3):
        runner.counts = {TrialState.COMPLETED: n + 1}
        runner.commit(start(n, n), ended(n, n, TrialState.COMPLETED), state=StudyState.RUNNING)
    looked = []

    with Client(service.url) as client:
        every = client.trials

        def trials(study_id: str) -> Iterator[Trial]:
            for trial in every(study_id):
                looked.append(trial.number)
                yield trial

        monkeypatch.setattr(client, "trials", trials)
        log_study(client, study.id, follow=False, mlflow=store)
        log_study(client, study.id, follow=False, mlflow=store)
        runner.counts = {TrialState.COMPLETED: 4}
        runner.commit(start(3, 3), ended(3, 3, TrialState.COMPLETED), state=StudyState.RUNNING)
        log_study(client, study.id, follow=False, mlflow=store)

    assert looked == [2, 1, 0, 3]


def client_config(service: LiveService, study: Study) -> dict[str, Any]:
    with Client(service.url) as client:
        return client.trial(f"{study.id}-0").config
