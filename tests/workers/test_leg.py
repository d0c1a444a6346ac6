"""Legs in real child processes, with a link that is only a list."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from models.data.packages import CACHE_VARIABLE, OFFLINE_VARIABLE
from optimizers.protocol import Job
from tunewright import Budget, Resources, StudySpec, TrialLimits
from workers import leg, study_loop, trial_process
from workers.checkpoints import CheckpointStore
from workers.declarations import describe_one
from workers.leg import LegSettings
from workers.orders import LegOrder, LegResult, Outcome, Reply
from workers.trial_process import TrialProcess

WORKLOADS = Path(__file__).parents[1] / "e2e" / "workloads"


class RecordingLink:
    """Answers every report with `reply`; `on_report` may change it."""

    def __init__(self) -> None:
        self.reports: list[tuple[float, Mapping[str, float]]] = []
        self.reply = Reply.CONTINUE
        self.calls = 0
        self.log = ""

    def report(
        self, job: int, attempt: int, worker: str, reports: Sequence[tuple[float, Mapping[str, float]]], log: str
    ) -> Reply:
        self.calls += 1
        self.reports.extend(reports)
        self.log += log
        self.on_report()
        return self.reply

    def on_report(self) -> None:
        pass

    @property
    def resources(self) -> list[float]:
        return [resource for resource, _ in self.reports]


@pytest.fixture(autouse=True)
def _no_idle_child() -> Iterator[None]:
    yield
    leg.close_idle()


@pytest.fixture
def settings(tmp_path: Path) -> LegSettings:
    return LegSettings(f"file://{tmp_path / 'checkpoints'}", (str(WORKLOADS),))


def order(workload: str, **fields: Any) -> LegOrder:
    info = describe_one(workload, [str(WORKLOADS)])
    spec = {"name": "study", "workload": workload, "budget": Budget(trials=1), **fields}
    complete = info.complete(StudySpec(**spec))
    assert complete.fidelity is not None
    job = Job(id=0, trial=0, config={"x": 0.5}, start=0.0, end=complete.fidelity.max)
    return LegOrder("study", job, 1, seed=7, spec=complete)


def steady(tmp_path: Path, end: float = 9, attempt: int = 1, seconds: float = 0.0, **limits: Any) -> LegOrder:
    first = order(
        "steady:Steady",
        data={"trace": str(tmp_path / "trace"), "seconds": seconds},
        limits=TrialLimits(**{"checkpoint_seconds": 0.0, **limits}),
    )
    return LegOrder("study", Job(0, 0, {"x": 0.5}, 0.0, end), attempt, 7, first.spec)


def test_a_leg_hands_on_every_report_and_stores_its_state(tmp_path: Path, settings: LegSettings) -> None:
    link = RecordingLink()

    result = leg.run(steady(tmp_path), link, settings)

    assert result.outcome is Outcome.COMPLETED
    assert link.resources == [float(step) for step in range(1, 10)]
    saved = CheckpointStore(settings.checkpoint_url).get("study", 0, tmp_path)
    assert saved is not None
    assert saved.resource == 9


def test_a_state_is_stored_only_after_the_reports_before_it(tmp_path: Path, settings: LegSettings) -> None:
    store = CheckpointStore(settings.checkpoint_url)
    ahead: list[float] = []

    class Watching(RecordingLink):
        def on_report(self) -> None:
            place = tmp_path / f"look-{self.calls}"
            place.mkdir()
            saved = store.get("study", 0, place)
            if saved is not None and saved.resource > max(self.resources, default=0.0):
                ahead.append(saved.resource)

    leg.run(steady(tmp_path, end=27), Watching(), settings)

    assert ahead == []


def test_a_stopped_leg_is_taken_up_from_its_state(tmp_path: Path, settings: LegSettings) -> None:
    class StopAfterFour(RecordingLink):
        def on_report(self) -> None:
            if len(self.reports) >= 4:
                self.reply = Reply.STOP

    first, second = StopAfterFour(), RecordingLink()

    stopped = leg.run(steady(tmp_path, end=27, seconds=0.06), first, settings)
    resumed = leg.run(steady(tmp_path, end=27, attempt=2), second, settings)

    assert (stopped.outcome, resumed.outcome) == (Outcome.STOPPED, Outcome.COMPLETED)
    assert 4 <= len(first.resources) < 27
    assert second.resources[0] > 1, "the second attempt should not start from scratch"
    assert sorted({*first.resources, *second.resources}) == [float(step) for step in range(1, 28)]


def test_a_state_of_a_time_that_the_journal_does_not_know_is_not_gone_on_from(
    tmp_path: Path, settings: LegSettings
) -> None:
    """The store was put back to an earlier day, and a new trial has the number of one of later."""
    leg.run(steady(tmp_path, end=9), RecordingLink(), settings)
    link = RecordingLink()

    result = leg.run(replace(steady(tmp_path, end=3), most=0.0), link, settings)

    assert result.outcome is Outcome.COMPLETED
    assert link.resources == [1.0, 2.0, 3.0]
    assert CheckpointStore(settings.checkpoint_url).kept("study", 0) == [3.0]


def test_an_unwanted_leg_does_not_start(tmp_path: Path, settings: LegSettings) -> None:
    link = RecordingLink()
    link.reply = Reply.ABANDON

    result = leg.run(steady(tmp_path), link, settings)

    assert result.outcome is Outcome.STOPPED
    assert not (tmp_path / "trace").exists()


def test_a_second_leg_uses_the_same_process(tmp_path: Path, settings: LegSettings) -> None:
    leg.run(steady(tmp_path, end=3), RecordingLink(), settings)
    leg.run(steady(tmp_path, end=9), RecordingLink(), settings)

    legs = [line for line in (tmp_path / "trace").read_text().splitlines() if "leg" in line]
    assert len({line.partition('"pid"')[2] for line in legs}) == 1


def test_a_leg_on_a_gpu_leaves_no_process_that_holds_it(tmp_path: Path, settings: LegSettings) -> None:
    for end in (3, 9):
        first = steady(tmp_path, end=end)
        spec = first.spec.model_copy(update={"resources": Resources(gpus=0.5)})

        assert leg.run(replace(first, spec=spec), RecordingLink(), settings).outcome is Outcome.COMPLETED

    legs = [line for line in (tmp_path / "trace").read_text().splitlines() if "leg" in line]
    assert len({line.partition('"pid"')[2] for line in legs}) == 2
    assert leg._idle is None


def run_rude(name: str, settings: LegSettings, link: RecordingLink | None = None, **fields: Any) -> LegResult:
    """Run it; the result's log is all that it printed."""
    link = link or RecordingLink()
    result = leg.run(order(f"rude:{name}", **fields), link, settings)
    return replace(result, log=link.log + result.log)


def test_an_exception_fails_the_trial_with_its_traceback_and_log(settings: LegSettings) -> None:
    link = RecordingLink()

    result = run_rude("Raises", settings, link)

    assert result.outcome is Outcome.FAILED
    assert result.problem == "ValueError: the data are broken"
    assert "in misbehave" in str(result.traceback)
    assert "about to misbehave" in result.log
    assert link.resources == [1.0]


def test_a_trial_learns_where_data_are_kept_and_nothing_else_of_the_services_settings(
    settings: LegSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "/srv/data")
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    monkeypatch.setenv("TUNEWRIGHT_SECRET_KEY", "hush")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "hush")

    result = run_rude("TellsItsEnvironment", settings)

    assert result.outcome is Outcome.COMPLETED
    assert result.log.splitlines() == ["about to misbehave", f"{CACHE_VARIABLE}=/srv/data", f"{OFFLINE_VARIABLE}=1"]


def test_a_nan_objective_fails_the_trial_and_names_metric_and_resource(settings: LegSettings) -> None:
    result = run_rude("ReportsNaN", settings)

    assert result.outcome is Outcome.FAILED
    assert '"loss" is nan at resource 1' in str(result.problem)


def test_an_exit_fails_the_trial_and_says_so(settings: LegSettings) -> None:
    result = run_rude("Exits", settings)

    assert result.outcome is Outcome.FAILED
    assert "exited with status 3" in str(result.problem)


def test_a_trial_that_closes_its_channel_fails_and_says_so(
    settings: LegSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be waited for in silence, for which its worker was taken to be cut off."""
    monkeypatch.setattr(trial_process, "ENDING_SECONDS", 0.2)

    result = run_rude("ClosesEverything", settings)

    assert result.outcome is Outcome.FAILED
    assert "has closed the file descriptor by which it reports" in str(result.problem)


def test_a_silent_trial_is_ended(settings: LegSettings) -> None:
    result = run_rude("Hangs", settings, limits=TrialLimits(silent_seconds=0.5))

    assert result.outcome is Outcome.FAILED
    assert "limits.silent_seconds" in str(result.problem)


def test_a_leg_that_takes_too_long_is_ended(settings: LegSettings) -> None:
    result = run_rude("IgnoresStop", settings, limits=TrialLimits(leg_seconds=0.5))

    assert result.outcome is Outcome.FAILED
    assert "limits.leg_seconds (0.5 s)" in str(result.problem)


def test_a_trial_that_eats_memory_is_ended(settings: LegSettings) -> None:
    result = run_rude("EatsMemory", settings, resources=Resources(memory_mb=200))

    assert result.outcome is Outcome.FAILED
    assert "resources.memory_mb allows 200" in str(result.problem)


def test_a_trial_that_reports_fast_is_not_weighed_at_every_report(
    tmp_path: Path, settings: LegSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed: list[float] = []

    def memory(_: TrialProcess) -> int:
        """As on a machine with very many processes."""
        weighed.append(time.monotonic())
        time.sleep(0.1)
        return 0

    monkeypatch.setattr(TrialProcess, "memory", memory)
    first = steady(tmp_path, end=27)
    spec = first.spec.model_copy(update={"resources": Resources(memory_mb=200)})

    result = leg.run(replace(first, spec=spec), RecordingLink(), settings)

    assert result.outcome is Outcome.COMPLETED
    assert all(after - before > leg.MEMORY_SECONDS for before, after in pairwise(weighed))


def test_a_trial_that_ignores_stop_is_killed(settings: LegSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leg, "STOP_GRACE_SECONDS", 0.4)

    class StopAtOnce(RecordingLink):
        def on_report(self) -> None:
            if self.reports:
                self.reply = Reply.STOP

    result = run_rude("IgnoresStop", settings, StopAtOnce())

    assert result.outcome is Outcome.STOPPED


def test_what_a_trial_started_ends_with_it(settings: LegSettings) -> None:
    result = run_rude("LeavesChildren", settings)

    child = int(result.log.partition("child ")[2].split()[0])
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_long_log_is_handed_on_whole_while_it_grows(settings: LegSettings) -> None:
    link = RecordingLink()

    result = run_rude("Talks", settings, link, data={"seconds": 1.5})

    assert result.outcome is Outcome.COMPLETED
    assert result.log == "about to misbehave\n" + "".join(f"line {n} of a long story\n" for n in range(50_000))
    assert 0 < len(link.log) < len(result.log)


@pytest.mark.parametrize("slow", ["report", "put", "get"])
def test_what_a_trial_waits_for_is_no_silence_of_its_own(
    tmp_path: Path, settings: LegSettings, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """A store is away for longer than the trial may be silent, and than it may take."""
    leg.run(steady(tmp_path, end=3), RecordingLink(), settings)

    class Slow(RecordingLink):
        def on_report(self) -> None:
            if slow == "report" and self.resources == [4.0]:
                time.sleep(3)

    if slow != "report":
        method = getattr(CheckpointStore, slow)

        def moved(*arguments: Any, **options: Any) -> Any:
            time.sleep(3)
            return method(*arguments, **options)

        monkeypatch.setattr(CheckpointStore, slow, moved)
    link = Slow()
    first = steady(tmp_path, end=6, seconds=0.1, silent_seconds=2, leg_seconds=2, checkpoint_seconds=60)

    result = leg.run(replace(first, job=Job(1, 0, {"x": 0.5}, 3.0, 6.0)), link, settings)

    assert (result.outcome, result.problem) == (Outcome.COMPLETED, None)
    assert link.resources == [4.0, 5.0, 6.0]


def test_a_stop_that_comes_while_a_state_is_fetched_ends_the_leg(
    tmp_path: Path, settings: LegSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    leg.run(steady(tmp_path, end=3), RecordingLink(), settings)

    class Stopping(RecordingLink):
        def on_report(self) -> None:
            self.reply = Reply.STOP if self.calls > 1 else Reply.CONTINUE

    get = CheckpointStore.get

    def slowly(*arguments: Any, **options: Any) -> Any:
        time.sleep(1.5)
        return get(*arguments, **options)

    monkeypatch.setattr(CheckpointStore, "get", slowly)
    link = Stopping()

    result = leg.run(steady(tmp_path, end=27, seconds=0.5), link, settings)

    assert result.outcome is Outcome.STOPPED
    assert link.resources == []


def test_an_attempt_that_is_replaced_while_it_stores_a_state_leaves_the_successors(
    tmp_path: Path, settings: LegSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(settings.checkpoint_url)
    (tmp_path / "later").mkdir()
    put = CheckpointStore.put

    class Replaced(RecordingLink):
        def on_report(self) -> None:
            if self.resources and self.calls > 2 and self.reply is Reply.CONTINUE:
                put(store, "study", 0, 20.0, tmp_path / "later")
                self.reply = Reply.ABANDON

    def slowly(self: CheckpointStore, *arguments: Any, wanted: Any, **options: Any) -> None:
        # The successor stores its own state in the middle of the transfer.
        def asked() -> bool:
            time.sleep(1.5)
            return bool(wanted())

        put(self, *arguments, wanted=asked, **options)

    monkeypatch.setattr(CheckpointStore, "put", slowly)

    result = leg.run(steady(tmp_path, end=27, seconds=0.05), Replaced(), settings)

    assert result.outcome is Outcome.STOPPED
    assert store.kept("study", 0) == [20.0]


def test_a_process_that_lives_on_keeps_no_states(tmp_path: Path, settings: LegSettings) -> None:
    for job, (start, end) in enumerate([(0.0, 3.0), (3.0, 6.0), (6.0, 9.0)]):
        first = steady(tmp_path, end=end)
        leg.run(replace(first, job=Job(job, 0, {"x": 0.5}, start, end)), RecordingLink(), settings)

    assert leg._idle is not None
    assert [path.name for path in leg._idle[1].scratch.iterdir()] == []


def test_a_killed_child_that_has_forked_counts_as_lost_at_once(settings: LegSettings) -> None:
    """What it has forked, as loaders of data are, holds its channel open."""
    result = leg.run(order("rude:ForksAndIsKilled", limits=TrialLimits(silent_seconds=60)), RecordingLink(), settings)

    assert result.outcome is Outcome.LOST
    assert "SIGKILL" in (result.problem or "")


def test_a_killed_child_counts_as_lost(tmp_path: Path, settings: LegSettings) -> None:
    pid_file = tmp_path / "pid"

    class KillIt(RecordingLink):
        def on_report(self) -> None:
            if self.reports:
                os.kill(int(pid_file.read_text()), 9)

    result = run_rude("Hangs", settings, KillIt(), data={"pid_file": str(pid_file)})

    assert result.outcome is Outcome.LOST
    assert "SIGKILL" in str(result.problem)


def test_a_leg_says_that_it_is_alive_while_a_state_is_moved(
    tmp_path: Path, settings: LegSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, told = CheckpointStore.put, threading.Event()

    def until_told(*given: Any, **kept: Any) -> None:
        told.clear()
        assert told.wait(10)
        put(*given, **kept)

    class Telling(RecordingLink):
        def on_report(self) -> None:
            told.set()

    monkeypatch.setattr(CheckpointStore, "put", until_told)
    monkeypatch.setattr(leg, "ALIVE_SECONDS", 0.05)

    assert leg.run(steady(tmp_path, end=2), Telling(), settings).outcome is Outcome.COMPLETED


def test_a_leg_that_another_has_replaced_saves_nothing_more(tmp_path: Path, settings: LegSettings) -> None:
    class Replaced(RecordingLink):
        def on_report(self) -> None:
            if self.reports:
                self.reply = Reply.ABANDON

    result = leg.run(steady(tmp_path, end=9, seconds=0.05), Replaced(), settings)

    assert result.outcome is Outcome.STOPPED
    assert CheckpointStore(settings.checkpoint_url).get("study", 0, tmp_path) is None


def test_a_full_disk_fails_the_trial_and_names_the_checkpoint(
    tmp_path: Path, settings: LegSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CheckpointStore, "put", full)

    result = leg.run(steady(tmp_path), RecordingLink(), settings)

    assert result.outcome is Outcome.FAILED
    assert "No space left on device" in str(result.problem)


def test_a_lost_study_ends_the_child(tmp_path: Path, settings: LegSettings) -> None:
    pid_file = tmp_path / "pid"

    class Broken(RecordingLink):
        def on_report(self) -> None:
            if self.reports:
                raise ConnectionResetError("the runner is gone")

    with_result: list[LegResult] = []
    thread = threading.Thread(
        target=lambda: with_result.append(run_rude("Hangs", settings, Broken(), data={"pid_file": str(pid_file)}))
    )
    thread.start()
    thread.join(timeout=30)

    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_grace_of_a_leg_is_shorter_than_that_of_the_study() -> None:
    assert leg.STOP_GRACE_SECONDS / 2 < study_loop.STOP_GRACE_SECONDS


def copy_of(first: LegOrder, start: float, end: float, attempt: int = 1) -> LegOrder:
    """An order for trial 1, which begins from trial 0's state."""
    return LegOrder("study", Job(1, 1, {"x": 0.75}, start, end, parent=0), attempt, 8, first.spec)


def test_a_copy_begins_from_its_parents_state(tmp_path: Path, settings: LegSettings) -> None:
    parent = steady(tmp_path, end=3)
    leg.run(parent, RecordingLink(), settings)
    further = LegOrder("study", Job(2, 0, {"x": 0.5}, 3.0, 9.0), 1, 7, parent.spec, keep=frozenset({3.0}))
    leg.run(further, RecordingLink(), settings)
    link = RecordingLink()

    result = leg.run(copy_of(parent, 3.0, 6.0), link, settings)

    assert result.outcome is Outcome.COMPLETED
    assert link.resources == [4.0, 5.0, 6.0]
    store = CheckpointStore(settings.checkpoint_url)
    assert [saved.resource for saved in (store.get("study", trial, tmp_path) for trial in (0, 1)) if saved] == [9, 6]


def test_a_copy_that_was_lost_goes_on_from_its_own_state(tmp_path: Path, settings: LegSettings) -> None:
    class StopAfterTwo(RecordingLink):
        def on_report(self) -> None:
            if len(self.reports) >= 2:
                self.reply = Reply.STOP

    parent = steady(tmp_path, end=3, seconds=0.06)
    leg.run(parent, RecordingLink(), settings)
    first, second = StopAfterTwo(), RecordingLink()

    leg.run(copy_of(parent, 3.0, 27.0), first, settings)
    CheckpointStore(settings.checkpoint_url).prune("study", 0, frozenset(), newest=False)
    result = leg.run(copy_of(parent, 3.0, 27.0, attempt=2), second, settings)

    assert result.outcome is Outcome.COMPLETED
    assert first.resources[0] == 4.0
    assert second.resources[0] > 4.0
    assert sorted({*first.resources, *second.resources}) == [float(step) for step in range(4, 28)]


def test_a_copy_whose_parent_saved_nothing_there_fails_and_says_so(tmp_path: Path, settings: LegSettings) -> None:
    parent = steady(tmp_path, end=3)
    leg.run(parent, RecordingLink(), settings)
    link = RecordingLink()

    result = leg.run(copy_of(parent, 5.0, 9.0), link, settings)

    assert result.outcome is Outcome.FAILED
    assert "trial 0's state at 5" in str(result.problem)
    assert "must save a state at the end of every leg" in str(result.problem)
    assert link.resources == []
