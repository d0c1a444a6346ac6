"""DEHB (differential evolution under Hyperband), by ask and tell, in the unit cube.

It promotes in its first round of brackets alone; those resume here from their checkpoints. Its ask and tell know no
number of workers.
"""

from __future__ import annotations

import tempfile
from importlib import import_module
from typing import Any

from benchmarks.peers.adapter import Study, Task


class Dehb:
    """DEHB's own defaults, with the study's ladder of resources."""

    every_report = False

    def __init__(self, study: Study) -> None:
        self._own: Any = import_module("dehb").DEHB(
            f=None,
            cs=None,
            dimensions=len(study.space),
            min_fidelity=study.min_resource,
            max_fidelity=study.max_resource,
            eta=study.eta,
            seed=study.seed,
            n_workers=1,
            save_freq="end",
            output_path=tempfile.mkdtemp(prefix="dehb-"),
            log_level="ERROR",
        )
        self._asked: dict[str, Any] = {}

    def next(self) -> Task | None:
        """See `Adapter.next`."""
        info = self._own.ask()
        name = str(info["config_id"])
        # Near its brackets' ends DEHB may raise a configuration that is still running: a copy then starts anew.
        while name in self._asked:
            name += "-copy"
        self._asked[name] = info
        return Task(name, round(info["fidelity"]), {}, [float(u) for u in info["config"]])

    def observe(self, trial: str, resource: int, loss: float) -> bool:
        """See `Adapter.observe`."""
        return False

    def finish(self, trial: str, resource: int, loss: float) -> None:
        """See `Adapter.finish`."""
        self._own.tell(self._asked.pop(trial), {"fitness": loss, "cost": float(resource)})
