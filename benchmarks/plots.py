"""How long the service needs to draw each plot of a large study, and how much it sends.

The study has 100,000 trials of 20 parameters and two objectives, a third of them whole, each of one leg by one of 64
workers; its rows are written straight to an SQLite store, as its runner would have left them.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, insert

from benchmarks._harness import Cell, Result, arguments, publish
from optimizers.protocol import JobEnd
from service import plots
from service.store.engine import migrate, open_engine
from service.store.repository import Repository
from service.store.tables import ImprovementRow, JobRow, TrialRow
from tunewright.study import StudySpec, TrialState
from tunewright.views import Study

PARAMETERS = 20
TRIALS, QUICK_TRIALS = 100_000, 20_000
CHUNK = 5_000
TURNS = 3
WORKERS = 64
# Of one leg, and so the study's own clock: a trial begins every SECONDS / WORKERS.
SECONDS = 8.0
WEIGHTS = [0.4, 0.3, 0.2, 0.1]


def main(argv: Sequence[str] | None = None, trials: int | None = None) -> None:
    """Draw every plot, first with nothing read yet and then again."""
    asked = arguments("plots", __doc__ or "", argv)
    trials = trials or (QUICK_TRIALS if asked.quick else TRIALS)
    result = Result("plots", asked.command)
    with tempfile.TemporaryDirectory() as directory:
        engine = open_engine(f"sqlite:///{Path(directory) / 'store.db'}")
        migrate(engine)
        study = _study(engine, trials)
        started = time.perf_counter()
        plots.draw(engine, study, "rungs", None, None)
        result.headline["first_plot_s"] = time.perf_counter() - started
        result.rows = [_measured(engine, study, name, trials) for name in plots.PLOTS]
        engine.dispose()
    result.headline["slowest_plot_s"] = max(float(row["seconds"] or 0) for row in result.rows)
    result.headline["largest_plot_kb"] = max(float(row["kB"] or 0) for row in result.rows)
    publish(result, asked.json)


def _measured(engine: Engine, study: Study, name: str, trials: int) -> dict[str, Cell]:
    seconds = []
    for _ in range(TURNS):
        started = time.perf_counter()
        drawn = plots.draw(engine, study, name, None, None)
        seconds.append(time.perf_counter() - started)
    size = len(drawn.model_dump_json()) / 1000
    return {"plot": name, "trials": trials, "seconds": statistics.median(seconds), "kB": size, "note": drawn.note}


def _study(engine: Engine, trials: int) -> Study:
    spec = {
        "name": "large",
        "workload": "none",
        "space": {f"p{j}": {"type": "float", "low": 0, "high": 1} for j in range(PARAMETERS)},
        "objectives": [{"metric": "loss"}, {"metric": "size"}],
        "fidelity": {"name": "epochs", "max": 27},
        "budget": {"trials": trials},
    }
    repository = Repository(engine)
    study = repository.create_study(StudySpec.model_validate(spec)).id
    rng = np.random.default_rng(0)
    best = math.inf
    with engine.begin() as connection:
        for first in range(0, trials, CHUNK):
            values = rng.random((min(CHUNK, trials - first), PARAMETERS + 2)).tolist()
            rows = [_trial(study, number, value) for number, value in enumerate(values, start=first)]
            connection.execute(insert(TrialRow), rows)
            connection.execute(insert(JobRow), [_job(row) for row in rows])
            for row in rows:
                if row["metrics"]["loss"] < best:
                    best = row["metrics"]["loss"]
                    connection.execute(insert(ImprovementRow), _improvement(row))
    return repository.study(study)


def _trial(study: str, number: int, values: list[float]) -> dict[str, Any]:
    whole = number % 3 == 0
    began = number * SECONDS / WORKERS
    return {
        "study_id": study,
        "number": number,
        "state": TrialState.COMPLETED if whole else TrialState.STOPPED,
        "config": {f"p{j}": value for j, value in enumerate(values[:PARAMETERS])},
        "resource": 27.0 if whole else 9.0,
        "metrics": {"loss": values[-2], "size": values[-1]},
        "started_at": began,
        "ended_at": began + SECONDS,
        "seconds": SECONDS,
        "rung": 3 if whole else 2,
        "bracket": number % len(WEIGHTS),
    }


def _job(trial: dict[str, Any]) -> dict[str, Any]:
    same = ("study_id", "number", "rung", "bracket", "started_at", "ended_at")
    return {
        **{name: trial[name] for name in same},
        "trial": trial["number"],
        "start": 0.0,
        "end": trial["resource"],
        "why": {"bracket_weights": WEIGHTS},
        "state": JobEnd.COMPLETED,
        "trial_state": trial["state"],
        "attempts": 1,
        "attempt_at": trial["started_at"],
        "worker": f"host:{trial['number'] % WORKERS}",
        "seq": 2 * trial["number"],
        "end_seq": 2 * trial["number"] + 1,
    }


def _improvement(trial: dict[str, Any]) -> dict[str, Any]:
    same = ("config", "resource", "metrics")
    return {
        "study_id": trial["study_id"],
        "batch": trial["number"],
        "at": trial["ended_at"],
        "seconds": trial["ended_at"],
        "trials": trial["number"] + 1,
        "best": {"trial": trial["number"], **{name: trial[name] for name in same}},
    }


if __name__ == "__main__":
    main()
