"""The command line: against a live service, and as processes of their own for what starts and ends."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from service.app import lock_data_directory
from tests.service.conftest import Runner, ended, incumbent, report, start
from tests.tunewright.live_service import LiveService
from tunewright.cli import app, output
from tunewright.cli.serve import READY
from tunewright.study import StudyState, TrialState
from tunewright.views import Study
from workers.journal import Printed

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("address")]

STUDY = "name: mine\nworkload: bowl\nbudget: {trials: 4}\n"


@pytest.fixture
def measured(service: LiveService) -> tuple[Study, Runner]:
    """A study with a trial that went well and one that failed."""
    study = service.create()
    runner = service.runner(study)
    runner.counts = {TrialState.COMPLETED: 1, TrialState.FAILED: 1}
    runner.commit(
        start(0, 0),
        start(1, 1),
        report(0, 0, 3.0, 0.25),
        ended(0, 0, TrialState.COMPLETED),
        ended(1, 1, TrialState.FAILED, problem="ValueError: \x1b[31mbad\tluck", traceback="Traceback ..."),
        printed=[Printed(1, "said so")],
        best=[incumbent(0, 0.25)],
    )
    return study, runner


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def rows(result: Result) -> list[dict[str, str]]:
    """Tab-separated output, by column."""
    assert result.exit_code == 0, result.output
    names, *lines = (line.split("\t") for line in result.stdout.splitlines())
    return [dict(zip(names, line, strict=True)) for line in lines]


def values(result: Result) -> dict[str, str]:
    assert result.exit_code == 0, result.output
    return dict(line.split("\t") for line in result.stdout.splitlines() if "\t" in line)


# Studies


def test_submit_prints_the_id_alone(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)

    submitted = run("submit", str(file)).stdout.strip()

    assert rows(run("studies", "--limit", "1"))[0]["study"] == submitted


def test_submit_reads_standard_input_and_prints_json() -> None:
    study = json.loads(run("submit", "-", "--json", stdin=STUDY).stdout)

    assert (study["name"], study["state"]) == ("mine", "queued")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nworkload: bowl\nbudget: {}", "budget: give trials or seconds, else the study would never end"),
        ("name: x\nworkload: bowl\nbudget: {trials: 0}", "budget.trials: input should be greater than or equal to 1"),
        ("name: x\nbudget: {trials: 1}", "workload: field required"),
        ("name: [x", "not valid YAML"),
        ("- 1", "expected a mapping with name, workload and budget, not list"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_per_field(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)

    result = run("submit", str(file))

    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"{file}: {message}" in result.stderr
    assert "pydantic" not in result.stderr


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    assert f"{file}: No such file" in run("submit", str(file)).stderr

    file.write_bytes(b"\xff\xfe\x00")
    assert "no text in UTF-8" in run("submit", str(file)).stderr


def test_a_study_that_the_service_refuses_is_one_line() -> None:
    result = run("submit", "-", stdin=STUDY.replace("bowl", "nowhere"))

    assert result.exit_code == 1
    assert result.stderr == 'Error: workload "nowhere": unknown; known: bowl\n'


def test_studies_are_listed(measured: tuple[Study, Runner]) -> None:
    study, _ = measured

    (found,) = [row for row in rows(run("studies", "--state", "running")) if row["study"] == study.id]

    assert (found["name"], found["trials"], found["best"]) == ("a study", "2", "loss=0.25")
    assert study.id in [found["id"] for found in json.loads(run("studies", "--json").stdout)]


def test_watch_ends_with_the_study(measured: tuple[Study, Runner]) -> None:
    study, runner = measured
    runner.commit(state=StudyState.COMPLETED, progress=1.0, best=[incumbent(0, 0.25)])

    result = run("watch", study.id)

    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].split("\t")[:2] == ["completed", "1.000"]
    assert json.loads(run("watch", "last", "--json").stdout)["id"] == study.id


def test_watching_a_study_that_failed_exits_1(service: LiveService) -> None:
    study = service.create()
    service.runner(study).commit(state=StudyState.FAILED, reason="no luck")

    assert run("watch", study.id).exit_code == 1


def test_a_study_is_steered_and_deleted(service: LiveService) -> None:
    study = service.create()
    assert "is pausing" in run("pause", study.id).stdout
    assert "goes on" in run("resume", "last").stdout
    assert "is being cancelled" in run("cancel", study.id).stdout

    refused = run("delete", study.id)
    service.runner(study).finish(StudyState.CANCELLED)

    assert refused.exit_code == 1
    assert "cancel it before deleting it" in refused.stderr
    assert "is deleted" in run("delete", study.id).stdout
    assert run("watch", study.id).exit_code == 2


# Trials


def test_a_configuration_is_enqueued_from_a_file_and_from_standard_input(service: LiveService, tmp_path: Path) -> None:
    study = service.create()
    file = tmp_path / "config.yaml"
    file.write_text("x: 1e-1\nn: 3\n")

    first = run("enqueue", study.id, str(file))
    second = json.loads(run("enqueue", study.id, "-", "--json", stdin="{}").stdout)

    assert first.stdout == f"study {study.id} will try it as number 0 of its queue\n"
    assert (second["number"], second["config"]) == (1, {"x": 0.5, "n": 5, "flag": True})
    listed = rows(run("queue", study.id))
    assert [(row["number"], row["trial"], row["configuration"]) for row in listed] == [
        ("0", "-", "x=0.1 n=3 flag=True"),
        ("1", "-", "x=0.5 n=5 flag=True"),
    ]


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("- 1", 2, "expected a mapping with a value for each parameter, not list"),
        ("x: [", 2, "not valid YAML"),
        ("n: 77", 1, 'parameter "n": 77 lies outside integers [1, 9]'),
        ("m: 1", 1, 'unknown parameter "m"'),
    ],
)
def test_what_is_wrong_with_a_configuration_is_one_line(
    service: LiveService, text: str, code: int, message: str
) -> None:
    result = run("enqueue", service.create().id, "-", stdin=text)

    assert result.exit_code == code
    assert message in result.stderr


def test_a_study_is_cloned(service: LiveService) -> None:
    study = service.create()

    cloned = json.loads(run("clone", study.id, "--name", "again", "--seed", "5", "--json").stdout)

    assert (cloned["name"], cloned["spec"]["seed"], cloned["state"]) == ("again", 5, "queued")
    assert cloned["spec"]["budget"] == study.spec.budget.model_dump(mode="json")


def test_a_study_that_has_ended_is_extended(service: LiveService) -> None:
    study = service.create()
    service.runner(study).finish()

    result = run("extend", study.id, "--trials", "50")

    assert result.stdout == f"study {study.id} goes on\n"
    assert json.loads(run("studies", "--state", "queued", "--json").stdout)[0]["id"]
    assert run("extend", study.id, "--trials", "60").exit_code == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "budget: give trials or seconds"),
        (["--trials", "0"], "--trials: input should be greater than or equal to 1"),
        (["--cluster-seconds", "-1"], "--cluster-seconds: input should be greater than 0"),
        (["--trials", "9", "--target", "nan"], "--target: input should be a finite number"),
    ],
)
def test_a_budget_that_is_none_is_refused_before_it_is_sent(options: list[str], message: str) -> None:
    result = run("extend", "any", *options)

    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {message}")


def test_a_study_is_submitted_with_a_warm_start(measured: tuple[Study, Runner], tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)

    submitted = json.loads(run("submit", str(file), "--warm-start", measured[0].id[:14], "--json").stdout)

    assert submitted["spec"]["warm_start"] == [measured[0].id]


def test_a_warm_start_from_an_unknown_study_is_refused(tmp_path: Path) -> None:
    result = run("submit", "-", "--warm-start", "nothing", stdin=STUDY)

    assert result.exit_code == 2
    assert 'no study\'s id begins with "nothing"' in result.stderr


def test_trials_are_listed_without_what_could_steer_a_terminal(measured: tuple[Study, Runner]) -> None:
    study, _ = measured

    (failed,) = rows(run("trials", study.id, "--state", "failed"))

    assert (failed["trial"], failed["problem"]) == (f"{study.id}-1", "ValueError: [31mbad luck")
    assert len(json.loads(run("trials", "--json").stdout)) == 2


def test_a_trial_is_shown_with_its_traceback_and_log(measured: tuple[Study, Runner]) -> None:
    study, _ = measured

    result = run("trial", "last-1")

    assert values(result)["trial"] == f"{study.id}-1"
    assert values(result)["config.x"] == "0.1"
    assert values(result)["job.1"].startswith("0 to 3, completed")
    assert "Traceback ..." in result.stdout
    assert "said so" in result.stdout
    assert json.loads(run("trial", f"{study.id}-1", "--json").stdout)["log"] == "said so"


def test_the_best_is_shown(measured: tuple[Study, Runner]) -> None:
    assert values(run("best"))["loss"] == "0.25"
    assert json.loads(run("best", "--json").stdout)[0]["trial"] == 0


def test_no_best_yet(service: LiveService) -> None:
    service.create()

    result = run("best", "last")

    assert result.exit_code == 1
    assert "has no result yet" in result.stderr


def test_programs_get_every_digit_and_people_six(service: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    study = service.create()
    config = {"x": 0.12345678901234567, "n": 2, "flag": True}
    best = replace(incumbent(0, 1 / 3), config=config)
    service.runner(study).commit(start(0, 0, config=config), report(0, 0, 3.0, 1 / 3), best=[best])
    commands = [("best", study.id), ("trial", f"{study.id}-0")]

    for command in commands:
        found = values(run(*command))
        assert (float(found["config.x"]), float(found["loss"])) == (config["x"], 1 / 3)
        assert found["config.n"] == "2"
    assert rows(run("trials", study.id))[0]["metrics"] == "loss=0.3333333333333333 size=1"

    monkeypatch.setattr(output, "console", Console(highlight=False, force_terminal=True))
    for command in commands:
        assert "0.123457" in run(*command).stdout


def test_people_can_tell_a_text_from_a_number(service: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    study = service.create()
    texts = {"adam": "adam", "a b": "a b", "1": '"1"', "1e-3": '"1e-3"', "True": '"True"', "none": '"none"'}
    texts |= {"": '""', " ": '" "', "-": '"-"', '"1"': r'"\"1\""'}
    config = {f"p{place}": text for place, text in enumerate(texts)} | {"number": 1, "truth": True}
    best = replace(incumbent(0, 0.5), config=config)
    service.runner(study).commit(start(0, 0, config=config), report(0, 0, 3.0), best=[best])
    monkeypatch.setattr(output, "console", Console(highlight=False, force_terminal=True, color_system=None))

    shown = dict(re.findall(r"config\.(\w+) {2,}(.*)", run("best", study.id).stdout))

    assert shown == {f"p{place}": text for place, text in enumerate(texts.values())} | {"number": "1", "truth": "True"}


def test_an_id_may_be_cut_short_while_it_is_unique(service: LiveService) -> None:
    first, second = service.create(), service.create()
    common = first.id[: next(n for n, pair in enumerate(zip(first.id, second.id, strict=True)) if len(set(pair)) > 1)]

    ambiguous = run("pause", common)
    assert ambiguous.exit_code == 2
    assert first.id in ambiguous.stderr
    assert second.id in ambiguous.stderr
    # Of other tests' studies, one may differ from this one only further behind.
    assert first.id in run("pause", first.id[:-1]).stdout
    assert "see: tunewright studies" in run("pause", "zzz").stderr
    assert "<study>-<number>" in run("trial", "last").stderr


def test_an_export_into_a_directory_is_refused(measured: tuple[Study, Runner], tmp_path: Path) -> None:
    result = run("export", measured[0].id, "--output", str(tmp_path))

    assert (result.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "it is a directory; name a file" in result.stderr


def test_the_catalogue_is_listed() -> None:
    assert rows(run("workloads"))[0]["workload"] == "bowl"
    assert "asha" in [row["optimizer"] for row in rows(run("optimizers"))]
    assert json.loads(run("workloads", "--json").stdout)["items"][0]["name"] == "bowl"
    assert json.loads(run("optimizers", "--json").stdout)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://localhost",
        "localhost:8080",
        "nonsense",
        "http://",
        "http://[::1",
        "http://h:x",
        "http://\u00e4..b",
        "http://xn--",
    ],
)
def test_what_is_no_address_of_a_service_is_one_line(url: str) -> None:
    result = run("studies", "--url", url)

    assert result.exit_code == 2
    assert re.fullmatch(r'Error: --url: url "[^"]+": give it as http://HOST:PORT\n', result.stderr)


def test_an_address_where_something_else_answers_is_one_line() -> None:
    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, format: str, *arguments: Any) -> None:
            """Standard error is the command's."""

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = run("studies", "--url", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1


def test_nobody_at_the_address_is_one_line() -> None:
    result = run("studies", "--url", "http://127.0.0.1:1")

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "tunewright serve" in result.stderr


# What `serve` refuses


@pytest.fixture
def served_here() -> Iterator[None]:
    """What a service sets up for a process of its own is taken back."""
    root, numbers = logging.getLogger(), (signal.SIGINT, signal.SIGTERM)
    handlers, level, answers = list(root.handlers), root.level, [signal.getsignal(number) for number in numbers]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for number, answer in zip(numbers, answers, strict=True):
        signal.signal(number, answer)
    gc.unfreeze()


def serve(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["serve", *arguments], env=environment)


def refusal(result: Result) -> str:
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.usefixtures("served_here")
class TestServe:
    def test_a_host_that_others_can_reach_is_refused(self, tmp_path: Path) -> None:
        assert "tokens must not travel unencrypted" in refusal(serve("--host", "0.0.0.0", "--data-dir", str(tmp_path)))

    def test_a_port_in_use_is_refused(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])

            line = refusal(serve("--port", port, "--data-dir", str(tmp_path)))

        assert f"port {port} on 127.0.0.1 cannot be used (Address already in use)" in line

    def test_a_data_directory_in_use_is_refused(self, tmp_path: Path) -> None:
        with lock_data_directory(tmp_path):
            line = refusal(serve("--port", "0", "--data-dir", str(tmp_path)))

        assert f"another service (pid {os.getpid()}) is using it" in line

    def test_directories_that_cannot_be_used_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        data = ["--port", "0", "--data-dir", str(tmp_path / "data")]

        assert "ray_temp_dir: " in refusal(serve(*data, "--ray-temp-dir", str(tmp_path / "file" / "ray")))
        assert "shorter --ray-temp-dir" in refusal(serve(*data, "--ray-temp-dir", "/tmp/" + 60 * "r"))
        line = refusal(serve(*data, "--import-path", str(tmp_path), "--import-path", str(tmp_path / "nowhere")))
        assert f"import_paths: {tmp_path / 'nowhere'} does not exist" in line
        assert not (tmp_path / "data").exists()

    def test_a_password_on_the_command_line_is_refused(self, tmp_path: Path) -> None:
        for url in ("postgresql://user:hunter2@host/store", "postgresql://user@host/store?password=hunter2"):
            line = refusal(serve("--data-dir", str(tmp_path), "--database-url", url))

            assert "TUNEWRIGHT_DATABASE_URL" in line
            assert "hunter2" not in line

    def test_a_wrong_store_is_named_without_quoting_it(self, tmp_path: Path) -> None:
        line = refusal(serve("--data-dir", str(tmp_path), TUNEWRIGHT_DATABASE_URL="mysql://user:hunter2@host/store"))

        assert 'database_url: "mysql" is not supported' in line
        assert "hunter2" not in line

    def test_a_store_that_cannot_be_reached_is_said(self, tmp_path: Path) -> None:
        url = "postgresql://user:hunter2@127.0.0.1:1/store"

        result = serve("--data-dir", str(tmp_path), "--port", "0", TUNEWRIGHT_DATABASE_URL=url)

        assert result.exit_code == 1
        assert "the service cannot start" in result.stderr
        assert "hunter2" not in result.stderr + result.stdout

    def test_a_wrong_setting_is_named(self, tmp_path: Path) -> None:
        line = refusal(serve("--data-dir", str(tmp_path), TUNEWRIGHT_PORT="many"))

        assert line.startswith("Error: port: input should be a valid integer")


# Processes


def test_without_the_servers_packages_serve_says_what_to_install() -> None:
    blocked = "import sys; sys.modules['service'] = None; from tunewright.cli import main; main()"

    result = subprocess.run([sys.executable, "-c", blocked, "serve"], capture_output=True, text=True, timeout=60)

    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert "pip install 'tunewright[server]'" in line


def test_a_store_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    result = subprocess.run(
        [
            *(sys.executable, "-m", "tunewright.cli", "serve", "--port", "0"),
            *("--data-dir", str(tmp_path), "--database-url", "sqlite:////nowhere/at/all.db"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert result.returncode == 1
    assert result.stderr.startswith("Error: the service cannot start: ")
    assert "Traceback" not in result.stderr


def in_a_session(leader: int) -> list[psutil.Process]:
    """Processes of a session that still run."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getsid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, PermissionError):
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_tells_its_address_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "tunewright.cli", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    environment = {**os.environ, "TUNEWRIGHT_RAY_TEMP_DIR": f"/tmp/tw-cli-{os.getpid()}"}
    with (tmp_path / "log").open("w") as log, ExitStack() as stack:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, start_new_session=True
        )
        stack.callback(process.kill)
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix(READY).strip()
        listed = run("studies", "--url", url)

        process.send_signal(number)

        assert process.wait(timeout=60) == 0
        process.stdout.close()
    assert listed.exit_code == 0, listed.output
    _, left = psutil.wait_procs(in_a_session(process.pid), timeout=15)
    assert left == []
    assert "Traceback" not in (tmp_path / "log").read_text()


class Demo:
    """`tunewright demo` as a process, in a temporary directory of its own."""

    def __init__(self, root: Path, *arguments: str) -> None:
        # Ray's sockets need a short path, so only the data lie under `root`.
        self.data_dir = root / "data"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tunewright.cli", "demo", "--data-dir", str(self.data_dir), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TUNEWRIGHT_RAY_TEMP_DIR": f"/tmp/tw-demo-{os.getpid()}"},
            # A shell starts its background jobs with SIGINT ignored, and the tests may be one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.service: psutil.Process | None = None

    def read_until(self, part: str) -> str:
        """Output up to a line with `part`; notes the service's process on the way."""
        read = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            read += line
            if self.service is None and "dashboard" in line:
                (self.service,) = psutil.Process(self.process.pid).children()
            if part in line:
                return read
        raise AssertionError(f"no {part!r} in:\n{read}")

    def left(self) -> list[Any]:
        assert self.service is not None
        return psutil.wait_procs(in_a_session(self.service.pid), timeout=15)[1]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def begin(*arguments: str) -> Demo:
            demo = Demo(tmp_path, *arguments)
            stack.callback(demo.process.communicate)
            stack.callback(demo.process.terminate)
            return demo

        yield begin


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_demo_tunes_shows_the_best_and_ends(demo: Any) -> None:
    running = demo("--once")

    told = running.read_until("Best configuration") + running.process.stdout.read()

    assert running.process.wait(timeout=60) == 0, told
    assert re.search(r"^dashboard\thttp://127.0.0.1:\d+/studies/\w+$", told, re.MULTILINE)
    assert re.search(r"^loss\t0\.1\d+$", told, re.MULTILINE)
    assert re.search(r"^config.max_depth\t\d+$", told, re.MULTILINE)
    assert running.left() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_demo_ended_in_the_middle_leaves_nothing_behind(demo: Any, number: signal.Signals, code: int) -> None:
    running = demo()
    running.read_until("running\t")

    running.process.send_signal(number)

    assert running.process.wait(timeout=90) == code
    assert running.left() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_demo_says_when_its_service_dies(demo: Any) -> None:
    running = demo()
    running.read_until("running\t")

    running.service.kill()
    told = running.process.stdout.read()

    assert running.process.wait(timeout=90) == 1
    assert "Error: the service ended with exit code -9" in told
    assert running.left() == []


def test_demo_says_why_its_service_does_not_start(demo: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with lock_data_directory(tmp_path / "data"):
        running = demo("--once")
        told = running.process.stdout.read()

    assert running.process.wait(timeout=60) == 1
    assert "another service" in told
