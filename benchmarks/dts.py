"""Does a gate that is dense first and sparse later learn faster? Dense-to-sparse against Switch and others.

    python -m benchmarks.dts [--quick] [--json FILE]

One small language model (`moe.lm`: two blocks, the second with experts) on Shakespeare's works, the same windows and
first weights under every gate, three seeds. The full form first has Hyper-Tune tune Switch's settings and those of the
dense-to-sparse gate, with the same budget each, and the others take Switch's learning rate; the quick form takes fixed
settings (`TUNED`). Where the text cannot be had, the interpreter's own sources are learned instead.

Cost is what a gate needs to reach Switch's best validation loss: optimizer steps, floating point operations (counted
from what was routed, forward and backward, all parts of the model) or processor seconds. A speed-up is Switch's cost
over the gate's, the median over seeds; a gate that never gets there is compared at its own best, and falls below 1.

dts_steps_speedup_vs_switch, dts_flops_speedup_vs_switch, dts_seconds_speedup_vs_switch
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks._dts_runs import Curve, speedup, train
from benchmarks._dts_tuning import tuned
from benchmarks._harness import Cell, Result, arguments, publish
from models.moe.options import TextOptions, read_options
from tunewright.errors import WorkloadError
from tunewright.space import Categorical, Config, Float, Int, SearchSpace

NAME = "dts"
COSTS = ("steps", "flops", "seconds")
MODEL: Mapping[str, Any] = {"layers": 2, "width": 32, "experts": 8, "warmup": 20, "weight_decay": 0.01}
TEXT: Mapping[str, Any] = {"vocabulary": 512, "context": 32, "batch": 16, "validation": 128}
# Good in short runs by hand.
TUNED: Mapping[str, Config] = {
    "switch": {"learning_rate": 5e-3, "balance": 0.01, "capacity_factor": 2.0},
    "dense_to_sparse": {
        "learning_rate": 5e-3,
        "balance": 0.01,
        "capacity_factor": 2.0,
        "tau_start": 2.0,
        "tau_end": 0.3,
        "tau_horizon": 60,
        "tau_schedule": "exponential",
        "threshold": 0.1,
        "mix": "gate",
    },
}
# Their own settings; the learning rate is Switch's.
OTHERS: Mapping[str, Config] = {
    "dense": {},
    "gshard": {"balance": 0.01, "capacity_factor": 2.0},
    "hash": {"hash_by": "balanced"},
    "base": {},
}


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        steps: optimizer steps between two measurements.
        units: measurements of a run.
        budget: units of Hyper-Tune's trials, for each of two methods; 0: take TUNED.
    """

    steps: int
    units: int
    seeds: Sequence[int]
    budget: int


QUICK = Scale(steps=20, units=16, seeds=(1, 2, 3), budget=0)
FULL = Scale(steps=25, units=24, seeds=(1, 2, 3), budget=24 * 8)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    asked = arguments(NAME, "Does a gate that is dense first and sparse later learn faster?", argv)
    scale = scale or (QUICK if asked.quick else FULL)
    result = Result(NAME, asked.command)
    options = _text(scale)
    chosen = {name: _settings(name, options, scale, result) for name in TUNED}
    rate = {"learning_rate": chosen["switch"]["learning_rate"]}
    chosen |= {name: {**rate, **own} for name, own in OTHERS.items()}
    curves = {
        name: [train({**MODEL, "gate": name, **own}, options, scale.units, seed) for seed in scale.seeds]
        for name, own in chosen.items()
    }
    result.rows += [row for name, runs in curves.items() for row in _curve_rows(name, runs)]
    result.rows += [_summary(name, runs, curves["switch"]) for name, runs in curves.items()]
    for cost in COSTS:
        ratios = _speedups(curves["dense_to_sparse"], curves["switch"], cost)
        result.headline[f"dts_{cost}_speedup_vs_switch"] = statistics.median(ratios)
        result.headline[f"dts_{cost}_speedup_vs_switch_min"] = min(ratios)
    publish(result, asked.json)


def _text(scale: Scale) -> TextOptions:
    common = {**TEXT, "steps": scale.steps}
    try:
        return read_options({**common, "dataset": "shakespeare"})
    except WorkloadError as error:
        print(f"{error}; learning the interpreter's own sources instead")
        return read_options({**common, "dataset": "python"})


def _settings(name: str, options: TextOptions, scale: Scale, result: Result) -> Config:
    if not scale.budget:
        return dict(TUNED[name])
    found, loss = tuned(_space(name, scale), {**MODEL, "gate": name}, options, scale.units, scale.budget)
    result.rows += [
        {"tuned": name, "setting": key, "value": _cell(value), "loss": loss} for key, value in found.items()
    ]
    return found


def _space(name: str, scale: Scale) -> SearchSpace:
    steps = scale.steps * scale.units
    shared = (
        Float("learning_rate", 1e-3, 3e-2, log=True, default=5e-3),
        Float("balance", 1e-3, 0.3, log=True, default=0.01),
        Float("capacity_factor", 1.0, 4.0, log=True, default=2.0),
    )
    if name == "switch":
        return SearchSpace(*shared)
    return SearchSpace(
        *shared,
        Float("tau_start", 0.5, 4.0, log=True, default=2.0),
        Float("tau_end", 0.05, 0.5, log=True, default=0.3),
        Int("tau_horizon", max(1, steps // 20), steps, log=True, default=max(1, steps // 3)),
        Categorical("tau_schedule", ["exponential", "linear"]),
        Float("threshold", 1e-3, 0.3, log=True, default=0.1),
        Categorical("mix", ["gate", "softmax"]),
    )


def _cell(value: Any) -> Cell:
    return value if isinstance(value, (int, float)) else str(value)


def _speedups(ours: Sequence[Curve], theirs: Sequence[Curve], cost: str) -> list[float]:
    return [speedup(mine, other, cost) for mine, other in zip(ours, theirs, strict=True)]


def _curve_rows(name: str, runs: Sequence[Curve]) -> list[dict[str, Cell]]:
    """About ten points of the mean curve."""
    points = range(len(runs[0].steps))
    kept = [point for point in points if (point + 1) % max(1, len(points) // 10) == 0]
    return [
        {
            "gate": name,
            "steps": runs[0].steps[point],
            "loss": statistics.fmean(run.loss[point] for run in runs),
            "loss from": min(run.loss[point] for run in runs),
            "loss to": max(run.loss[point] for run in runs),
            "GFLOP": statistics.fmean(run.flops[point] for run in runs) / 1e9,
        }
        for point in kept
    ]


def _summary(name: str, runs: Sequence[Curve], switch: Sequence[Curve]) -> dict[str, Cell]:
    row: dict[str, Cell] = {"gate": name, "best loss": statistics.median(run.best for run in runs)}
    row["whole run GFLOP"] = statistics.median(run.flops[-1] for run in runs) / 1e9
    row["whole run s"] = statistics.median(run.seconds[-1] for run in runs)
    for cost in COSTS:
        ratios = _speedups(runs, switch, cost)
        row[f"{cost} speed-up"] = statistics.median(ratios)
        row[f"{cost} from"], row[f"{cost} to"] = min(ratios), max(ratios)
    return row


if __name__ == "__main__":
    main()
