"""Does a search of the whole space of click-through models beat the field's known models, each tuned as long?

    python -m benchmarks.autorecsys [--quick] [--dataset movielens-100k|generated] [--seeds N] [--json FILE]

Every study is Hyper-Tune's, in this process, with real training and the same budget: so many chunks of training rows.
The whole-space study begins with the known models' default settings, as anyone would who has heard of them; each
baseline's study begins with its own. The whole training with the best AUC on validation rows is judged on test rows
that nothing was chosen by. Seeds change the search, the initial weights and the order of rows.

auc_minus_best_tuned_baseline   mean test AUC of the whole-space study's choice, less that of the baseline with the
                                highest mean test AUC (known only afterwards, which favours the baseline); `_low` and
                                `_high` bound it in 95% of paired resamples of seeds and test rows
parameters_share_at_equal_auc   smallest model among all whole trainings of the whole-space study, and of one that may
                                only use half the parameters, whose validation AUC is at least the best tuned
                                baseline's, as a share of that baseline's parameters; mean over seeds, 1 where there
                                is none. `test_auc_difference_at_that_share` says what it is worth on test rows.
FAMILY_matters                  test AUC of the whole-space study less that of a study with this family of the space
                                fixed at its defaults
auc_share_of_ceiling            on generated clicks: (AUC - 0.5) / (best possible AUC - 0.5)

Gradient strategies search for two thirds of a training from DeepFM's defaults and are then trained anew.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks._ctr_studies import AUC, Course, Found, difference
from benchmarks._harness import Cell, Result, arguments, publish
from models.data._click_planted import bayes_auc
from models.data.clicks import load
from models.recsys.ctr.baselines import BASELINES
from models.recsys.ctr.gradient import auto_dim, gated_pairs, learned_threshold
from models.recsys.ctr.space import ctr_space, families, fixed_family, joined, restricted
from tunewright.space import Config
from tunewright.study import Objective

NAME = "autorecsys"
DATASETS = ("movielens-100k", "generated")
WHOLE, SMALL = "autorecsys", "autorecsys, half the parameters"


@dataclass(frozen=True)
class Scale:
    """How much is run; `rows` None takes all that there are."""

    dataset: str
    rows: int | None
    chunks: int
    chunk_rows: int
    budget: int
    seeds: int


FULL = Scale("movielens-100k", None, chunks=9, chunk_rows=16_384, budget=90, seeds=3)
QUICK = Scale("generated", 10_000, chunks=9, chunk_rows=2_048, budget=54, seeds=2)


@dataclass
class Race:
    """Methods' whole trainings: method -> one list for each seed, the chosen one first."""

    course: Course
    found: dict[str, list[list[Found]]] = field(default_factory=dict)

    def run(self, method: str, seed: int, study: Callable[[], list[Found]]) -> None:
        began = time.process_time()
        outcome = study()
        self.found.setdefault(method, []).append(outcome)
        spent = time.process_time() - began
        best = outcome[0]
        print(f"seed {seed}: {method}: test AUC {best.test_auc:.4f}, {spent:.0f} s", file=sys.stderr, flush=True)

    def chosen(self, method: str) -> list[Found]:
        return [outcome[0] for outcome in self.found[method]]

    def mean(self, method: str) -> float:
        return float(np.mean([one.test_auc for one in self.chosen(method)]))

    @property
    def best_baseline(self) -> str:
        return max(BASELINES, key=self.mean)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--dataset", choices=DATASETS)
    parser.add_argument("--seeds", type=int)
    own, rest = parser.parse_known_args(argv)
    asked = arguments(NAME, "Does a search of the whole space beat tuned known models?", rest)
    scale = scale or (QUICK if asked.quick else FULL)
    scale = replace(scale, dataset=own.dataset or scale.dataset, seeds=own.seeds or scale.seeds)
    table = load(scale.dataset, rows=scale.rows)
    race = Race(Course(table, scale.chunks, scale.chunk_rows, scale.budget))
    for seed in range(scale.seeds):
        _seed(race, seed)
    command = asked.command + "".join(
        f" --{name} {value}" for name, value in (("dataset", own.dataset), ("seeds", own.seeds)) if value
    )
    result = Result(NAME, command)
    result.rows = [_row(race, method) for method in race.found]
    result.headline = _headline(race)
    publish(result, asked.json)


def _seed(race: Race, seed: int) -> None:
    """All methods with one seed."""
    course = race.course
    fields = course.table.fields
    space = ctr_space(fields)
    starts = {name: joined(space, fixed, restricted(space, fixed).default()) for name, fixed in BASELINES.items()}
    for name, fixed in BASELINES.items():
        race.run(name, seed, lambda name=name, fixed=fixed: course.study(fixed, seed, [starts[name]]))  # type: ignore[misc]
    race.run(WHOLE, seed, lambda: course.study({}, seed, list(starts.values())))
    half = 0.5 * race.found[race.best_baseline][-1][0].parameters
    bound = Objective(metric="parameters", bound=half)
    race.run(SMALL, seed, lambda: _within(course.study({}, seed, list(starts.values()), (AUC, bound)), half))
    for family in families(fields):
        fixed = fixed_family(family, fields)
        begin = [
            joined(space, fixed, {**restricted(space, fixed).default(), **_open(start, fixed)})
            for start in starts.values()
        ]
        race.run(f"without {family}", seed, lambda fixed=fixed, begin=begin: course.study(fixed, seed, begin))  # type: ignore[misc]
    for name, strategy in STRATEGIES.items():
        race.run(name, seed, lambda strategy=strategy: [strategy(course, starts["deepfm"], seed)])  # type: ignore[misc]


def _open(start: Config, fixed: Config) -> Config:
    return {name: value for name, value in start.items() if name not in fixed}


def _within(found: list[Found], parameters: float) -> list[Found]:
    """Trainings that keep the bound; all of them if none does."""
    return [one for one in found if one.parameters <= parameters] or found


def _auto_dim(course: Course, config: Config, seed: int) -> Found:
    return course.trained(auto_dim(config, course.table, seed=seed, chunks=6, chunk_rows=course.chunk_rows), seed)


def _threshold(course: Course, config: Config, seed: int) -> Found:
    found = learned_threshold(config, course.table, seed=seed, chunks=6, chunk_rows=course.chunk_rows)
    return course.trained(found, seed)


def _gated(course: Course, config: Config, seed: int) -> Found:
    found, pairs = gated_pairs(config, course.table, seed=seed, chunks=6, chunk_rows=course.chunk_rows)
    return course.trained(found, seed, pairs)


def _plain(course: Course, config: Config, seed: int) -> Found:
    return course.trained(config, seed)


STRATEGIES: Mapping[str, Callable[[Course, Config, int], Found]] = {
    "deepfm, defaults": _plain,
    "gradient: auto_dim": _auto_dim,
    "gradient: learned_threshold": _threshold,
    "gradient: gated_pairs": _gated,
}


def _row(race: Race, method: str) -> dict[str, Cell]:
    chosen = race.chosen(method)
    return {
        "method": method,
        "test AUC": race.mean(method),
        "validation AUC": float(np.mean([one.valid_auc for one in chosen])),
        "parameters": float(np.mean([one.parameters for one in chosen])),
        "latency ms": float(np.median([one.latency_ms for one in chosen])),
        "whole trainings": float(np.mean([len(outcome) for outcome in race.found[method]])),
    }


def _headline(race: Race) -> dict[str, float]:
    table, best = race.course.table, race.best_baseline
    mean, low, high = difference(table, race.chosen(WHOLE), race.chosen(best))
    headline = {
        "auc_minus_best_tuned_baseline": mean,
        "auc_minus_best_tuned_baseline_low": low,
        "auc_minus_best_tuned_baseline_high": high,
        **_smallest(race, best),
    }
    for family in families(table.fields):
        headline[f"{family}_matters"] = race.mean(WHOLE) - race.mean(f"without {family}")
    if table.truth is not None:
        ceiling = bayes_auc(table.truth[table.rows("test")])
        headline["auc_share_of_ceiling"] = (race.mean(WHOLE) - 0.5) / (ceiling - 0.5)
    return headline


def _smallest(race: Race, best: str) -> dict[str, float]:
    """The smallest model of each seed that is as good as the best tuned baseline where it was chosen."""
    shares, chosen = [], []
    for seed, reference in enumerate(race.chosen(best)):
        equal = [
            one
            for method in (WHOLE, SMALL)
            for one in race.found[method][seed]
            if one.valid_auc >= reference.valid_auc and one.parameters < reference.parameters
        ]
        chosen.append(min(equal, key=lambda one: one.parameters, default=reference))
        shares.append(chosen[-1].parameters / reference.parameters)
    mean, low, high = difference(race.course.table, chosen, race.chosen(best))
    return {
        "parameters_share_at_equal_auc": float(np.mean(shares)),
        "test_auc_difference_at_that_share": mean,
        "test_auc_difference_at_that_share_low": low,
        "test_auc_difference_at_that_share_high": high,
    }


if __name__ == "__main__":
    main()
