"""The peers' process: JSON lines in, JSON lines out. Runs in the peers' environment.

    {"verb": "start", "peer": "optuna", "study": {...}}                 -> {"every_report": true}
    {"verb": "next"}                                                    -> {"task": {...}} or {"task": null}
    {"verb": "observe", "trial": "0", "resource": 3, "loss": 0.5}       -> {"stop": false}
    {"verb": "finish", "trial": "0", "resource": 3, "loss": 0.5}        -> {}

A second `start` begins a new study. What goes wrong is answered as {"error": message}. The end of the input ends it.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from benchmarks.peers.adapter import Adapter, Study


def _syne_tune(kind: str) -> Callable[[Study], Adapter]:
    def make(study: Study) -> Adapter:
        from benchmarks.peers.syne_tune import SyneTune

        return SyneTune(kind, study)

    return make


def _optuna(study: Study) -> Adapter:
    from benchmarks.peers.optuna import Optuna

    return Optuna(study)


def _smac(study: Study) -> Adapter:
    from benchmarks.peers.smac import Smac

    return Smac(study)


def _dehb(study: Study) -> Adapter:
    from benchmarks.peers.dehb import Dehb

    return Dehb(study)


PEERS: dict[str, Callable[[Study], Adapter]] = {
    "syne_tune_asha": _syne_tune("asha"),
    "syne_tune_bohb": _syne_tune("bohb"),
    "syne_tune_mobster": _syne_tune("mobster"),
    "syne_tune_hypertune": _syne_tune("hypertune"),
    "optuna_tpe_hyperband": _optuna,
    "smac_hyperband": _smac,
    "dehb": _dehb,
}


class Session:
    """Answers one message after the other."""

    def __init__(self) -> None:
        self._adapter: Adapter | None = None

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answer to a message."""
        verb = message["verb"]
        if verb == "start":
            study = Study(**message["study"])
            _seed(study.seed)
            self._adapter = PEERS[message["peer"]](study)
            return {"every_report": self._adapter.every_report}
        if self._adapter is None:
            raise RuntimeError(f'"{verb}" before "start"')
        if verb == "next":
            task = self._adapter.next()
            return {"task": None if task is None else asdict(task)}
        known = (message["trial"], message["resource"], message["loss"])
        if verb == "observe":
            return {"stop": self._adapter.observe(*known)}
        self._adapter.finish(*known)
        return {}


def main() -> None:
    """Run this process."""
    serve(Session().answer)


def serve(answered: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer standard input line by line until it ends; what peers print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Some peers write a folder for each study.
    with tempfile.TemporaryDirectory(prefix="tw-peers-", ignore_cleanup_errors=True) as tempfile.tempdir:
        for line in sys.stdin:
            try:
                answer = answered(json.loads(line))
            except Exception:
                answer = {"error": traceback.format_exc()}
            answers.write(json.dumps(answer, default=_plain) + "\n")
            answers.flush()
    # Some peers leave threads behind that would keep the process alive.
    os._exit(0)


def _plain(value: Any) -> Any:
    """A NumPy scalar as the number or string that it holds."""
    return value.item()


def _seed(seed: int) -> None:
    """Peers that draw from the global generators as well shall repeat themselves."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)


if __name__ == "__main__":
    main()
