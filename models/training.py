"""The loop of workloads that learn in whole steps: one step, one report, a state where the contract wants one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tunewright.errors import TrialStopped
from tunewright.workload import Checkpoint, Leg, Report


class Learner(Protocol):
    """A model in training.

    Promises that `train` relies on: what `step` returns depends on configuration, data, seed and the steps before,
    and not on whether a state was saved or restored between them.
    """

    def step(self, resource: int) -> dict[str, float]:
        """Learn one epoch, round or step more, the one that reaches `resource`, and measure."""

    def save(self, directory: Path) -> None:
        """Write everything that later steps depend on to an empty directory."""

    def restore(self, directory: Path) -> None:
        """Continue from what `save` wrote; called at most once, before the first step."""


def train(learner: Learner, leg: Leg, *, checkpoint: Checkpoint, report: Report) -> None:
    """Run a leg from the checkpoint's state, if it holds one, until `leg.end`.

    A state is saved at the leg's end, whenever the checkpoint is due, and when the trial is told to stop: its last
    report has been sent by then, so the work behind it is kept for a later leg.

    Raises:
        TrialStopped: from `report`, after the state was saved.
    """
    if checkpoint.latest is not None:
        learner.restore(checkpoint.latest)
    for resource in leg.steps(checkpoint):
        metrics = learner.step(resource)
        stop: TrialStopped | None = None
        try:
            report(resource, metrics)
        except TrialStopped as told:
            stop = told
        if stop is not None or resource == int(leg.end) or checkpoint.due:
            with checkpoint.save(resource) as directory:
                learner.save(directory)
        if stop is not None:
            raise stop
