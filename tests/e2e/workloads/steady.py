"""A workload whose every step leaves a trace outside of the service, to see what was run and how often."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunewright import (
    Checkpoint,
    Config,
    Fidelity,
    Float,
    Leg,
    Objective,
    Report,
    SearchSpace,
    TrialStopped,
    Workload,
)


class Steady(Workload):
    """Takes the same time for each step; the loss falls with the steps and depends on x."""

    name = "steady"
    space = SearchSpace(Float("x", 0.0, 1.0))
    objectives = (Objective(metric="loss"),)
    fidelity = Fidelity(name="steps", min=3, max=27)
    data_options = {"trace": "file to which every leg and step is appended", "seconds": "per step"}

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        x = float(config["x"])
        self._trace(data, {"x": x, "leg": [leg.start, leg.end], "from": checkpoint.resource, "pid": os.getpid()})
        for step in leg.steps(checkpoint):
            time.sleep(float(data["seconds"]))
            self._trace(data, {"x": x, "step": step})
            try:
                report(step, {"loss": x + 1.0 / step})
            except TrialStopped:
                self._save(checkpoint, step)
                raise
            if checkpoint.due or step == leg.end:
                self._save(checkpoint, step)

    def _save(self, checkpoint: Checkpoint, step: int) -> None:
        with checkpoint.save(step) as directory:
            (directory / "step").write_text(str(step))

    def _trace(self, data: Mapping[str, Any], line: Mapping[str, Any]) -> None:
        with Path(data["trace"]).open("a") as file:
            file.write(json.dumps(line) + "\n")
