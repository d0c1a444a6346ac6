"""A training program as its author would write it: goes on from its state, saves it, and ends when asked to.

    steady.py X SECONDS

Each step takes SECONDS. The loss depends on X, the step and the sum of the steps before, which only the state knows.
"""

import json
import os
import signal
import sys
import time

x, seconds = float(sys.argv[1]), float(sys.argv[2])
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))


def save(step, total):
    path = os.path.join(os.environ["TUNEWRIGHT_CHECKPOINT"], f"{step}.json")
    with open(path, "w") as file:
        json.dump({"step": step, "total": total}, file)
    return os.path.basename(path)


state = {"step": 0, "total": 0.0}
if "TUNEWRIGHT_RESUME" in os.environ:
    with open(os.environ["TUNEWRIGHT_RESUME"]) as file:
        state = json.load(file)
print(f"begins at {state['step']} with seed {os.environ['TUNEWRIGHT_SEED']}")
step, total = state["step"], state["total"]
assert step == float(os.environ["TUNEWRIGHT_START"])
while step < float(os.environ["TUNEWRIGHT_END"]) and not stopped:
    time.sleep(seconds)
    step, total = step + 1, total + step
    metrics = {"loss": x + total / step, "total": total}
    print(json.dumps({"resource": step, "metrics": metrics, "checkpoint": save(step, total)}))
