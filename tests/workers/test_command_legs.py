"""Programs of a study's own in real legs: what they may do wrong, and what becomes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from optimizers.protocol import Job
from tests.workers.test_leg import RecordingLink
from tunewright.command import Command
from tunewright.space import Float, SearchSpace
from tunewright.study import Budget, Fidelity, Objective, Resources, StudySpec, TrialLimits
from workers import leg, trial_process
from workers.checkpoints import CheckpointStore
from workers.leg import LegSettings
from workers.orders import LegOrder, LegResult, Outcome, Reply

pytestmark = pytest.mark.timeout(120)
REPORT = '{"resource": %s, "metrics": {"loss": 0.5}}'


@pytest.fixture(autouse=True)
def _no_idle_child() -> Iterator[None]:
    yield
    leg.close_idle()


@pytest.fixture
def settings(tmp_path: Path) -> LegSettings:
    return LegSettings(f"file://{tmp_path / 'checkpoints'}")


def order(directory: Path, *argv: str, end: float = 3, **fields: Any) -> LegOrder:
    command = Command(argv=list(argv), directory=str(directory), environment=fields.pop("environment", {}))
    spec = StudySpec(
        name="study",
        workload="command",
        command=command,
        space=SearchSpace(Float("x", 0.0, 1.0)),
        objectives=[Objective(metric="loss")],
        fidelity=Fidelity(name="steps", max=9),
        budget=Budget(trials=1),
        resources=fields.pop("resources", Resources()),
        **fields,
    )
    return LegOrder("study", Job(0, 0, {"x": 0.5}, 0.0, end), 1, 7, spec)


def run(wanted: LegOrder, settings: LegSettings, link: RecordingLink | None = None) -> LegResult:
    """Run it; the result's log is all that it printed."""
    link = link or RecordingLink()
    result = leg.run(wanted, link, settings)
    return replace(result, log=link.log + result.log)


def shell(directory: Path, script: str, settings: LegSettings, link: RecordingLink | None = None, **fields: Any) -> Any:
    return run(order(directory, "sh", "-c", script.replace("{", "{{").replace("}", "}}"), **fields), settings, link)


def python(directory: Path, script: str, settings: LegSettings, link: RecordingLink | None = None, **f: Any) -> Any:
    (directory / "program.py").write_text(script)
    return run(order(directory, sys.executable, "program.py", **f), settings, link)


class StopAtOnce(RecordingLink):
    def on_report(self) -> None:
        if self.reports:
            self.reply = Reply.STOP


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while not gone(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.05)


def test_reports_go_on_and_everything_else_is_log(tmp_path: Path, settings: LegSettings) -> None:
    link = RecordingLink()
    other = ["epoch 1", '{"level": "info"}', "[1, 2]", "{rubbish", '{"message": "no report"}', "\x1b[1mbold", "3"]
    script = "\n".join(f"echo '{line}'" for line in [*other, REPORT % 1, REPORT % 3, "done"]) + "\necho oops >&2"

    result = shell(tmp_path, script, settings, link)

    assert result.outcome is Outcome.COMPLETED
    assert link.resources == [1.0, 3.0]
    lines = result.log.splitlines()
    assert [line for line in lines if line != "oops"] == [*other, "done"]
    assert "oops" in lines


@pytest.mark.parametrize(
    ("line", "logged"),
    [
        (r"\r 50%|#####  | 1/2\r{}", ["50%|#####  | 1/2"]),
        (r"\r 50%\r\r100%\r {}\r\n", ["50%", "100%"]),
        (r"\xef\xbb\xbf{}", []),
        (r"bar\r\xef\xbb\xbf{}", ["bar"]),
        ("\\r 50% of a long training" * 100_000 + r"\r{}", None),
    ],
    ids=["progress", "line ends", "mark", "both", "more than a line"],
)
def test_a_report_behind_a_progress_bar_or_a_mark_is_found(
    tmp_path: Path, settings: LegSettings, line: str, logged: list[str] | None
) -> None:
    link = RecordingLink()
    (tmp_path / "said").write_bytes(
        line.encode().decode("unicode_escape").encode("latin-1").replace(b"{}", (REPORT % 3).encode()) + b"\nend\n"
    )

    result = shell(tmp_path, "cat said", settings, link)

    assert result.outcome is Outcome.COMPLETED
    assert link.resources == [3.0]
    shown = [part.strip() for part in result.log.replace("\r", "\n").splitlines() if part.strip()]
    assert shown[-1] == "end"
    assert logged is None or shown[:-1] == logged


@pytest.mark.parametrize("line", ["bar\r{rubbish", 'bar\r{"level": "info"}', "{}\rbar", "\r" * 100_000 + "{"])
def test_what_is_no_report_behind_a_progress_bar_is_log(tmp_path: Path, settings: LegSettings, line: str) -> None:
    (tmp_path / "said").write_bytes(f"{line}\n{REPORT % 3}\n".encode())

    result = shell(tmp_path, "cat said", settings)

    assert result.outcome is Outcome.COMPLETED
    assert line in result.log


def test_the_program_learns_everything_that_it_needs(tmp_path: Path, settings: LegSettings) -> None:
    script = (
        "import json, os, sys\n"
        "told = {k: v for k, v in os.environ.items() if k.startswith('TUNEWRIGHT_')}\n"
        "print(json.dumps([sys.argv[1:], json.load(sys.stdin), os.getcwd(), told, os.environ['MINE']]))\n"
        f"print('{REPORT % 3}')"
    )
    (tmp_path / "program.py").write_text(script)
    arguments = [
        "{x}",
        "{leg.start}",
        "{leg.end}",
        "{leg.seed}",
        "{leg.resume}",
        "{leg.checkpoint}",
        "{{x}}",
        "a b; $(c)",
    ]

    result = run(order(tmp_path, sys.executable, "program.py", *arguments, environment={"MINE": "1"}), settings)

    argv, config, directory, told, mine = json.loads(result.log)
    assert argv == ["0.5", "0", "3", "7", "", told["TUNEWRIGHT_CHECKPOINT"], "{x}", "a b; $(c)"]
    assert (config, directory, mine) == ({"x": 0.5}, str(tmp_path), "1")
    assert {k: v for k, v in told.items() if k != "TUNEWRIGHT_CHECKPOINT"} == {
        "TUNEWRIGHT_START": "0",
        "TUNEWRIGHT_END": "3",
        "TUNEWRIGHT_SEED": "7",
    }


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (['{"resource": 1, "metrics": {"loss": NaN}}'], 'line 1: report: objective "loss" is nan at resource 1'),
        (["x", '{"resource": 1, "metrics": {"loss": Infinity}}'], 'line 2: report: objective "loss" is inf'),
        (
            ['{"resource": 1, "metrics": {"loss": "0.5"}}'],
            "\"loss\" is '0.5' at resource 1; it must be a finite number",
        ),
        (['{"resource": 1, "metrics": {"acc": 1, "f1": 2}}'], '"loss" is missing at resource 1; reported: acc, f1'),
        ([REPORT % 2, REPORT % 1], "line 2: report: resource 1 must be above 2"),
        ([REPORT % 4], "resource 4 must be above 0 (reported or saved before) and at most 3 (the leg's end)"),
        ([REPORT % -1], "resource -1 must be above 0"),
        ([REPORT % ("1" * 400)], "resource inf must be above 0"),
        ([REPORT % '"1"'], '"resource" must be a number'),
        ([REPORT % "true"], '"resource" must be a number'),
        (['{"resource": 1}'], 'a report needs "resource" and "metrics"; "metrics" is missing'),
        (['{"metrics": {"loss": 1}}'], '"resource" is missing'),
        (['{"resource": 1, "metrics": [1]}'], '"metrics" must be an object'),
        (['{"resource": 1, "metrics": {"loss": 1}, "tine": 2}'], 'a report has no "tine"'),
        (['{"resource": 1, "metrics": {"lo'], "begins as a report and is no JSON"),
        (['{"resource": 1, "metrics": {"loss": 1, "a\\u0000": 1}}'], "cannot be a metric's name"),
        (['{"checkpoint": "../../etc"}'], 'there is no "../../etc" in TUNEWRIGHT_CHECKPOINT'),
        (['{"checkpoint": "/etc/passwd"}'], 'there is no "/etc/passwd" in TUNEWRIGHT_CHECKPOINT'),
        (['{"checkpoint": "."}'], 'there is no "."'),
        (['{"checkpoint": 3}'], "must be the name of a file or directory"),
    ],
)
def test_what_cannot_be_understood_fails_the_trial(
    tmp_path: Path, settings: LegSettings, lines: list[str], problem: str
) -> None:
    (tmp_path / "said").write_text("\n".join([*lines, ""]))

    result = shell(tmp_path, "cat said; sleep 60", settings)

    assert result.outcome is Outcome.FAILED
    assert problem in str(result.problem)
    assert str(result.problem).startswith("standard output, line")


def test_deep_json_is_no_report_and_no_harm(tmp_path: Path, settings: LegSettings) -> None:
    result = python(tmp_path, f"print('{{\"a\":' * 100000)\nprint('{REPORT % 3}')", settings)

    assert result.outcome is Outcome.COMPLETED


def test_an_exit_status_fails_the_trial_with_the_end_of_standard_error(tmp_path: Path, settings: LegSettings) -> None:
    result = shell(tmp_path, "seq 100000 >&2; echo 'no such data set' >&2; exit 3", settings)

    assert result.outcome is Outcome.FAILED
    assert result.problem == "the program exited with status 3: 99997\n99998\n99999\n100000\nno such data set"
    assert len(result.traceback) <= 16 * 1024
    assert "no such data set" in result.log


def test_a_crash_names_its_signal(tmp_path: Path, settings: LegSettings) -> None:
    result = shell(tmp_path, "kill -SEGV $$", settings)

    assert result.outcome is Outcome.FAILED
    assert result.problem == "the program was ended by SIGSEGV"


def test_a_program_that_is_killed_is_lost_and_may_run_again(tmp_path: Path, settings: LegSettings) -> None:
    result = shell(tmp_path, "kill -9 $$", settings)

    assert result.outcome is Outcome.LOST
    assert "SIGKILL" in str(result.problem)


@pytest.mark.parametrize("program", ["./absent", "absent-from-path", "./not-executable", "./no-program"])
def test_a_program_that_cannot_be_started_is_named(tmp_path: Path, settings: LegSettings, program: str) -> None:
    (tmp_path / "not-executable").write_text("")
    (tmp_path / "no-program").write_text("\0")
    (tmp_path / "no-program").chmod(0o700)

    result = run(order(tmp_path, program), settings)

    assert result.outcome is Outcome.FAILED
    assert f'command.argv.0: "{program}" cannot be started in {tmp_path}' in str(result.problem)


def test_a_first_line_that_ends_as_on_windows_is_guessed(tmp_path: Path, settings: LegSettings) -> None:
    (tmp_path / "program").write_bytes(b"#!/bin/sh\r\necho 1\r\n")
    (tmp_path / "program").chmod(0o700)

    result = run(order(tmp_path, "./program"), settings)

    assert str(result.problem).endswith("does that line end as on Windows?")


@pytest.mark.parametrize("kind", ["file", "directory", "file elsewhere", "directory elsewhere"])
def test_a_state_may_be_a_link_to_it(tmp_path: Path, settings: LegSettings, kind: str) -> None:
    where = f"'{tmp_path}'/" if "elsewhere" in kind else ""
    made, weights = (f"{where}epoch-3", "/w") if "directory" in kind else (f"{where}epoch-3", "")
    script = f"""
        cd "$TUNEWRIGHT_CHECKPOINT"
        {f"mkdir {made}" if weights else ""}
        echo trained > {made}{weights}
        ln -s {made} last
        echo '{{"resource": 3, "metrics": {{"loss": 0.5}}, "checkpoint": "last"}}'
    """

    assert shell(tmp_path, script, settings).outcome is Outcome.COMPLETED

    saved = CheckpointStore(settings.checkpoint_url).get("study", 0, tmp_path)
    assert saved is not None
    assert (saved.directory / f"last{weights}").read_text() == "trained\n"


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path, settings: LegSettings) -> None:
    result = run(order(tmp_path / "absent", "sh"), settings)

    assert result.problem == f"command.directory: {tmp_path}/absent does not exist on the machine that runs the trial"


def test_a_script_that_does_not_exist_is_named_by_its_interpreter(tmp_path: Path, settings: LegSettings) -> None:
    result = run(order(tmp_path, sys.executable, "absent.py"), settings)

    assert "absent.py" in str(result.problem)


def test_what_it_started_ends_with_it(tmp_path: Path, settings: LegSettings) -> None:
    result = shell(tmp_path, f"sleep 600 & echo $! > pid; echo '{REPORT % 3}'", settings)

    assert result.outcome is Outcome.COMPLETED
    wait_until_gone(int((tmp_path / "pid").read_text()))


def test_a_stop_reaches_a_program_between_its_reports(tmp_path: Path, settings: LegSettings) -> None:
    script = (
        "trap 'cat handed-over; exit 5' TERM\n"
        "echo 1 > $TUNEWRIGHT_CHECKPOINT/state\n"
        f"echo '{REPORT % 1}'\n"
        "while true; do sleep 0.1; done"
    )
    (tmp_path / "handed-over").write_text('{"checkpoint": "state"}\n')
    begin = time.monotonic()

    stopped = shell(tmp_path, script, settings, StopAtOnce())
    resumed = shell(tmp_path, f"cat $TUNEWRIGHT_RESUME; echo '{REPORT % 3}'", settings)

    assert stopped.outcome is Outcome.STOPPED
    assert time.monotonic() - begin < 14
    assert resumed.outcome is Outcome.COMPLETED
    assert resumed.log == "1\n"


@pytest.mark.parametrize(("reached", "outcome"), [(2, Outcome.STOPPED), (3, Outcome.COMPLETED)])
def test_a_program_that_has_come_to_its_end_is_not_stopped(
    tmp_path: Path, settings: LegSettings, reached: int, outcome: Outcome
) -> None:
    result = shell(tmp_path, f"echo '{REPORT % reached}'; sleep 600", settings, StopAtOnce())

    assert result.outcome is outcome


def test_a_program_that_ignores_the_stop_is_killed(
    tmp_path: Path, settings: LegSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leg, "STOP_GRACE_SECONDS", 2.0)

    result = shell(
        tmp_path,
        f"trap '' TERM; echo $$ > pid; echo '{REPORT % 1}'; while true; do sleep 1; done",
        settings,
        StopAtOnce(),
    )

    assert result.outcome is Outcome.STOPPED
    wait_until_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"limits": TrialLimits(silent_seconds=3)}, "limits.silent_seconds"),
        ({"limits": TrialLimits(leg_seconds=3)}, "limits.leg_seconds (3 s)"),
    ],
)
def test_time_limits_hold(tmp_path: Path, settings: LegSettings, fields: dict[str, Any], problem: str) -> None:
    result = shell(tmp_path, "echo $$ > pid; sleep 600", settings, **fields)

    assert result.outcome is Outcome.FAILED
    assert problem in str(result.problem)
    wait_until_gone(int((tmp_path / "pid").read_text()))


def test_memory_is_limited_over_everything_that_it_started(tmp_path: Path, settings: LegSettings) -> None:
    hoard = f"exec {sys.executable} -c 'import time; hoard = bytearray(300 * 2**20); time.sleep(60)'"

    result = shell(tmp_path, f'sh -c "{hoard}" & wait', settings, resources=Resources(memory_mb=250))

    assert result.outcome is Outcome.FAILED
    assert "resources.memory_mb allows 250" in str(result.problem)


def test_standard_output_that_is_closed_early_ends_nothing(tmp_path: Path, settings: LegSettings) -> None:
    link = RecordingLink()

    result = shell(tmp_path, f"echo '{REPORT % 3}'; exec >&- 2>&-; sleep 1; touch done", settings, link)

    assert result.outcome is Outcome.COMPLETED
    assert (tmp_path / "done").exists()
    assert link.resources == [3.0]


def test_a_last_line_without_its_end_counts(tmp_path: Path, settings: LegSettings) -> None:
    link = RecordingLink()

    result = shell(tmp_path, f"printf '%s' '{REPORT % 3}'", settings, link)

    assert (result.outcome, link.resources) == (Outcome.COMPLETED, [3.0])


@pytest.mark.slow
@pytest.mark.parametrize("line", ["yes | head -c 1000000000", "head -c 1000000000 /dev/zero"])
def test_a_gigabyte_of_output_is_bounded_in_memory_and_log(tmp_path: Path, settings: LegSettings, line: str) -> None:
    most = 0

    class Watching(RecordingLink):
        def on_report(self) -> None:
            nonlocal most
            children = psutil.Process().children(recursive=True)
            most = max([most, *(process.memory_info().rss for process in children)])

    link = Watching()
    before = psutil.Process().memory_info().rss
    result = leg.run(
        order(
            tmp_path,
            "sh",
            "-c",
            f"echo first; {line}; echo last; echo '{REPORT % 3}'".replace("{", "{{").replace("}", "}}"),
        ),
        link,
        settings,
    )

    assert result.outcome is Outcome.COMPLETED
    assert link.log.startswith("first\n")
    assert (link.log + result.log).endswith("last\n")
    assert "characters left out" in link.log + result.log
    assert most < 300 * 2**20
    assert psutil.Process().memory_info().rss - before < 300 * 2**20


def test_a_worker_that_is_killed_takes_the_program_with_it(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.workers.test_command_legs import RecordingLink, order, run\n"
        "from workers.leg import LegSettings\n"
        "here = Path(sys.argv[1])\n"
        "script = 'trap \"\" TERM; sleep 600 & echo $! > child; echo $$ > pid; wait'\n"
        "run(order(here, 'sh', '-c', script), LegSettings(f'file://{here}/states'))\n"
    )
    root = Path(__file__).parents[2]
    worker = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": str(root)})
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)

    worker.kill()
    worker.wait()

    wait_until_gone(int((tmp_path / "pid").read_text()))
    wait_until_gone(int((tmp_path / "child").read_text()))


def test_a_killed_child_takes_the_program_with_it(tmp_path: Path, settings: LegSettings) -> None:
    class KillTheChild(RecordingLink):
        def on_report(self) -> None:
            if self.reports:
                for process in psutil.Process().children():
                    if "tunewright.child" in process.cmdline():
                        process.kill()

    result = shell(tmp_path, f"echo $$ > pid; echo '{REPORT % 1}'; sleep 600", settings, KillTheChild())

    assert result.outcome is Outcome.LOST
    wait_until_gone(int((tmp_path / "pid").read_text()))


def test_an_idle_session_is_swept(tmp_path: Path) -> None:
    process = trial_process.TrialProcess()

    process.close()

    assert gone(process.pid)
