"""Is Hyper-Tune ahead, and by how much? All methods and peers on the same recorded curves, in simulated time.

    python -m benchmarks.hypertune [--quick] [--json FILE] [--peers all|fast|none] [--formulas] [--resume]
                                   [--processes N] [--seeds N] [--start SHARE]

Every (configuration, resource) has a recorded loss and a recorded duration (`benchmarks.data`). A discrete-event clock
lets 8 and 64 workers train; all methods get the same tables, seeds and ladder of resources (R / 27 to R, eta 3, as in
Hyper-Tune's paper), promotions continue from checkpoints for everybody, and nobody's thinking costs simulated time.
Nobody is told the workloads' default configurations.

The horizon is given in whole trainings per worker, of the table's mean duration. With `--start` each leg takes that
share of such a training before it trains anything, as where programs and data have to be loaded, and Hyper-Tune races
once more with `cost_aware`; 0 without it.

value           smallest loss measured at full resource so far
regret          (value - best of the table) / (median of the table - best), cut to [0, 1]; 1 before the first value
anytime regret  its mean over time until the horizon
speed-up        a rival's time to its own final value / Hyper-Tune's time to that value, in the run of the same seed.
                Who never gets there counts with the horizon, and is counted as censored.

Speed-ups are geometric means over seeds, then over tasks (table x workers); maxima are over tasks. "BOHB" is the
stronger of ours and Syne Tune's on each task, "A-BOHB" of our and Syne Tune's MOBSTER, "best peer" the best of all
peers: stronger means the smaller mean anytime regret on that very task, in the seeds that all of them have run; it is
known only afterwards, which favours the rival.
Intervals are 95% bootstrap over tasks and seeds. Ranks are of anytime regret, in the seeds that all methods have run.

Two kinds of tables: recorded ones of small data sets, whose grids of two to three thousand configurations are soon used
up, and modelled ones (`benchmarks.data.modelled`), whose spaces are as large as real ones; Hyper-Tune's settings were
chosen on other seeds of these. Headlines are of both kinds; those that begin with `recorded_` and `modelled_` of one
alone, and those with `formula_` of the functions in `benchmarks.data.formula`, which carry no claim.

`--peers fast` leaves out those that think for minutes in a run; SLOW ones get fewer seeds than the others in any case.
`--seeds` takes fewer of them, for a run that has to end sooner.
`--resume` takes up runs that an interrupted benchmark of the same code, tables and settings left in
`build/hypertune`; simulations depend on nothing else. More `--processes` shorten the waiting and change no figure but
`real_ms_per_trial`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks import data
from benchmarks._harness import Arguments, Cell, Result, arguments, publish
from benchmarks._speedups import (
    FLOOR,
    Outcome,
    Speedup,
    anytime_regret,
    geometric_mean,
    improvements,
    interval,
    ranks,
    regret,
    speedup,
)
from benchmarks.data.formula import FormulaTable, formulas
from benchmarks.data.modelled import SPACES, ModelledTable, modelled
from benchmarks.peers import environment
from benchmarks.peers.driver import PEERS
from benchmarks.peers.optimizer import PeerError, PeerOptimizer, PeerProcess
from optimizers import registry
from optimizers.errors import OptimizerError
from optimizers.protocol import Optimizer, Problem
from optimizers.simulate import simulate

NAME = "hypertune"
OURS = ("hypertune", "random", "asha", "hyperband", "bohb", "mobster", "tpe")
# Raced as well where a leg costs something to start.
COST_AWARE: Mapping[str, Mapping[str, Any]] = {"hypertune: cost-aware": {"cost_aware": True}}
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "hypertune: eager promotion": {"promotion": "eager"},
    "hypertune: brackets by the paper's rule": {"allocation": "learned"},
    "hypertune: forests for processes": {"surrogate": "forest"},
    "hypertune: brackets by turns": {"allocation": "round_robin"},
    "hypertune: lowest bracket only": {"allocation": "off"},
    "hypertune: full-fidelity model only": {"sampler": "full_fidelity"},
    "hypertune: random configurations": {"sampler": "random"},
}
SETTINGS = {**COST_AWARE, **ABLATIONS}
# Each group's strongest member on a task is the rival there.
RIVALS: Mapping[str, Sequence[str]] = {
    "bohb": ("bohb", "syne_tune_bohb"),
    "abohb": ("mobster", "syne_tune_mobster"),
    "best_peer": tuple(PEERS),
}
# These think for minutes in one run; they get the first seeds only.
SLOW = ("mobster", "syne_tune_bohb", "syne_tune_mobster", "syne_tune_hypertune", "smac_hyperband")
ETA = 3
RUNGS_BELOW_FULL = 3
CHECKPOINTS = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
AnyTable: TypeAlias = data.RecordedTable | ModelledTable | FormulaTable
KINDS = {data.RecordedTable: "recorded", ModelledTable: "modelled", FormulaTable: "formula"}
CACHE = Path("build/hypertune")
ROOT = Path(__file__).parents[1]
# What of `optimizers` a peer's run depends on too: the tables are made with it, and the clock is there.
OF_TABLES_AND_CLOCK = ("candidates", "initial", "protocol", "simulate", "synthetic")


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        tables: recorded ones; None: all.
        modelled: kinds and seeds of modelled ones.
        trainings: workers -> horizon in whole trainings per worker.
        slow_seeds: seeds for SLOW methods.
        peers: None: all.
        ablations, formulas: whether they are run.
        start: of a leg, in whole trainings.
    """

    tables: Sequence[str] | None
    modelled: Sequence[tuple[str, int]]
    trainings: Mapping[int, float]
    seeds: int
    slow_seeds: int
    peers: Sequence[str] | None
    ablations: bool
    formulas: bool
    start: float = 0.0


HELD_OUT = [(kind, seed) for seed in (100, 101) for kind in SPACES]
FULL = Scale(None, HELD_OUT, {8: 20.0, 64: 6.0}, seeds=10, slow_seeds=3, peers=None, ablations=True, formulas=False)
QUICK = Scale(
    ("xgboost_digits",),
    (("network", 100), ("cell", 100)),
    {8: 20.0},
    seeds=1,
    slow_seeds=1,
    peers=("syne_tune_asha", "optuna_tpe_hyperband", "dehb"),
    ablations=False,
    formulas=False,
)


@dataclass(frozen=True)
class Task:
    """A table, so many workers, so many seconds; `start` of these are what each leg takes to begin."""

    table: AnyTable
    workers: int
    horizon: float
    start: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.table.name} x {self.workers}"

    @property
    def kind(self) -> str:
        """Of the table: "recorded", "modelled" or "formula"."""
        return KINDS[type(self.table)]

    def problem(self, seed: int) -> Problem:
        """The table's problem with the benchmark's ladder of resources."""
        problem = self.table.problem(seed=seed)
        lowest = max(1.0, problem.fidelity.max / ETA**RUNGS_BELOW_FULL)
        return replace(problem, fidelity=problem.fidelity.model_copy(update={"min": lowest}))

    def anytime(self, outcome: Outcome) -> float:
        return anytime_regret(outcome, self.table.best, self.table.median)


Outcomes: TypeAlias = dict[str, dict[str, dict[int, Outcome]]]
# A method on a task with a seed.
Unit: TypeAlias = tuple[str, Task, int]


@dataclass
class Race:
    """Runs methods on tasks, and knows which could not run.

    Attributes:
        outcomes: task -> method -> seed -> outcome.
        failed: method -> why it has no outcome.
    """

    scale: Scale
    tasks: Sequence[Task]
    resume: bool
    outcomes: Outcomes = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def run(self, methods: Sequence[str], processes: int) -> None:
        """Run every method on every task with every seed; slow ones last, so that the others are safe."""
        units = [
            (method, task, seed)
            for method in sorted(methods, key=lambda name: name in SLOW)
            for task in self.tasks
            for seed in range(self.scale.slow_seeds if method in SLOW else self.scale.seeds)
        ]
        left = [unit for unit in units if not (self.resume and self._cache(*unit).exists())]
        for number, (unit, answer) in enumerate(_answers(left, processes)):
            if isinstance(answer, str):
                self.failed[unit[0]] = answer
            else:
                self._cache(*unit).parent.mkdir(parents=True, exist_ok=True)
                self._cache(*unit).write_text(json.dumps(asdict(answer)))
            done = f"{number + 1} of {len(left)}: {unit[0]}, {unit[1].name}, seed {unit[2]}"
            print(f"{time.strftime('%H:%M:%S')} {done}", file=sys.stderr)
        for method, task, seed in units:
            if (cached := self._cache(method, task, seed)).exists():
                runs = self.outcomes.setdefault(task.name, {}).setdefault(method, {})
                runs[seed] = Outcome(**json.loads(cached.read_text()))

    def _cache(self, method: str, task: Task, seed: int) -> Path:
        """Where a run's outcome lies; another name after any change to code, table or settings."""
        made_of = [method, task.name, task.horizon, task.start, seed, SETTINGS.get(method)]
        made_of.append(_fingerprint(method, task.table.name))
        return CACHE / f"{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]}.json"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and publish what it found; ends with an error if a method is missing."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--peers", choices=["all", "fast", "none"], default="all")
    parser.add_argument("--formulas", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--start", type=float, default=0.0)
    own, rest = parser.parse_known_args(argv)
    found = arguments(NAME, (__doc__ or "").split("\n\n")[0], rest)
    extra = [*(["--formulas"] if own.formulas else []), *([f"--peers {own.peers}"] if own.peers != "all" else [])]
    extra += [f"--seeds {own.seeds}"] if own.seeds else []
    extra += [f"--start {own.start:g}"] if own.start else []
    found = replace(found, command=" ".join([found.command, *extra]))
    scale = replace(QUICK if found.quick else FULL, formulas=own.formulas, start=own.start)
    if own.seeds:
        scale = replace(scale, seeds=own.seeds, slow_seeds=min(own.seeds, scale.slow_seeds))
    race, result = run(scale, found, peers=own.peers, resume=own.resume, processes=own.processes)
    publish(result, found.json)
    if race.failed:
        sys.exit("\n".join(f"{method}: {why}" for method, why in race.failed.items()))


def run(
    scale: Scale, found: Arguments, *, peers: str = "all", resume: bool = False, processes: int = 1
) -> tuple[Race, Result]:
    """Race all methods at a scale.

    The quick benchmark takes the peers only if they are installed; the full one installs them.
    """
    if peers != "none" and not found.quick:
        environment.ensure()
    taken = [peer for peer in scale.peers or PEERS if environment.exists() and peers != "none"]
    if peers == "fast":
        taken = [peer for peer in taken if peer not in SLOW]
    tables: list[AnyTable] = [data.load(name) for name in scale.tables or data.names()]
    tables += [modelled(*which) for which in scale.modelled]
    tables += formulas() if scale.formulas else []
    tasks = [
        Task(
            table,
            workers,
            trainings * (1.0 + scale.start) * table.training_seconds,
            scale.start * table.training_seconds,
        )
        for workers, trainings in scale.trainings.items()
        for table in tables
    ]
    race = Race(scale, tasks, resume)
    variants = [*(COST_AWARE if scale.start else ()), *(ABLATIONS if scale.ablations else ())]
    race.run([*OURS, *variants, *taken], processes)
    result = Result(NAME, found.command)
    report(race, result)
    return race, result


def report(race: Race, result: Result) -> None:
    """Turn outcomes into rows and headlines."""
    claimed = replace(race, tasks=[task for task in race.tasks if task.kind != "formula"])
    _method_rows(claimed, result)
    for rival, group in RIVALS.items():
        _speedups(claimed, "", rival, group, result)
        for kind in KINDS.values():
            tasks = [task for task in race.tasks if task.kind == kind]
            if tasks:
                _speedups(replace(race, tasks=tasks), f"{kind}_", rival, group, result)
    _task_rows(race, result)
    own = [row for row in result.rows if row.get("method") == "hypertune" and "rank_mean" in row]
    if own:
        result.headline["regret_rank_mean"] = _number(own[0]["rank_mean"])
        result.headline["methods_ranked"] = float(sum("rank_mean" in row for row in result.rows))
    result.headline["tasks"] = float(len(claimed.tasks))
    result.headline["seeds"] = float(race.scale.seeds)


def _method_rows(race: Race, result: Result) -> None:
    """One row per method over all tasks, then its regret over time, then the ablations."""
    ranked = [method for method in _complete(race) if method not in ABLATIONS]
    places: dict[str, list[float]] = {method: [] for method in ranked}
    for task in race.tasks:
        runs = race.outcomes[task.name]
        for seed in sorted(set.intersection(*(set(runs[method]) for method in ranked))):
            found = ranks([task.anytime(runs[method][seed]) for method in ranked])
            for method, rank in zip(ranked, found, strict=True):
                places[method].append(rank)
    for method in sorted(ranked, key=lambda name: float(np.mean(places[name]))):
        result.rows.append(_summary(race, method) | {"rank_mean": round(float(np.mean(places[method])), 2)})
    for workers in race.scale.trainings:
        tasks = [task for task in race.tasks if task.workers == workers]
        for method in ranked:
            result.rows.append(_curve_row(race, tasks, workers, method))
    for method in ("hypertune", *ABLATIONS):
        if race.scale.ablations and method in _complete(race):
            ratios = _against(race, "hypertune", lambda task, rival=method: rival)[0]
            pooled = {task: values for task, values in ratios.items() if values}
            means = [geometric_mean(values) for values in pooled.values()]
            low, high = interval(pooled)
            result.rows.append(
                _cells(ablation=method)
                | _regrets(race, method)
                | {"slower_by": geometric_mean(means), "slower_low": low, "slower_high": high}
            )


def _task_rows(race: Race, result: Result) -> None:
    for task in race.tasks:
        for method, runs in race.outcomes[task.name].items():
            finals = [_final(task, outcome) for outcome in runs.values()]
            result.rows.append(
                _cells(table=task.table.name, workers=task.workers, method=method, seeds=len(runs))
                | {"final_regret": float(np.mean(finals))}
                | {"anytime_regret": float(np.mean([task.anytime(outcome) for outcome in runs.values()]))}
                | {"trials": float(np.mean([outcome.trials for outcome in runs.values()]))}
                | {"utilisation": float(np.mean([outcome.utilisation for outcome in runs.values()]))}
            )


def _speedups(race: Race, prefix: str, rival: str, group: Sequence[str], result: Result) -> None:
    """Rows of speed-ups over the strongest of a group on each task, and their headlines."""
    present = [method for method in group if method in _complete(race)]
    if not present or "hypertune" not in _complete(race):
        return

    def strongest(task: Task) -> str:
        runs = race.outcomes[task.name]
        common = set.intersection(*(set(runs[method]) for method in present))
        return min(present, key=lambda method: sum(task.anytime(runs[method][seed]) for seed in common))

    ratios, found = _against(race, "hypertune", strongest)
    means = {task: geometric_mean(values) for task, values in ratios.items() if values}
    if not means:
        # Nobody has trained anything whole within the horizon.
        return
    for task in race.tasks:
        if task.name in means:
            comparisons = found[task.name]
            result.rows.append(
                _cells(speedup_vs=rival, table=task.table.name, workers=task.workers, strongest=strongest(task))
                | {"seeds": len(comparisons), "speedup": means[task.name]}
                | {"ours_censored": sum(one.ours_censored for one in comparisons)}
                | {"rival_censored": sum(one.rival_censored for one in comparisons)}
            )
    low, high = interval({task: ratios[task] for task in means})
    name = f"{prefix}speedup_vs_{rival}"
    result.headline |= {
        f"{name}_geomean": round(geometric_mean(list(means.values())), 3),
        f"{name}_geomean_low": round(low, 3),
        f"{name}_geomean_high": round(high, 3),
        f"{name}_max": round(max(means.values()), 3),
        f"{name}_ours_censored": float(sum(one.ours_censored for runs in found.values() for one in runs)),
        f"{name}_comparisons": float(sum(len(runs) for runs in found.values())),
    }


def _against(race: Race, ours: str, rival: Any) -> tuple[dict[str, list[float]], dict[str, list[Speedup]]]:
    """Speed-ups per task over the rival there, in the seeds that both have run."""
    found: dict[str, list[Speedup]] = {}
    for task in race.tasks:
        runs = race.outcomes[task.name]
        theirs = runs[rival(task)]
        pairs = [speedup(runs[ours][seed], theirs[seed]) for seed in sorted(set(theirs) & set(runs[ours]))]
        found[task.name] = [pair for pair in pairs if pair is not None]
    return {task: [one.ratio for one in pairs] for task, pairs in found.items()}, found


def _complete(race: Race) -> list[str]:
    """Methods that ran on every task."""
    first, *others = (race.outcomes[task.name] for task in race.tasks)
    return [m for m in first if m not in race.failed and all(m in runs for runs in others)]


def _summary(race: Race, method: str) -> dict[str, Cell]:
    runs = [outcome for task in race.tasks for outcome in race.outcomes[task.name][method].values()]
    trials = sum(outcome.trials for outcome in runs)
    return {
        "method": method,
        "runs": len(runs),
        **_regrets(race, method),
        "utilisation": float(np.mean([outcome.utilisation for outcome in runs])),
        "trials": trials / len(runs),
        "real_ms_per_trial": 1e3 * sum(outcome.thinking for outcome in runs) / max(trials, 1),
    }


def _regrets(race: Race, method: str) -> dict[str, Cell]:
    """Geometric means over tasks of the means over seeds."""
    finals = [
        float(np.mean([_final(task, outcome) for outcome in race.outcomes[task.name][method].values()]))
        for task in race.tasks
    ]
    return {
        "anytime_regret": geometric_mean([max(FLOOR, _mean_anytime(race, task, method)) for task in race.tasks]),
        "final_regret": geometric_mean([max(FLOOR, value) for value in finals]),
    }


def _curve_row(race: Race, tasks: Sequence[Task], workers: int, method: str) -> dict[str, Cell]:
    """Regret at shares of the horizon, geometric mean over tables."""
    shares = np.array(CHECKPOINTS)
    means = [
        np.mean(
            [regret(o, shares, t.table.best, t.table.median) for o in race.outcomes[t.name][method].values()], axis=0
        )
        for t in tasks
    ]
    values = np.exp(np.mean(np.log(np.maximum(means, FLOOR)), axis=0))
    cells: dict[str, Cell] = {"regret_of": method, "workers": workers}
    return cells | {f"at_{share:.0%}": float(value) for share, value in zip(CHECKPOINTS, values, strict=True)}


def _mean_anytime(race: Race, task: Task, method: str) -> float:
    return float(np.mean([task.anytime(outcome) for outcome in race.outcomes[task.name][method].values()]))


def _final(task: Task, outcome: Outcome) -> float:
    return float(regret(outcome, np.ones(1), task.table.best, task.table.median)[0])


def _answers(units: Sequence[Unit], processes: int) -> Iterator[tuple[Unit, Outcome | str]]:
    """Each unit with its outcome, or why it has none, as they come."""
    if processes == 1:
        yield from ((unit, _attempt(unit)) for unit in units)
        return
    with ProcessPoolExecutor(processes) as pool:
        coming = {pool.submit(_attempt, unit): unit for unit in units}
        for done in as_completed(coming):
            yield coming[done], done.result()


def _attempt(unit: Unit) -> Outcome | str:
    try:
        return _simulate(*unit)
    except (PeerError, OptimizerError) as error:
        _end_peer_processes()
        return str(error).strip().splitlines()[-1]


# This process's own process of a peer: one at a time, which ends with the pipe to it.
_peer_processes: dict[str, PeerProcess] = {}


def _peer_process(peer: str) -> PeerProcess:
    if peer not in _peer_processes:
        _end_peer_processes()
        _peer_processes[peer] = PeerProcess()
    return _peer_processes[peer]


def _end_peer_processes() -> None:
    while _peer_processes:
        _peer_processes.popitem()[1].close()


def _simulate(method: str, task: Task, seed: int) -> Outcome:
    begin = time.perf_counter()
    trace = simulate(
        _optimizer(method, task, seed),
        task.table,
        workers=task.workers,
        max_seconds=task.horizon,
        start_seconds=task.start,
    )
    thinking = time.perf_counter() - begin
    full = task.table.fidelity.max
    entries = ((event.seconds, event.entry) for event in trace.events)
    measured = [
        (seconds, entry.metrics[data.METRIC])
        for seconds, entry in entries
        if getattr(entry, "resource", None) == full and hasattr(entry, "metrics")
    ]
    trials = len({job.trial for job in trace.jobs})
    return Outcome(improvements(measured, task.horizon), task.horizon, trials, trace.utilisation, thinking)


def _optimizer(method: str, task: Task, seed: int) -> Optimizer:
    problem = task.problem(seed)
    if method in PEERS:
        return PeerOptimizer(problem, _peer_process(method), method, workers=task.workers, eta=ETA)
    return registry.create(method.split(":")[0], SETTINGS.get(method, {}), problem)


@lru_cache
def _fingerprint(method: str, table: str) -> str:
    """Of all that a run depends on, as it is when it is first asked for."""
    digest = hashlib.sha256()
    for file in _sources(method, table):
        digest.update(file.read_bytes())
    if method in PEERS:
        digest.update("\n".join(environment.installed()).encode())
    return digest.hexdigest()


def _sources(method: str, table: str) -> list[Path]:
    """The files that a run depends on."""
    files = [file for file in [data.DIRECTORY / f"{table}.npz"] if file.exists()]
    files += [*data.DIRECTORY.glob("*.py"), *(ROOT / "tunewright" / name for name in ("space.py", "study.py"))]
    files += [ROOT / "benchmarks" / name for name in ("hypertune.py", "_speedups.py")]
    if method in PEERS:
        peers = ("adapter", "driver", "optimizer", method.partition("_")[0])
        files += [file for file in environment.REQUIREMENTS.parent.glob("*.py") if file.stem.startswith(peers)]
        files += [environment.REQUIREMENTS]
        files += [ROOT / "optimizers" / f"{name}.py" for name in OF_TABLES_AND_CLOCK]
    else:
        files += [*(ROOT / "optimizers").rglob("*.py")]
    return sorted(set(files))


def _cells(**cells: Cell) -> dict[str, Cell]:
    return cells


def _number(cell: Cell) -> float:
    assert isinstance(cell, (int, float))
    return float(cell)


if __name__ == "__main__":
    main()
