"""A workload that costs nothing itself: reports at a given pace, each with the time at which it was made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tunewright import Checkpoint, Config, Fidelity, Float, Leg, Objective, Report, SearchSpace, Workload


class Stamped(Workload):
    """Reports `sent`, the wall clock in seconds since the epoch, beside a loss that falls with the steps."""

    name = "stamped"
    space = SearchSpace(Float("x", 0.0, 1.0))
    objectives = (Objective(metric="loss"),)
    fidelity = Fidelity(name="steps", min=1, max=1000)
    data_options = {"seconds": "pause before each report; 0 reports as fast as it can"}

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        pause = float(data.get("seconds", 0))
        x = float(config["x"])
        for step in leg.steps(checkpoint):
            if pause:
                time.sleep(pause)
            report(step, {"loss": x + 1.0 / step, "sent": time.time()})
