"""The journal's contract in memory: for tests of what writes to one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tunewright.study import StudySpec, StudyState
from workers.journal import Batch, Fact, Fenced, JobEnded, JobStarted, Status, StudyRecord, Wanted


@dataclass
class MemoryStudy:
    """Everything that is written of one study.

    Attributes:
        before_commit: called before a batch is written; raises what the store should raise.
    """

    spec: StudySpec
    epoch: int = 0
    wanted: Wanted = Wanted.RUN
    batches: list[Batch] = field(default_factory=list)
    before_commit: Callable[[Batch], None] = lambda batch: None

    @property
    def facts(self) -> list[Fact]:
        return [fact for batch in self.batches for fact in batch.facts]

    @property
    def status(self) -> Status:
        return self.batches[-1].status if self.batches else Status(StudyState.QUEUED, 0.0)


class MemoryStore:
    """Studies by id."""

    def __init__(self) -> None:
        self.studies: dict[str, MemoryStudy] = {}
        self._ids = itertools.count()

    def create(self, spec: StudySpec) -> str:
        study = f"study{next(self._ids)}"
        self.studies[study] = MemoryStudy(spec)
        return study

    def journal(self, study: str) -> MemoryJournal:
        """The study's journal under a new epoch."""
        self.studies[study].epoch += 1
        return MemoryJournal(self, study, self.studies[study].epoch)


class MemoryJournal:
    """`workers.journal.Journal` on a `MemoryStore`."""

    def __init__(self, store: MemoryStore, study_id: str, epoch: int) -> None:
        self.study_id = study_id
        self.epoch = epoch
        self._study = store.studies[study_id]

    def load(self) -> StudyRecord:
        study = self._study
        facts = [replace(f, traceback=None, log="") if isinstance(f, JobEnded) else f for f in study.facts]
        attempts = {fact.job.id: 0 for fact in facts if isinstance(fact, JobStarted)}
        attempts |= {attempt.job: attempt.attempt for batch in study.batches for attempt in batch.attempts}
        over = {fact.job for fact in facts if isinstance(fact, JobEnded)}
        return StudyRecord(
            study=self.study_id,
            spec=study.spec,
            state=study.status.state,
            wanted=study.wanted,
            active_seconds=study.status.active_seconds,
            batch=len(study.batches),
            facts=facts,
            attempts={job: count for job, count in attempts.items() if job not in over},
        )

    def commit(self, batch: Batch) -> None:
        self._hold()
        self._study.before_commit(batch)
        if batch.number == len(self._study.batches):
            return
        if batch.number != len(self._study.batches) + 1:
            raise Fenced(f"study {self.study_id}: batch {batch.number} does not follow {len(self._study.batches)}")
        self._study.batches.append(batch)

    def heartbeat(self) -> Wanted:
        self._hold()
        return self._study.wanted

    def release(self) -> None:
        pass

    def _hold(self) -> None:
        if self.epoch != self._study.epoch:
            raise Fenced(f"study {self.study_id}: epoch {self.epoch} is over")
