"""A workload that keeps its own record of what it was asked to do and of what was acknowledged."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from tunewright import Checkpoint, Config, Fidelity, Float, Leg, Objective, Report, SearchSpace, Workload


class Witnessed(Workload):
    """Writes a line when a leg begins, and one after each report that was acknowledged; each says when that was."""

    name = "witnessed"
    space = SearchSpace(Float("x", 0.0, 1.0))
    objectives = (Objective(metric="loss"),)
    fidelity = Fidelity(name="steps", min=3, max=27)
    data_options = {
        "record": "file to which lines are appended",
        "study": "number that stands in each line",
        "seconds": "per step",
    }

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        trial = {"study": int(data["study"]), "x": float(config["x"])}
        # Appended in one write each, so that processes killed in between leave whole lines.
        record = os.open(data["record"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            _note(record, trial | {"began": time.time()})
            for step in leg.steps(checkpoint):
                time.sleep(float(data["seconds"]))
                report(step, {"loss": trial["x"] + 1.0 / step})
                _note(record, trial | {"step": step, "at": time.time()})
                if checkpoint.due or step == leg.end:
                    with checkpoint.save(step) as directory:
                        (directory / "step").write_text(str(step))
        finally:
            os.close(record)


def _note(record: int, line: Mapping[str, float]) -> None:
    os.write(record, (json.dumps(line) + "\n").encode())
