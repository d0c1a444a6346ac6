"""The protocol of `python -m tunewright.child`, spoken through real pipes."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from tunewright import Leg, TrialStopped
from tunewright.child import Reporter, describe_all
from tunewright.workload import registered

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def child(start_child):
    return start_child()


def test_describes_registered_workloads(child):
    child.send("describe", references=None)

    answer = child.receive()

    assert answer["type"] == "described"
    assert sorted(workload["reference"] for workload in answer["workloads"]) == registered()
    assert answer["problems"] == {}


def test_describes_what_can_be_loaded_and_says_why_the_rest_cannot(child):
    bad = {
        "nowhere": "unknown; known: ",
        "no_such_module:X": "cannot import it: No module named 'no_such_module'; install it on every node",
        "workloads_for_tests:Missing": "cannot import it",
        "workloads_for_tests:NotAWorkload": "is not a tunewright.Workload",
        "workloads_for_tests:Undeclared": "declare space",
    }

    child.send("describe", references=["workloads_for_tests:Good", *bad])
    answer = child.receive()

    assert [workload["name"] for workload in answer["workloads"]] == ["good"]
    assert set(answer["problems"]) == set(bad)
    for reference, part in bad.items():
        assert reference in answer["problems"][reference]
        assert part in answer["problems"][reference]


def test_a_module_that_exits_as_it_is_imported_spoils_no_other(tmp_path, monkeypatch):
    (tmp_path / "leaves.py").write_text("import sys\n\nsys.exit('usage: leaves FILE')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)

    told = describe_all(["leaves:Training", "workloads_for_tests:Good"])

    assert told["problems"] == {"leaves:Training": 'workload "leaves:Training": SystemExit: usage: leaves FILE'}
    assert [workload["name"] for workload in told["workloads"]] == ["good"]


def test_a_leg_reports_saves_and_ends(child):
    messages = child.run_leg("workloads_for_tests:Good", end=3)

    assert messages[:3] == [{"type": "report", "resource": float(n), "metrics": {"loss": 1 / n}} for n in (1, 2, 3)]
    assert messages[3]["type"] == "checkpoint"
    assert messages[3]["resource"] == 3
    assert messages[4] == {"type": "ended", "outcome": "completed"}


def test_the_next_leg_continues_from_the_checkpoint_in_the_same_process(child):
    saved = child.run_leg("workloads_for_tests:Good", end=3)[3]
    checkpoint = {"root": str(child.states), "latest": saved["directory"], "resource": 3, "interval": 1000}

    messages = child.run_leg(
        "workloads_for_tests:Good", end=5, leg={"start": 3, "end": 5, "seed": 0}, checkpoint=checkpoint
    )

    assert [message["resource"] for message in messages if message["type"] == "report"] == [4, 5]


def test_a_state_that_the_worker_cannot_keep_fails_the_leg(child):
    child.start_leg("workloads_for_tests:Good", end=1)
    assert child.receive()["type"] == "report"
    assert child.receive()["type"] == "checkpoint"

    child.send("saved", problem="no space left on device")

    ended = child.receive()
    assert ended["outcome"] == "failed"
    assert ended["problem"] == "OSError: checkpoint at resource 1: no space left on device"


def test_a_stop_sent_right_after_the_leg_is_not_lost(child):
    child.start_leg("workloads_for_tests:SavesWhenStopped", end=1_000_000)
    child.send("stop")

    *reports, saved, ended = child.messages()

    assert saved["type"] == "checkpoint"
    assert saved["resource"] == reports[-1]["resource"]
    assert ended == {"type": "ended", "outcome": "stopped"}


def test_a_stop_ends_its_own_leg_only(child):
    child.start_leg("workloads_for_tests:SavesWhenStopped", end=1_000_000)
    child.send("stop")
    assert list(child.messages())[-1]["outcome"] == "stopped"
    child.send("stop")

    messages = child.run_leg("workloads_for_tests:Good", end=2)

    assert messages[-1]["outcome"] == "completed"


def test_a_stop_comes_too_late_for_who_has_come_to_the_end():
    sent = []
    channel = SimpleNamespace(send=sent.append, stopped=threading.Event())
    report = Reporter(channel, Leg(0, 2), ["loss"], 0.0)
    channel.stopped.set()

    with pytest.raises(TrialStopped):
        report(1, {"loss": 0.5})
    report(2, {"loss": 0.25})

    assert [message["resource"] for message in sent] == [1, 2]


def test_a_workload_that_swallows_the_stop_still_ends(child):
    child.start_leg("workloads_for_tests:SwallowsTheStop", end=1_000_000)
    child.send("stop")

    assert list(child.messages())[-1]["outcome"] == "completed"


def test_what_the_workload_prints_stays_off_the_channel(child):
    messages = child.run_leg("workloads_for_tests:Prints", end=1)

    assert [message["type"] for message in messages] == ["report", "ended"]
    assert messages[0]["metrics"] == {"loss": 1.0}
    log = child.log.read_text()
    assert '"loss": -1' in log
    assert "a warning" in log
    assert "from a grandchild" in log


def test_a_workload_that_reads_standard_input_takes_no_messages(child):
    messages = child.run_leg("workloads_for_tests:ReadsInput", end=1)

    assert messages[0]["metrics"] == {"loss": 0.0}
    assert child.run_leg("workloads_for_tests:Good", end=1)[-1]["outcome"] == "completed"


def test_a_workload_that_raises_fails_with_its_traceback(child):
    messages = child.run_leg("workloads_for_tests:Raises", end=2)

    assert messages[0]["type"] == "report"
    assert messages[1]["outcome"] == "failed"
    assert messages[1]["problem"] == "RuntimeError: the data ran out"
    assert 'raise RuntimeError("the data ran out")' in messages[1]["traceback"]


def test_a_very_long_problem_is_cut(child):
    (ended,) = child.run_leg("workloads_for_tests:RaisesAtLength", end=1)

    assert len(ended["problem"]) == 2_000
    assert len(ended["traceback"]) == 20_000


def test_a_workload_that_exits_fails_and_the_process_lives_on(child):
    (ended,) = child.run_leg("workloads_for_tests:Exits", end=1)

    assert ended["outcome"] == "failed"
    assert ended["problem"] == "SystemExit: 3"
    assert child.run_leg("workloads_for_tests:Good", end=1)[-1]["outcome"] == "completed"


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("nan", 'objective "loss" is nan at resource 1'),
        ("infinite", 'objective "loss" is inf at resource 2'),
        ("huge", 'objective "loss" is inf at resource 1'),
        ("text", "objective \"loss\" is '0.5' at resource 1; it must be a finite number"),
        ("truth", 'objective "loss" is True at resource 1'),
        ("missing", 'objective "loss" is missing at resource 1'),
        ("same", "resource 1 must be above 1 (reported or saved before)"),
        ("beyond", "resource 10 must be above 0 (reported or saved before) and at most 9 (the leg's end)"),
        ("no_resource", "resource nan must be above 0"),
        ("no_mapping", "AttributeError"),
    ],
)
def test_a_report_that_cannot_be_used_fails_the_trial(child, case, problem):
    ended = child.run_leg("workloads_for_tests:Reports", end=9, data={"case": case})[-1]

    assert ended["outcome"] == "failed"
    assert problem in ended["problem"]


def test_numpy_scalars_are_numbers_and_what_is_no_number_is_dropped(child):
    messages = child.run_leg("workloads_for_tests:Reports", end=9, data={"case": "scalars"})

    assert messages[0] == {"type": "report", "resource": 1.0, "metrics": {"loss": 0.5}}
    assert messages[-1]["outcome"] == "completed"


def test_a_thread_left_behind_cannot_report_into_the_next_leg(child):
    assert child.run_leg("workloads_for_tests:LeavesAThread", end=1)[-1]["outcome"] == "completed"

    messages = child.run_leg("workloads_for_tests:LeavesAThread", end=2, leg={"start": 1, "end": 2, "seed": 0})

    assert [message.get("metrics") for message in messages] == [{"loss": 1.0}, None]


@pytest.mark.parametrize("reference", ["nowhere", "no_such_module:X", "workloads_for_tests:NotAWorkload"])
def test_a_leg_of_an_unknown_workload_fails(child, reference):
    (ended,) = child.run_leg(reference, end=1)

    assert ended["outcome"] == "failed"
    assert f'workload "{reference}"' in ended["problem"]


def test_closing_the_pipe_ends_an_idle_process(child):
    child.process.stdin.close()

    assert child.process.wait(timeout=20) == 1


def test_closing_the_pipe_ends_a_process_in_the_middle_of_a_leg(child):
    child.start_leg("workloads_for_tests:Good", end=1)
    assert child.receive()["type"] == "report"
    assert child.receive()["type"] == "checkpoint"  # it now waits for the answer

    child.process.stdin.close()

    assert child.process.wait(timeout=20) == 1


def test_a_message_that_is_no_json_ends_the_process_and_stands_in_the_log(child):
    child.write("not json")

    assert child.process.wait(timeout=20) == 1
    assert "JSONDecodeError" in child.log.read_text()
