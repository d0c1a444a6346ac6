"""How much sooner does Hyper-Tune reach where random search ends? The study of `make demo`, trained for real.

    python -m benchmarks.demo_study [--quick] [--json FILE]

A real service with two Ray workers tunes XGBoost twice for every seed: by random search, which trains every trial
whole, and by Hyper-Tune, until it has a value at least as good. A study's value is the smallest loss of a whole
training; time is the study's own, from its start, with all that the service costs.

time_share             Hyper-Tune's time to random search's final value / random search's time for its whole budget
time_share_to_value    the same / the time at which random search reached that value

A run of Hyper-Tune that takes longer than random search is ended and counts with 1, and as censored. Headlines are of
the demo's own data set; those that end in the name of another are of the same study on that one, which the quick form
leaves out. Whether early rounds tell which configuration is best differs from one data set to the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks._harness import Cell, Result, arguments, publish
from benchmarks._service import Service, running_service, wait
from tunewright.cli.demo import STUDY
from tunewright.study import first_goal

NAME = "demo_study"
SEEDS = 5
QUICK_SEEDS = 2
OTHERS = ("diabetes",)
# Never reached: Hyper-Tune is ended by what it found, or by the time.
MANY = 10_000


@dataclass(frozen=True)
class Value:
    """The best whole training of a study so far, and the study's active seconds at which it was known."""

    seconds: float
    loss: float


def main(argv: Sequence[str] | None = None) -> None:
    asked = arguments(NAME, (__doc__ or "").split("\n\n")[0], argv)
    result = Result(NAME, asked.command)
    seeds = QUICK_SEEDS if asked.quick else SEEDS
    own = STUDY.data["dataset"]
    with running_service() as service:
        service.wait_until_over(service.submit(study("random", own, seed=0, trials=2)))
        for dataset in (own, *(OTHERS if not asked.quick else ())):
            for seed in range(seeds):
                result.keep(compare(service, dataset, seed))
            suffix = "" if dataset == own else f"_{dataset}"
            result.headline |= {name + suffix: value for name, value in summary(result.rows[-seeds:]).items()}
    result.headline["seeds"] = float(seeds)
    publish(result, asked.json)


def summary(rows: Sequence[Mapping[str, Cell]]) -> dict[str, float]:
    """Medians over the seeds of a data set."""
    shares, to_value = ([float(row[name] or 0) for row in rows] for name in ("time_share", "share_to_value"))
    return {
        "time_share": round(median(shares), 3),
        "time_share_to_value": round(median(to_value), 3),
        "censored": float(sum(bool(row["censored"]) for row in rows)),
    }


def compare(service: Service, dataset: str, seed: int) -> dict[str, Cell]:
    """Both optimizers with one seed."""
    budget = STUDY.budget.trials
    assert budget is not None
    random = service.submit(study("random", dataset, seed, budget))
    duration = float(service.wait_until_over(random)["active_seconds"])
    goal = values(service, random)[-1]

    own = service.submit(study("hypertune", dataset, seed, MANY))
    wait(lambda: _reached(service, own, goal.loss) or _seconds(service, own) > duration, 600, "Hyper-Tune", every=0.2)
    service.cancel(own)
    reached = next((value.seconds for value in values(service, own) if value.loss <= goal.loss), math.inf)
    return {
        "dataset": dataset,
        "seed": seed,
        "random_value": goal.loss,
        "random_value_s": goal.seconds,
        "random_s": duration,
        "hypertune_s": min(reached, duration),
        "hypertune_trials": sum(service.study(own)["counts"].values()),
        "time_share": min(1.0, reached / duration),
        "share_to_value": min(reached, duration) / goal.seconds,
        "censored": int(reached > duration),
    }


def study(optimizer: str, dataset: str, seed: int, trials: int) -> dict[str, Any]:
    """The demo's study with another optimizer, on this data set."""
    spec = STUDY.model_dump(mode="json", exclude_unset=True) | {"data": {"dataset": dataset}}
    return spec | {"name": optimizer, "optimizer": optimizer, "seed": seed, "budget": {"trials": trials}}


def values(service: Service, study: str) -> list[Value]:
    """How the study's value fell, oldest first."""
    metric = first_goal(STUDY.objectives).metric if STUDY.objectives else "loss"
    whole = STUDY.fidelity.max if STUDY.fidelity else 0.0
    return [
        Value(entry["seconds"], entry["best"]["metrics"][metric])
        for entry in service.get(f"/v1/studies/{study}/improvements")
        if entry["best"]["resource"] == whole
    ]


def _reached(service: Service, study: str, loss: float) -> bool:
    return any(value.loss <= loss for value in values(service, study))


def _seconds(service: Service, study: str) -> float:
    return float(service.study(study)["active_seconds"])


if __name__ == "__main__":
    main()
