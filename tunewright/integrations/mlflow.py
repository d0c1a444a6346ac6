"""A study of a Tunewright service as runs of MLflow: one for the study, and one within it for each trial.

    log_study(Client(), study.id, experiment="digits")

Needs MLflow (`pip install mlflow-skinny`); the server has no part in it.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tunewright.client import Client
from tunewright.study import StudyState, TrialState
from tunewright.views import Measurement, Study, Trial

try:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"tunewright.integrations.mlflow needs MLflow ({missing.name} is missing): pip install mlflow-skinny",
        name=missing.name,
    ) from None

# Trials are looked for this often while a study runs.
EVERY_SECONDS = 5.0
# By these tags runs are found again.
STUDY_TAG, TRIAL_TAG = "tunewright.study", "tunewright.trial"
_PARENT_TAG, _NAME_TAG = "mlflow.parentRunId", "mlflow.runName"
# What MLflow takes in one call, and of one value.
_BATCH, _PARAMS, _VALUE = 1000, 100, 6000
_STATUS = {TrialState.FAILED: "FAILED", TrialState.CANCELLED: "KILLED"}
_STUDY_STATUS = {StudyState.FAILED: "FAILED", StudyState.CANCELLED: "KILLED"}


def log_study(
    client: Client,
    study_id: str,
    *,
    experiment: str = "tunewright",
    follow: bool = True,
    mlflow: Any | None = None,
) -> str:
    """Log a study and its trials; those that have been logged already are not logged again, and where logging was
    broken off it goes on in the same run.

    A trial is logged once it is over: its configuration as parameters, each report as metrics at the step of its
    resource (or, where resources are no whole numbers, at its place), its state and problem as tags.

    Args:
        experiment: name of MLflow's experiment; made where there is none.
        follow: go on until the study is over; else what there is now.
        mlflow: the `MlflowClient` to log with; None takes one of MLflow's own settings (MLFLOW_TRACKING_URI).
    Returns:
        Id of the study's run.
    Raises:
        ApiError: there is no such study, or the service cannot be reached.
        mlflow.exceptions.MlflowException: MLflow refuses something.
    """
    study = client.study(study_id)
    log = _StudyLog(client, mlflow or MlflowClient(), experiment, study)
    looked = 0.0
    for study in client.watch(study_id) if follow else ():
        if study.state.final:
            break
        if time.monotonic() - looked >= EVERY_SECONDS:
            log.trials(study)
            looked = time.monotonic()
    log.trials(study)
    log.end(study)
    return log.run


class _StudyLog:
    """The runs of one study.

    Attributes:
        run: id of the study's own.
    """

    def __init__(self, client: Client, mlflow: Any, experiment: str, study: Study) -> None:
        self._client = client
        self._mlflow = mlflow
        found = mlflow.get_experiment_by_name(experiment)
        self._experiment = mlflow.create_experiment(experiment) if found is None else found.experiment_id
        self.run = self._study_run(study)
        # Trial -> its run. A run that was only begun may have a process that is at it still, so it is never taken away.
        self._logged: dict[str, str] = {}
        self._begun: dict[str, str] = {}
        for run in self._runs(f"tags.`{_PARENT_TAG}` = '{self.run}'"):
            # Others may have runs of their own in it.
            if (trial := run.data.tags.get(TRIAL_TAG)) is not None:
                found = self._begun if run.info.status == "RUNNING" else self._logged
                found[trial] = run.info.run_id

    def trials(self, study: Study) -> None:
        """Log the trials that have ended since; when the study is over, all."""
        missing = sum(count for state, count in study.counts.items() if state.final) - len(self._logged)
        # Newest first: those that have ended lately are not far. Once it is over, all are looked at.
        trials = self._client.trials(study.id) if missing > 0 or study.state.final else iter(())
        for trial in trials:
            if trial.id not in self._logged and (trial.state.final or study.state.final):
                self._logged[trial.id] = self._trial(trial)
                missing -= 1
            if missing <= 0 and not study.state.final:
                break

    def end(self, study: Study) -> None:
        """Log how the study stands, and end its run when it is over."""
        for name, value in (study.best[0].metrics if study.best else {}).items():
            self._mlflow.log_metric(self.run, _name(f"best_{name}"), value, step=study.trials)
        self._mlflow.set_tag(self.run, "tunewright.state", study.state.value)
        if study.state.final:
            self._mlflow.set_terminated(self.run, _STUDY_STATUS.get(study.state, "FINISHED"), _stamp(study.ended_at))

    def _study_run(self, study: Study) -> str:
        found = self._runs(f"tags.`{STUDY_TAG}` = '{study.id}' and tags.`tunewright.kind` = 'study'")
        if found:
            run = str(found[0].info.run_id)
        else:
            tags = {STUDY_TAG: study.id, "tunewright.kind": "study", "tunewright.project": study.project}
            run = self._start(study.name, tags, _stamp(study.started_at or study.created_at))
        self._log(run, {"workload": study.workload, "optimizer": study.optimizer, "seed": study.spec.seed}, [])
        return run

    def _trial(self, trial: Trial) -> str:
        """Log a trial, or what is missing in the run that was begun for it; returns the run."""
        reports = sorted(self._client.reports(trial.id), key=lambda report: report.resource)
        metrics = _metrics(reports)
        if trial.id in self._begun:
            run = self._begun[trial.id]
            metrics = self._missing(run, metrics)
        else:
            run = self._begin(trial)
        self._log(run, trial.config, metrics)
        self._mlflow.set_terminated(run, _STATUS.get(trial.state, "FINISHED"), _stamp(trial.ended_at))
        return run

    def _begin(self, trial: Trial) -> str:
        tags = {STUDY_TAG: trial.study, TRIAL_TAG: trial.id, "tunewright.kind": "trial", _PARENT_TAG: self.run}
        tags["tunewright.state"] = trial.state.value
        if trial.problem:
            tags["tunewright.problem"] = trial.problem[:_VALUE]
        return self._start(f"trial {trial.number}", tags, _stamp(trial.started_at))

    def _start(self, name: str, tags: Mapping[str, str], began: int | None) -> str:
        made = self._mlflow.create_run(self._experiment, start_time=began, tags={**tags, _NAME_TAG: name})
        return str(made.info.run_id)

    def _missing(self, run: str, metrics: Sequence[Metric]) -> list[Metric]:
        """Those that a run lacks; unlike a parameter, a metric that is logged twice stands there twice."""
        there = {
            (point.key, point.step, point.value)
            for name in {metric.key for metric in metrics}
            for point in self._mlflow.get_metric_history(run, name)
        }
        return [metric for metric in metrics if (metric.key, metric.step, metric.value) not in there]

    def _log(self, run: str, params: Mapping[str, Any], metrics: Sequence[Metric]) -> None:
        named = [Param(_name(name), str(value)[:_VALUE]) for name, value in params.items()]
        for at in range(0, len(named), _PARAMS):
            self._mlflow.log_batch(run, params=named[at : at + _PARAMS])
        for at in range(0, len(metrics), _BATCH):
            self._mlflow.log_batch(run, metrics=metrics[at : at + _BATCH])

    def _runs(self, query: str) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self._mlflow.search_runs([self._experiment], query, max_results=_BATCH, page_token=token)
            found += page
            token = page.token
            if not token:
                return found


def _metrics(reports: Sequence[Measurement]) -> list[Metric]:
    whole = all(float(report.resource).is_integer() for report in reports)
    return [
        Metric(_name(name), value, _stamp(report.at), int(report.resource) if whole else place)
        for place, report in enumerate(reports, start=1)
        for name, value in report.metrics.items()
    ]


def _name(name: str) -> str:
    """A name as MLflow allows it; one that has to be changed ends in a digest, so that no two become the same."""
    path = posixpath.normpath(name) == name and not name.startswith((".", "/"))
    if path and re.fullmatch(r"[\w\-. /]+", name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return re.sub(r"[^\w\- ]", "_", name) + f"_{digest}"


def _stamp(at: datetime | None) -> int | None:
    """Milliseconds since 1970; None takes the present."""
    return None if at is None else round(at.timestamp() * 1000)
