"""Small workloads that a child process imports: a good one, and one for each thing a user's code may do wrong."""

from __future__ import annotations

import math
import subprocess
import sys
import threading

import numpy as np

from tunewright import Fidelity, Float, Objective, SearchSpace, TrialStopped, Workload


class Good(Workload):
    """Reports 1 / step and saves a state at the end."""

    name = "good"
    space = SearchSpace(Float("x", 0.0, 1.0))
    objectives = (Objective(metric="loss"),)
    fidelity = Fidelity(name="steps", max=9)

    def run(self, config, leg, *, data, checkpoint, report):
        for step in leg.steps(checkpoint):
            report(step, {"loss": 1 / step})
        with checkpoint.save(leg.end) as directory:
            (directory / "state").write_text(str(leg.end))


class SavesWhenStopped(Good):
    def run(self, config, leg, *, data, checkpoint, report):
        for step in leg.steps(checkpoint):
            try:
                report(step, {"loss": 1 / step})
            except TrialStopped:
                with checkpoint.save(step) as directory:
                    (directory / "state").write_text(str(step))
                raise


class SwallowsTheStop(Good):
    def run(self, config, leg, *, data, checkpoint, report):
        for step in leg.steps(checkpoint):
            try:
                report(step, {"loss": 1 / step})
            except Exception:
                return


class Prints(Good):
    def run(self, config, leg, *, data, checkpoint, report):
        print('{"type": "report", "resource": 1, "metrics": {"loss": -1}}')
        sys.stderr.write("a warning\n")
        subprocess.run([sys.executable, "-c", "print('from a grandchild')"], check=True)
        report(1, {"loss": 1.0})


class ReadsInput(Good):
    def run(self, config, leg, *, data, checkpoint, report):
        taken = sys.stdin.read() + subprocess.run(["cat"], capture_output=True, text=True, check=True).stdout
        report(1, {"loss": float(len(taken))})


class Raises(Good):
    def run(self, config, leg, *, data, checkpoint, report):
        report(1, {"loss": 1.0})
        raise RuntimeError("the data ran out")


class RaisesAtLength(Good):
    def run(self, config, leg, *, data, checkpoint, report):
        raise RuntimeError("x" * 1_000_000)


class Exits(Good):
    def run(self, config, leg, *, data, checkpoint, report):
        sys.exit(3)


class Reports(Good):
    """Reports what `case` names."""

    cases = {
        "nan": [(1, {"loss": math.nan})],
        "infinite": [(1, {"loss": 1.0}), (2, {"loss": math.inf})],
        "huge": [(1, {"loss": 10**400})],
        "text": [(1, {"loss": "0.5"})],
        "truth": [(1, {"loss": True})],
        "missing": [(1, {"accuracy": 0.5})],
        "same": [(1, {"loss": 1.0}), (1, {"loss": 1.0})],
        "beyond": [(10, {"loss": 1.0})],
        "no_resource": [(math.nan, {"loss": 1.0})],
        "no_mapping": [(1, [1.0])],
        "scalars": [(np.int64(1), {"loss": np.float32(0.5), "extra": np.nan, "note": "x", "object": object()})],
    }

    def run(self, config, leg, *, data, checkpoint, report):
        for resource, metrics in self.cases[data["case"]]:
            report(resource, metrics)


class LeavesAThread(Good):
    """Its thread of the first leg reports as soon as the second leg runs."""

    ready = threading.Event()
    told: list[str] = []

    def run(self, config, leg, *, data, checkpoint, report):
        if leg.start == 0:
            self.thread = threading.Thread(target=self._late, args=(report,))
            type(self).late = self.thread
            self.thread.start()
        else:
            self.ready.set()
            type(self).late.join()
            report(leg.end, {"loss": float(self.told == ["TrialStopped"])})

    def _late(self, report):
        self.ready.wait()
        try:
            report(1, {"loss": -1.0})
        except TrialStopped as error:
            self.told.append(type(error).__name__)


class NotAWorkload:
    pass


class Undeclared(Workload):
    name = "undeclared"

    def run(self, config, leg, *, data, checkpoint, report):
        raise NotImplementedError
