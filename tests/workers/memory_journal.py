"""The journal's contract in memory, for tests of what writes to one."""

from __future__ import annotations

from dataclasses import replace

from optimizers.protocol import Earlier
from tunewright.space import Config
from tunewright.study import StudySpec, StudyState
from workers.journal import (
    Batch,
    Enqueued,
    Fact,
    Fenced,
    JobEnded,
    JobStarted,
    JournalUnavailable,
    Status,
    StudyRecord,
    Wanted,
)


class MemoryJournal:
    """`workers.journal.Journal` of one study; whatever is written stays to look at.

    Attributes:
        batches: everything committed.
        wanted: what people want of the study.
        fenced: another runner has the study.
        outages: writes that will fail before the store is back.
        configs: what people enqueued.
        earlier: trials of other studies to start with.
    """

    def __init__(self, spec: StudySpec) -> None:
        self.spec = spec
        self.batches: list[Batch] = []
        self.wanted = Wanted.RUN
        self.fenced = False
        self.outages = 0
        self.configs: list[Config] = []
        self.earlier: list[Earlier] = []

    @property
    def facts(self) -> list[Fact]:
        return [fact for batch in self.batches for fact in batch.facts]

    def taken_over(self) -> MemoryJournal:
        """The same study's journal in the hands of its next runner."""
        self.fenced = True
        following = MemoryJournal(self.spec)
        following.batches, following.wanted = self.batches, self.wanted
        following.configs, following.earlier = self.configs, self.earlier
        return following

    def load(self) -> StudyRecord:
        facts = [replace(f, traceback=None) if isinstance(f, JobEnded) else f for f in self.facts]
        over = {fact.job for fact in facts if isinstance(fact, JobEnded)}
        attempts = {fact.job.id: 0 for fact in facts if isinstance(fact, JobStarted)}
        attempts |= {attempt.job: attempt.attempt for batch in self.batches for attempt in batch.attempts}
        last = {attempt.job: attempt for batch in self.batches for attempt in batch.attempts}
        status = self.batches[-1].status if self.batches else Status(StudyState.QUEUED, 0.0)
        return StudyRecord(
            study="study",
            spec=self.spec,
            state=status.state,
            wanted=self.wanted,
            active_seconds=status.active_seconds,
            batch=len(self.batches),
            facts=facts,
            attempts={job: count for job, count in attempts.items() if job not in over},
            earlier=self.earlier,
            cluster_seconds=status.cluster_seconds,
            begun_at={attempt.job: batch.at for batch in self.batches for attempt in batch.attempts},
            begun=[attempt for job, attempt in sorted(last.items()) if job not in over or attempt.key is not None],
            improved_at=max((sum(b.status.counts.values()) for b in self.batches if b.improved), default=0),
        )

    def commit(self, batch: Batch) -> None:
        self._write()
        if batch.number == len(self.batches):
            return
        if batch.number != len(self.batches) + 1:
            raise Fenced(f"batch {batch.number} does not follow {len(self.batches)}")
        # The facts as they are now: the loop may go on filling its lists.
        self.batches.append(replace(batch, facts=tuple(batch.facts), attempts=tuple(batch.attempts)))

    def heartbeat(self) -> Wanted:
        self._write()
        return self.wanted

    def enqueued(self) -> list[Enqueued]:
        self._write()
        told = sum(isinstance(fact, Enqueued) for fact in self.facts)
        return [Enqueued(number, self.configs[number]) for number in range(told, len(self.configs))]

    def share(self, running: float, wanted: int) -> int | None:
        self._write()
        return None

    def release(self) -> None:
        pass

    def _write(self) -> None:
        if self.fenced:
            raise Fenced("this epoch is over")
        if self.outages > 0:
            self.outages -= 1
            raise JournalUnavailable("the store is down")
