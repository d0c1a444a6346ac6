"""Optuna's side of a large study. Runs in the peers' environment.

    {"fill": 100000, "url": "sqlite:///..."}      -> {"filled": 100000}
    {"live": 20, "rate": 50}                      -> {"reports": 1000}

Trials are written as rows of Optuna's own tables, many in one statement, because its API takes a transaction for each
value. Reports that come live take one transaction each, as Optuna's do.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from benchmarks._large_trials import LargeTrial, LiveReport, large_trials, live_reports, names, paced


class OptunaStudy:
    """A study in Optuna's RDB storage, filled at once."""

    def __init__(self, url: str, trials: int) -> None:
        optuna: Any = import_module("optuna")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._models: Any = import_module("optuna.storages._rdb.models")
        self._states: Any = optuna.trial.TrialState
        self._storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
        self._study = optuna.create_study(study_name="large", storage=self._storage)._study_id
        self._shape = optuna.distributions.distribution_to_json(optuna.distributions.FloatDistribution(0.0, 1.0))
        self._engine: Any = self._storage.engine
        for chunk in large_trials(trials):
            self._fill(chunk)
        self._live = live_reports(trials)
        found = optuna.load_study(study_name="large", storage=self._storage).get_trials(deepcopy=False)
        self.filled = len(found)

    def live(self, seconds: float, rate: float) -> int:
        """Write reports for so long; returns how many."""
        reports = 0
        for report in paced(self._live, rate, seconds):
            with self._engine.begin() as connection:
                self._report(connection, report)
            reports += 1
        return reports

    def _fill(self, trials: Sequence[LargeTrial]) -> None:
        models = self._models
        with self._engine.begin() as connection:
            rows = [self._trial(t.number, self._states.COMPLETE if t.whole else self._states.PRUNED) for t in trials]
            connection.execute(models.TrialModel.__table__.insert(), rows)
            params = [row for t in trials for row in self._params(t.number, t.config)]
            connection.execute(models.TrialParamModel.__table__.insert(), params)
            values = [self._intermediate(t.number, step, loss) for t in trials for step, loss in t.curve]
            connection.execute(models.TrialIntermediateValueModel.__table__.insert(), values)
            ends = [self._value(t.number, t.curve[-1][1]) for t in trials]
            connection.execute(models.TrialValueModel.__table__.insert(), ends)

    def _report(self, connection: Any, report: LiveReport) -> None:
        models = self._models
        table = models.TrialModel.__table__
        if report.begins:
            connection.execute(table.insert(), [self._trial(report.trial, self._states.RUNNING)])
            connection.execute(models.TrialParamModel.__table__.insert(), [*self._params(report.trial, report.config)])
        row = self._intermediate(report.trial, report.resource, report.loss)
        connection.execute(models.TrialIntermediateValueModel.__table__.insert(), [row])
        if report.ends:
            connection.execute(models.TrialValueModel.__table__.insert(), [self._value(report.trial, report.loss)])
            ended = {"state": self._states.COMPLETE, "datetime_complete": _now()}
            connection.execute(table.update().where(table.c.trial_id == report.trial + 1).values(ended))

    def _trial(self, number: int, state: Any) -> dict[str, Any]:
        ended = None if state == self._states.RUNNING else _now()
        return {
            "trial_id": number + 1,
            "number": number,
            "study_id": self._study,
            "state": state,
            "datetime_start": _now(),
            "datetime_complete": ended,
        }

    def _params(self, number: int, config: dict[str, float]) -> Iterator[dict[str, Any]]:
        for name in names():
            yield {
                "trial_id": number + 1,
                "param_name": name,
                "param_value": config[name],
                "distribution_json": self._shape,
            }

    def _intermediate(self, number: int, step: int, loss: float) -> dict[str, Any]:
        finite = self._models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
        return {
            "trial_id": number + 1,
            "step": step,
            "intermediate_value": loss,
            "intermediate_value_type": finite,
        }

    def _value(self, number: int, loss: float) -> dict[str, Any]:
        finite = self._models.TrialValueModel.TrialValueType.FINITE
        return {"trial_id": number + 1, "objective": 0, "value": loss, "value_type": finite}


def main() -> None:
    """Serve the orders on standard input."""
    study: OptunaStudy | None = None
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        if "fill" in order:
            study = OptunaStudy(order["url"], order["fill"])
            _print({"filled": study.filled})
        elif study is not None:
            _print({"reports": study.live(order["live"], order["rate"])})


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
