"""How much of a graph does a recommender have to look at? AUC against training time over sampling scales.

    python -m benchmarks.zoomer [--part learning|tuned|serving] [--quick] [--json FILE]

ZOOMER (regions of interest, attention on three levels) at several scales against GraphSAGE-like (uniform draws, means),
PinSage-like (random-walk neighbours, weighted means) and HAN-like (all of a node's neighbours within reach, attention
that no request guides) ones. All share the towers, the loss, the optimizer and the rows that are learned from; nothing
from held-out rows is in the graph. Then the ablation: ZOOMER with another sampler, and without each level of attention.
Seconds are processor seconds of learning, the sampler's preparation included. These all learn by the same settings;
last, on the first data set, Hyper-Tune chooses settings for each kind, ZOOMER's levels among them, by the validation
rows and within the same processor seconds.

speedup_at_equal_auc     seconds until ZOOMER at its full scale (two hops) comes within one standard error of its best
                         AUC, over the seconds that the fastest smaller scale of ZOOMER needs for the same AUC;
                         both moments, and the smaller scale, are chosen on the test rows, with one seed, in our favour
auc_minus_best_baseline  ZOOMER's AUC, at the scale that its validation rows choose, minus that of the best baseline at
                         any of its scales (chosen on the test rows, in the baselines' favour); 95% interval over
                         test rows
tuned_auc_minus_best_baseline
                         the same with every kind's own settings: mean over seeds of the training, less that of the best
                         baseline (chosen on the test rows); 95% interval over seeds and test rows
roi_samples_per_second, uniform_samples_per_second
                         neighbourhoods of requests that ZOOMER's sampler draws in a second of processor time, and one
                         that draws uniformly, at ZOOMER's middle scale
requests_per_second      of a served model over HTTP with bodies of 16 requests, the most at a p99 under 50 ms, or the
                         load with the lowest p99 where none is; `_alone`: with bodies of one. See `_zoomer_serving`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from benchmarks._harness import Result, arguments, publish
from benchmarks._zoomer_runs import Field, Run, difference, draws_per_second, standard_error, train
from benchmarks._zoomer_serving import Load, measure
from benchmarks._zoomer_tuning import families, tuned
from models.data.interactions import Split, generate, load, split_globally, split_per_user
from models.recsys.attention import Levels
from models.recsys.learner import Recipe
from models.recsys.ranking import auc
from models.recsys.sampler import Method

NAME = "zoomer"
MAX_P99_MS = 50.0
SAMPLERS: tuple[Method, ...] = ("roi", "uniform")
SAMPLER_SECONDS = 2.0
PLAIN = Levels(feature=False, edge=False, semantic=False, focal=False)
WITHOUT = {level: replace(Levels(), **{level: False}) for level in ("feature", "edge", "semantic")}


@dataclass(frozen=True)
class Place:
    """A data set and how long is learned on it.

    Attributes:
        full: ZOOMER's full scale; scales: smaller ones of one hop; unit, units: interactions of a unit, and units.
    """

    name: str
    split: Split
    full: tuple[int, ...]
    scales: Sequence[int]
    unit: int
    units: int
    seeds: Sequence[int]
    rows: int = 3_000
    baseline_full: int = 100
    tuning_seconds: float = 240.0
    tuned_seeds: Sequence[int] = (1, 2, 3)


def places(quick: bool) -> list[Place]:
    """What is compared on."""
    if quick:
        made = split_globally(generate(400, 160, 32, 40_000, seed=1))
        return [Place("generated 40k", made, (5, 3), (2, 6), 3_072, 12, (1,), 3_000, 40, 10.0, (1,))]
    movies = split_per_user(load("movielens-100k"))
    made = split_globally(generate(1_000, 400, 80, 100_000, seed=1))
    large = split_globally(generate(300_000, 650_000, 50_000, 4_000_000, seed=1))
    return [
        Place("movielens-100k", movies, (8, 4), (2, 5, 15), 8_192, 16, (1,), rows=6_000),
        Place("generated 100k", made, (8, 4), (2, 5, 15), 8_192, 16, (1,), rows=6_000),
        Place("million nodes", large, (8, 4), (5,), 8_192, 8, (1,), rows=6_000),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--part", choices=("learning", "tuned", "serving"))
    own, rest = parser.parse_known_args(argv)
    asked = arguments(NAME, "How much of a graph does a recommender have to look at?", rest)
    result = Result(NAME, asked.command + (f" --part {own.part}" if own.part else ""))
    if own.part in (None, "learning"):
        for number, place in enumerate(places(asked.quick)):
            ours = Field.of(place.name, place.split, place.rows, 500)
            _compare(place, ours, result, "" if number == 0 else f"_{place.name.replace(' ', '_').replace('-', '_')}")
    # Too long for a quick run beside the others.
    if own.part == "tuned" or (own.part is None and not asked.quick):
        first = places(asked.quick)[0]
        _compare_tuned(first, Field.of(first.name, first.split, first.rows, 500), result)
    if own.part in (None, "serving"):
        _serve(result, 3.0 if asked.quick else 10.0)
    publish(result, asked.json)


def _serve(result: Result, seconds: float) -> None:
    """Requests per second over HTTP, by how many clients ask and how many requests they send together."""
    loads = [Load(clients, together, seconds) for together in (1, 16) for clients in (4, 16, 32)]
    found = measure(loads)
    for together, suffix in ((16, ""), (1, "_alone")):
        of_these = [one for one in found if one.together == together]
        soon = [one for one in of_these if one.p99_ms < MAX_P99_MS]
        best = max(soon, key=lambda one: one.requests_per_second) if soon else min(of_these, key=lambda o: o.p99_ms)
        result.headline[f"requests_per_second{suffix}"] = best.requests_per_second
        result.headline[f"requests_p99_ms{suffix}"] = best.p99_ms
    result.rows += [asdict(one) for one in found]


def _compare(place: Place, field: Field, result: Result, suffix: str) -> None:
    base = Recipe()
    recipes = {f"zoomer {k}": replace(base, scale=(k,)) for k in place.scales}
    recipes[f"zoomer full {place.full}"] = replace(base, scale=place.full)
    for k in place.scales:
        recipes[f"graphsage {k}"] = replace(base, scale=(k,), method="uniform", levels=PLAIN)
        recipes[f"pinsage {k}"] = replace(base, scale=(k,), method="importance", levels=PLAIN)
    recipes["han all"] = replace(
        base, scale=(place.baseline_full,), method="full", levels=Levels(feature=False, focal=False)
    )
    middle = place.scales[len(place.scales) // 2]
    recipes[f"ablation uniform {middle}"] = replace(base, scale=(middle,), method="uniform")
    for level, levels in WITHOUT.items():
        recipes[f"ablation no {level} level {middle}"] = replace(base, scale=(middle,), levels=levels)
    runs: dict[str, list[Run]] = {}
    for name, recipe in recipes.items():
        runs[name] = [train(field, recipe, unit=place.unit, units=place.units, seed=seed) for seed in place.seeds]
        last = runs[name][-1]
        print(
            f"{place.name}, {name}: AUC {last.test[last.best]:.4f}, {last.seconds[-1]:.1f} s",
            file=sys.stderr,
            flush=True,
        )
    clicked = field.test.rows.clicked
    for name, of_one in runs.items():
        result.rows.append(
            {
                "data": place.name,
                "recipe": name,
                "auc": float(np.mean([run.test[run.best] for run in of_one])),
                "standard error": standard_error(of_one[0].test[of_one[0].best], clicked),
                "cpu s a unit": float(np.median([run.seconds[-1] / len(run.seconds) for run in of_one])),
                **{key: float(np.mean([run.ranking[key] for run in of_one])) for key in of_one[0].ranking},
            }
        )
    if field.test.rows.truth is not None:
        result.headline[f"auc_ceiling{suffix}"] = auc(field.test.rows.truth, clicked)
    result.headline |= {f"{name}{suffix}": value for name, value in _headline(place, runs, clicked, middle).items()}
    for method in SAMPLERS:
        rate = draws_per_second(field, method, (middle,), SAMPLER_SECONDS)
        result.headline[f"{method}_samples_per_second{suffix}"] = rate


def _compare_tuned(place: Place, field: Field, result: Result) -> None:
    """Each kind with the settings that suit it."""
    runs: dict[str, list[Run]] = {}
    for name, family in families(place.baseline_full).items():
        seconds, seed = place.tuning_seconds, place.tuned_seeds[0]
        recipe, tried = tuned(field, family, unit=place.unit, units=place.units, seconds=seconds, seed=seed)
        runs[name] = [train(field, recipe, unit=place.unit, units=place.units, seed=one) for one in place.tuned_seeds]
        result.keep(
            {
                "data": place.name,
                "recipe": f"{name}, tuned",
                "auc": float(np.mean([run.test[run.best] for run in runs[name]])),
                "cpu s a unit": float(np.median([run.seconds[-1] / len(run.seconds) for run in runs[name]])),
                **{key: float(np.mean([run.ranking[key] for run in runs[name]])) for key in runs[name][0].ranking},
                "whole trainings": tried,
                "settings": str(recipe),
            }
        )
    scores = {name: [run.scores for run in of_one] for name, of_one in runs.items()}
    clicked = field.test.rows.clicked
    ours = scores.pop("zoomer")
    best = max(scores.values(), key=lambda of_one: float(np.mean([auc(one, clicked) for one in of_one])))
    found = dict(zip(("", "_low", "_high"), difference(ours, best, clicked), strict=True))
    result.headline |= {f"tuned_auc_minus_best_baseline{end}": value for end, value in found.items()}


def _headline(
    place: Place, runs: dict[str, list[Run]], clicked: np.ndarray[tuple[int], np.dtype[np.bool_]], middle: int
) -> dict[str, float]:
    """The figures that the claims are made of."""
    small = {name: of for name, of in runs.items() if name.startswith("zoomer") and "full" not in name}
    full = runs[f"zoomer full {place.full}"]
    found = {}
    speedup = _speedup(full, list(small.values()), clicked)
    if speedup is not None:
        found["speedup_at_equal_auc"] = speedup
    han = _speedup(runs["han all"], list(small.values()), clicked)
    if han is not None:
        found["speedup_at_equal_auc_over_han"] = han
    chosen = max(small.values(), key=lambda of: float(np.mean([max(run.valid) for run in of])))
    baselines = [of for name, of in runs.items() if name.split()[0] in ("graphsage", "pinsage", "han")]
    best = max(baselines, key=lambda of: float(np.mean([run.test[run.best] for run in of])))
    gap, low, high = difference([run.scores for run in chosen], [run.scores for run in best], clicked)
    found |= {
        "auc_minus_best_baseline": gap,
        "auc_minus_best_baseline_low": low,
        "auc_minus_best_baseline_high": high,
    }
    whole = runs[f"zoomer {middle}"]
    for name in (f"uniform {middle}", *(f"no {level} level {middle}" for level in WITHOUT)):
        other = runs[f"ablation {name}"]
        gap, _, _ = difference([run.scores for run in whole], [run.scores for run in other], clicked)
        found[f"auc_lost_with_{name.rsplit(' ', 1)[0].replace(' ', '_')}"] = gap
    return found


def _speedup(
    full: list[Run], smaller: list[list[Run]], clicked: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> float | None:
    """Median over seeds: how many times sooner the fastest smaller scale has the full scale's AUC; None: never.

    The AUC is that of test rows, by which the moment is chosen at which each has come far enough, and the smaller scale
    out of several: in our favour. No validation rows settle either, and `places` gives one seed: no interval.
    """
    factors = []
    for number, run in enumerate(full):
        best = max(run.test)
        target = best - standard_error(best, clicked)
        times = [t for of in smaller if (t := of[number].seconds_to(target)) is not None]
        reached = run.seconds_to(target)
        if times and reached is not None:
            factors.append(reached / min(times))
    return float(np.median(factors)) if len(factors) == len(full) else None


if __name__ == "__main__":
    main()
