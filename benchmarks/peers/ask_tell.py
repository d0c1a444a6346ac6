"""A client of Optuna's RDB storage, or what fills a study there. Runs in the peers' environment.

    {"fill": "name", "url": ..., "space": [...], "trials": 10000}     -> {"filled": 10000}
    {"study": "name", "url": ..., "space": [...], "sampler": "tpe"}   -> {"ready": true}, then as `benchmarks._clients`

Studies are filled by inserting rows: those of one trial that Optuna has written itself, again with other values.
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from importlib import import_module
from typing import Any

from benchmarks.peers.optuna import _suggest

GROUP = 500
WARM_UP_SECONDS = 60


def main() -> None:
    """Serve the orders on standard input."""
    optuna: Any = import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    import_module("warnings").simplefilter("ignore")
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        if "fill" in order:
            _print({"filled": fill(optuna, order)})
        else:
            work(optuna, order)


def fill(optuna: Any, order: dict[str, Any]) -> int:
    """A new study with so many finished trials; returns how many Optuna finds in it."""
    study = optuna.create_study(study_name=order["fill"], storage=_storage(optuna, order["url"]))
    _pair(study, order["space"], math.inf)
    _copy(study, order["trials"] - 1)
    found = optuna.load_study(study_name=order["fill"], storage=_storage(optuna, order["url"]))
    return len(found.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)))


def work(optuna: Any, order: dict[str, Any]) -> None:
    """One client: ask, suggest every parameter, tell, and so on until the time is up."""
    samplers = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
    study = optuna.load_study(
        study_name=order["study"], storage=_storage(optuna, order["url"]), sampler=samplers[order["sampler"]]()
    )
    # The first pair reads what is there already.
    _pair(study, order["space"], time.perf_counter() + WARM_UP_SECONDS)
    _print({"ready": True})
    seconds = json.loads(sys.stdin.readline())["seconds"]
    pairs, errors, began = 0.0, 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        made = _pair(study, order["space"], began + seconds)
        errors += made == 0
        pairs += made
    _print({"pairs": pairs, "seconds": time.perf_counter() - began, "errors": errors})


def _pair(study: Any, space: list[dict[str, Any]], until: float) -> float:
    """Ask and tell once; the share of it that was made when the time was up, and 0 where the storage refused.

    Clients that wait for each other take minutes for a pair, and a measurement does not wait for them.
    """
    from sqlalchemy.exc import SQLAlchemyError

    storages: Any = import_module("optuna.exceptions")
    steps = len(space) + 2
    try:
        trial = study.ask()
        for done, parameter in enumerate(space, start=1):
            if time.perf_counter() > until:
                return done / steps
            _suggest(trial, parameter)
        study.tell(trial, random.random())
    except (SQLAlchemyError, storages.StorageInternalError):
        return 0.0
    return 1.0


def _storage(optuna: Any, url: str) -> Any:
    # With SQLite's usual five seconds, clients would give up waiting for each other.
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    return optuna.storages.RDBStorage(url, engine_kwargs=options)


def _copy(study: Any, times: int) -> None:
    """Insert the rows of the study's only trial again, under new ids and with new values."""
    models: Any = import_module("optuna.storages._rdb.models")
    sql: Any = import_module("sqlalchemy")
    engine = study._storage._backend.engine
    tables = [models.TrialModel.__table__, models.TrialParamModel.__table__, models.TrialValueModel.__table__]
    only, last = study.trials[0]._trial_id, sql.func.max(models.TrialModel.trial_id)
    with engine.begin() as connection:
        found = [connection.execute(sql.select(table).where(table.c.trial_id == only)) for table in tables]
        (trial,), params, values = ([dict(row._mapping) for row in rows] for rows in found)
        newest = connection.execute(sql.select(last)).scalar_one()
        for begin in range(1, times + 1, GROUP):
            numbers = range(begin, min(begin + GROUP, times + 1))
            ids = {number: newest + number for number in numbers}
            connection.execute(
                tables[0].insert(), [{**trial, "trial_id": ids[number], "number": number} for number in numbers]
            )
            connection.execute(tables[1].insert(), [_new(row, "param_id", ids[n]) for n in numbers for row in params])
            connection.execute(
                tables[2].insert(),
                [{**_new(row, "trial_value_id", ids[n]), "value": random.random()} for n in numbers for row in values],
            )
        if engine.dialect.name == "postgresql":
            # Rows with ids of their own do not move the sequence.
            connection.execute(
                sql.text(
                    "SELECT setval(pg_get_serial_sequence('trials', 'trial_id'), (SELECT max(trial_id) FROM trials))"
                )
            )


def _new(row: dict[str, Any], key: str, trial_id: int) -> dict[str, Any]:
    """A row without its own key, of another trial; a parameter's value is drawn anew where it is a number."""
    found = {name: value for name, value in row.items() if name != key}
    found["trial_id"] = trial_id
    if "distribution_json" in found:
        shape = json.loads(found["distribution_json"])
        found["param_value"] = _draw(shape["name"], shape["attributes"])
    return found


def _draw(name: str, shape: dict[str, Any]) -> float:
    if name == "CategoricalDistribution":
        return float(random.randrange(len(shape["choices"])))
    if name == "IntDistribution":
        return float(random.randint(shape["low"], shape["high"]))
    return random.uniform(shape["low"], shape["high"])


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
