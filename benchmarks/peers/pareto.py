"""Optuna's samplers for several objectives, one trial after the other: JSON lines, as `driver` does it.

{"sampler": "tpe", "space": [...], "objectives": 2, "seed": 0, "first": 10}    -> {}
{"verb": "ask"}                                                               -> {"config": {...}}
{"verb": "tell", "losses": [0.5, 0.1]}                                        -> {}
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from benchmarks.peers.adapter import active
from benchmarks.peers.driver import serve
from benchmarks.peers.optuna import _suggest


class Pareto:
    """One study after the other."""

    def __init__(self) -> None:
        self._optuna: Any = import_module("optuna")
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        import_module("warnings").simplefilter("ignore")
        self._study: Any = None
        self._trial: Any = None
        self._space: list[dict[str, Any]] = []

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answer to a message."""
        verb = message.get("verb")
        if verb == "ask":
            return {"config": self._ask()}
        if verb == "tell":
            self._study.tell(self._trial, message["losses"])
            return {}
        self._space = message["space"]
        self._study = self._optuna.create_study(
            directions=["minimize"] * message["objectives"],
            sampler=self._sampler(message["sampler"], message["seed"], message["first"]),
        )
        return {}

    def _sampler(self, name: str, seed: int, first: int) -> Any:
        samplers = self._optuna.samplers
        if name == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=2 * first)
        return samplers.TPESampler(seed=seed, n_startup_trials=first)

    def _ask(self) -> dict[str, Any]:
        self._trial, config = self._study.ask(), dict[str, Any]()
        for parameter in self._space:
            if active(parameter, config):
                config[parameter["name"]] = _suggest(self._trial, parameter)
        return config


if __name__ == "__main__":
    serve(Pareto().answer)
