"""Times a peer's decisions in a study of a given size. Runs in the peers' environment.

Reads one order as JSON from standard input and writes the milliseconds of its decisions as the last line of its output.
Optuna takes finished and running trials as they are; Syne Tune has to be led there by its own suggestions, whose
configurations are its own. Of wall and processor time only decisions that start a trial are told, as of ours.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from typing import Any

from benchmarks.peers.adapter import Study

MAX_RESOURCE = 81


def main() -> None:
    """Serve the order on standard input."""
    order: dict[str, Any] = json.load(sys.stdin)
    clock = Clock()
    (_optuna if order["peer"] == "optuna_tpe" else _syne_tune)(order, clock)
    print(json.dumps({"wall": clock.wall, "cpu": clock.cpu, "every": clock.every}))


class Clock:
    """Milliseconds of decisions.

    Attributes:
        wall, cpu: of those that started trials.
        every: wall time of all.
    """

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.every: list[float] = []

    def start(self) -> None:
        """A decision begins."""
        self._began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """It is made."""
        wall, cpu = self._began
        self._took = 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)

    def count(self, *, starts: bool) -> None:
        """Count it; `starts`: it started a trial."""
        wall, cpu = self._took
        self.every.append(wall)
        if starts:
            self.wall.append(wall)
            self.cpu.append(cpu)


def _optuna(order: dict[str, Any], clock: Clock) -> None:
    optuna: Any = import_module("optuna")
    from benchmarks.peers.optuna import _suggest

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    import_module("warnings").simplefilter("ignore")
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1, constant_liar=True))
    shapes = {parameter["name"]: _distribution(optuna.distributions, parameter) for parameter in order["space"]}
    make, states = optuna.trial.create_trial, optuna.trial.TrialState
    study.add_trials(
        [make(params=each["config"], distributions=shapes, value=each["loss"]) for each in order["finished"]]
    )
    study.add_trials([make(params=config, distributions=shapes, state=states.RUNNING) for config in order["running"]])
    began = time.perf_counter()
    while len(clock.wall) < order["decisions"] and time.perf_counter() - began < order["seconds"]:
        clock.start()
        trial = study.ask()
        for parameter in order["space"]:
            _suggest(trial, parameter)
        clock.stop()
        clock.count(starts=True)
        study.tell(trial, order["finished"][len(clock.wall)]["loss"])


def _distribution(distributions: Any, parameter: dict[str, Any]) -> Any:
    if parameter["type"] == "float":
        return distributions.FloatDistribution(parameter["low"], parameter["high"], log=parameter.get("log", False))
    if parameter["type"] == "int":
        return distributions.IntDistribution(parameter["low"], parameter["high"], log=parameter.get("log", False))
    return distributions.CategoricalDistribution(parameter["choices"])


def _syne_tune(order: dict[str, Any], clock: Clock) -> None:
    from benchmarks.peers.syne_tune import SyneTune

    study = Study(order["space"], 1, MAX_RESOURCE, 3, 1, len(order["running"]))
    scheduler = SyneTune(order["peer"].removeprefix("syne_tune_"), study)
    losses = [each["loss"] for each in order["finished"]]
    running: list[Any] = []
    known: set[str] = set()
    finished = 0
    began = time.perf_counter()
    while len(clock.wall) < order["decisions"] and time.perf_counter() - began < 4 * order["seconds"]:
        clock.start()
        task = scheduler.next()
        clock.stop()
        if task is None:
            return
        if finished >= len(losses):
            clock.count(starts=task.trial not in known)
        known.add(task.trial)
        running.append(task)
        if len(running) > len(order["running"]):
            done = running.pop(0)
            # It learns of a result here: its `observe` takes none.
            scheduler.finish(done.trial, done.end, losses[finished % len(losses)])
            finished += 1


if __name__ == "__main__":
    main()
