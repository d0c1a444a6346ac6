"""Population based training with real states on disk: what copies begin from is there, whatever dies meanwhile."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from tests.workers.memory_journal import MemoryJournal
from tests.workers.scripted_legs import ScriptedLegs, spec
from tunewright import Budget, OptimizerSpec, StudySpec
from tunewright.study import StudyState
from workers import study_loop
from workers.checkpoints import CheckpointStore
from workers.copies import Released
from workers.journal import JobStarted, Wanted
from workers.orders import LegOrder, LegResult, Outcome, Reply
from workers.study_loop import StudyLoop
from workers.study_runner import make_optimizer

pytestmark = pytest.mark.timeout(60)

MEMBERS = 4


class Population(ScriptedLegs):
    """Legs that keep their states as real ones do: a state at every step, taken up by whoever comes next.

    Attributes:
        lost: orders that found no state to begin from.
        most: states that were there at the same time, at most.
        dead: set once its legs were killed.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(lambda legs, order: self._train(order))
        self.store = CheckpointStore(f"file://{root / 'states'}")
        self.lost: list[LegOrder] = []
        self.most = 0
        self.dead = False
        self._root = root
        self._lock = threading.Lock()

    def release(self, study: str, released: Released) -> None:
        super().release(study, released)
        with self._lock:
            self.store.prune(study, released.trial, released.keep, newest=released.newest)

    def states(self) -> int:
        return sum(path.is_dir() for path in (self._root / "states").glob("*/*/*"))

    def _train(self, order: LegOrder) -> LegResult:
        begun = self._begin(order)
        if order.job.start and begun is None:
            self.lost.append(order)
            return LegResult(Outcome.FAILED, "no state")
        for step in range(int(begun or 0) + 1, int(order.job.end) + 1):
            if self.report(order, float(step)) is not Reply.CONTINUE:
                return LegResult(Outcome.STOPPED)
            with self._lock:
                if self.dead:
                    return LegResult(Outcome.LOST)
                directory = self._root / f"writing-{order.job.id}-{order.attempt}"
                directory.mkdir(exist_ok=True)
                (directory / "step").write_text(json.dumps(step))
                self.store.put(order.study, order.job.trial, float(step), directory, keep=order.keep)
                self.most = max(self.most, self.states())
        return LegResult(Outcome.COMPLETED)

    def _begin(self, order: LegOrder) -> float | None:
        """Resource of the state from which the leg goes on; as `workers.leg` finds it."""
        place = self._root / f"fetched-{threading.get_ident()}-{order.job.id}-{order.attempt}"
        place.mkdir(parents=True, exist_ok=True)
        saved = self.store.get(order.study, order.job.trial, place)
        if saved is None and order.job.parent is not None:
            saved = self.store.get(order.study, order.job.parent, place, at=order.job.start)
        if saved is None:
            return None
        assert json.loads((saved.directory / "step").read_text()) == saved.resource
        return saved.resource


def population(**fields: object) -> StudySpec:
    settings = {"population": MEMBERS, "steps": 3, "quantile": 0.5}
    whole = spec(**{"budget": Budget(trials=20), "parallel": 3, **fields})
    return whole.model_copy(update={"optimizer": OptimizerSpec(name="pbt", settings=settings)})


def run(journal: MemoryJournal, root: Path) -> Population:
    legs = Population(root)
    legs.loop = StudyLoop(journal, make_optimizer, legs)
    legs.loop.run()
    return legs


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_loop, "HEARTBEAT_SECONDS", 0.02)


def copies(journal: MemoryJournal) -> list[JobStarted]:
    return [fact for fact in journal.facts if isinstance(fact, JobStarted) and fact.job.parent is not None]


def test_every_copy_finds_its_parents_state(tmp_path: Path) -> None:
    # How many of them are copies hangs on which ends first.
    journal = MemoryJournal(population(budget=Budget(trials=32)))

    legs = run(journal, tmp_path)

    assert journal.batches[-1].status.state is StudyState.COMPLETED
    assert len(copies(journal)) > 5
    assert legs.lost == []


def test_states_that_nobody_can_need_any_more_are_gone(tmp_path: Path) -> None:
    journal = MemoryJournal(population())

    legs = run(journal, tmp_path)

    whole = {fact.job.trial for fact in journal.facts if isinstance(fact, JobStarted) and fact.job.end == 9}
    left = {path.name: [p.name for p in path.iterdir() if p.is_dir()] for path in (tmp_path / "states/study").iterdir()}
    assert set(left) == {str(trial) for trial in whole}
    assert all(len(states) == 1 for states in left.values())
    # Two of each member, one of each copy's parent, and the newest of those that are whole.
    assert legs.most <= 3 * MEMBERS + len(whole)


@pytest.mark.parametrize("crash_at", [9, 21, 34, 47, 60])
def test_copies_find_their_parents_after_a_crash_at_any_batch(tmp_path: Path, crash_at: int) -> None:
    """The first runner stops writing in the middle; its legs are gone, and what it wrote is all that the next knows."""
    journal = MemoryJournal(population())
    first = Population(tmp_path)

    class Crashing(MemoryJournal):
        def commit(self, batch: object) -> None:
            if len(self.batches) >= crash_at:
                self.fenced = True
            super().commit(batch)  # type: ignore[arg-type]

    crashing = Crashing(journal.spec)
    first.loop = StudyLoop(crashing, make_optimizer, first)
    with pytest.raises(study_loop.Fenced):
        first.loop.run()
    with first._lock:
        first.dead = True
    following = crashing.taken_over()

    second = run(following, tmp_path)

    assert following.batches[-1].status.state is StudyState.COMPLETED
    assert [*first.lost, *second.lost] == []
    keys = [fact.job.id for fact in following.facts if isinstance(fact, JobStarted)]
    assert keys == list(range(len(keys)))


def test_a_pause_keeps_what_open_copies_begin_from(tmp_path: Path) -> None:
    journal = MemoryJournal(population())

    class Pausing(Population):
        def report(self, order: LegOrder, *resources: float) -> Reply:
            if order.job.parent is not None:
                journal.wanted = Wanted.PAUSE
            return super().report(order, *resources)

    first = Pausing(tmp_path)
    first.loop = StudyLoop(journal, make_optimizer, first)
    paused = first.loop.run()
    journal.wanted = Wanted.RUN

    second = run(journal, tmp_path)

    assert paused is StudyState.PAUSED
    assert journal.batches[-1].status.state is StudyState.COMPLETED
    assert [*first.lost, *second.lost] == []


def test_other_optimizers_keep_the_newest_and_the_state_that_is_best(tmp_path: Path) -> None:
    journal = MemoryJournal(spec("asha", budget=Budget(trials=12)))

    legs = run(journal, tmp_path)

    # Kept beside the newest is what a promoted trial begins from, of one that is the best there.
    kept = [order.job for order in legs.orders if order.keep]
    assert kept
    assert all(order.keep <= {order.job.start} for order in legs.orders)
    assert len(kept) < sum(order.job.start > 0 for order in legs.orders)
    assert legs.released == []


def test_the_best_state_outlives_a_leg_that_the_studys_end_cuts_short(tmp_path: Path) -> None:
    """The only trial is best at the end of its first rung, and its second leg never gets to its own."""
    journal = MemoryJournal(spec("asha", budget=Budget(trials=1)))

    class CutShort(Population):
        def report(self, order: LegOrder, *resources: float) -> Reply:
            if order.job.start and resources[-1] > order.job.start + 2:
                journal.wanted = Wanted.CANCEL
                while not self.loop.ending:
                    time.sleep(0.01)
            return super().report(order, *resources)

    legs = CutShort(tmp_path)
    legs.loop = StudyLoop(journal, make_optimizer, legs)
    state = legs.loop.run()

    (best,) = legs.loop.incumbents
    assert state is StudyState.CANCELLED
    assert best.resource < legs.store.kept("study", 0)[0]
    assert best.resource in legs.store.kept("study", 0)
