"""Which states of a study's trials another trial may still begin from, so that the rest can go.

A trial's newest state is its own. One that it left behind is kept while the optimizer may still copy it, and while
a copy of it is on its first leg, which may have to start again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from optimizers.protocol import Job, Optimizer


@dataclass(frozen=True)
class Released:
    """A trial without a leg, some of whose states nobody needs any more.

    Attributes:
        keep: resources of those that are needed, beside the newest.
        newest: whether the newest is needed too.
    """

    trial: int
    keep: frozenset[float]
    newest: bool


class Copies:
    """The states to keep, as they follow from what the optimizer knows now."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        # Trials that may hold more than is needed, and what was released of each last.
        self._open: dict[int, Released | None] = {}

    def note(self, job: Job) -> None:
        """A job was given out: its trial will have states."""
        if self._optimizer.branches:
            self._open[job.trial] = None

    def kept(self, trial: int) -> frozenset[float]:
        """Resources at which a leg of this trial must leave states in place, beside its newest."""
        if not self._optimizer.branches:
            return frozenset()
        copied = {job.start for job in self._optimizer.running.values() if job.parent == trial}
        standing = self._optimizer.copyable().get(trial)
        return frozenset(copied if standing is None else copied | {standing})

    def released(self) -> Iterator[Released]:
        """Trials of which states can go; one is named again only when less of it is needed."""
        copyable = self._optimizer.copyable() if self._open else {}
        for trial, before in list(self._open.items()):
            if trial in copyable or self._optimizer.trials[trial].running is not None:
                continue
            found = Released(trial, self.kept(trial), newest=self._whole(trial))
            if not found.keep:
                del self._open[trial]
            else:
                self._open[trial] = found
            if found != before:
                yield found

    def _whole(self, trial: int) -> bool:
        """Whether it was trained to its end: it may turn out to be the best, whose model people want."""
        return self._optimizer.trials[trial].completed >= self._optimizer.problem.fidelity.max
