"""Trials' logs through the clients and on the command line."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.store import trial_logs
from tests.service.conftest import Runner, ended, start
from tests.tunewright.live_service import LiveService
from tunewright import AsyncClient, Client, _requests, client
from tunewright.cli import app
from tunewright.errors import ApiError
from tunewright.study import TrialState
from workers.journal import Printed

LINES = [f"line {n} \x1b[1mof\x1b[0m many" for n in range(200)]
TEXT = "\n".join([*LINES, ""])


@pytest.fixture(autouse=True)
def _small_pages(service: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_requests, "LOG_CHARACTERS", 1000)
    monkeypatch.setattr(client, "POLL_SECONDS", 0.05)
    monkeypatch.setenv("TUNEWRIGHT_URL", service.url)


@pytest.fixture
def runner(service: LiveService) -> Runner:
    """Of a study whose trial 0 has printed something and goes on."""
    runner = service.runner(service.create())
    runner.commit(start(0, 0), printed=[Printed(0, TEXT)])
    return runner


def trial(runner: Runner) -> str:
    return f"{runner.journal.study_id}-0"


def test_a_log_comes_whole_over_all_pages(service: LiveService, runner: Runner) -> None:
    with Client(service.url) as connection:
        pieces = list(connection.log(trial(runner)))

    assert len(pieces) > 3
    assert "".join(pieces) == TEXT


def test_following_goes_on_until_the_trial_is_over(service: LiveService, runner: Runner) -> None:
    seen, first = [], threading.Event()

    def follow() -> None:
        with Client(service.url) as connection:
            for piece in connection.log(trial(runner), follow=True):
                seen.append(piece)
                if "".join(seen) == TEXT:
                    first.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert first.wait(30)
    runner.commit(printed=[Printed(0, "more\n")])
    runner.commit(ended(0, 0, TrialState.COMPLETED), printed=[Printed(0, "the end\n")])
    thread.join(30)

    assert "".join(seen) == TEXT + "more\nthe end\n"


def test_the_async_client_reads_and_follows_too(service: LiveService, runner: Runner) -> None:
    runner.commit(ended(0, 0, TrialState.COMPLETED), printed=[Printed(0, "the end\n")])

    async def read(follow: bool) -> str:
        async with AsyncClient(service.url) as connection:
            return "".join([piece async for piece in connection.log(trial(runner), follow=follow)])

    assert asyncio.run(read(False)) == asyncio.run(read(True)) == TEXT + "the end\n"


def test_a_line_says_what_was_left_out(service: LiveService, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_CHARACTERS", "TAIL_CHARACTERS", "PIECE_CHARACTERS"):
        monkeypatch.setattr(trial_logs, name, 100)
    runner.commit(printed=[Printed(0, "x" * 1000 + "\nthe end\n")])

    with Client(service.url) as connection:
        text = "".join(connection.log(trial(runner)))

    assert text.startswith("line 0")
    assert "characters left out]\n" in text
    assert text.endswith("x\nthe end\n")


def test_an_unknown_trial_has_no_log(service: LiveService, runner: Runner) -> None:
    with Client(service.url) as connection, pytest.raises(ApiError, match="does not exist"):
        list(connection.log(f"{runner.journal.study_id}-9"))


def test_logs_are_printed_as_they_are_into_a_pipe(runner: Runner) -> None:
    result = CliRunner().invoke(app, ["logs", trial(runner)])

    assert (result.exit_code, result.stdout) == (0, TEXT)


def test_logs_follow_a_trial_to_its_end(runner: Runner) -> None:
    runner.commit(ended(0, 0, TrialState.COMPLETED), printed=[Printed(0, "the end\n")])

    result = CliRunner().invoke(app, ["logs", "last-0", "--follow"])

    assert (result.exit_code, result.stdout) == (0, TEXT + "the end\n")


def test_a_submitted_file_says_where_its_program_lies(service: LiveService, tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    file = tmp_path / "studies" / "mine.yaml"
    file.write_text(
        "name: mine\nworkload: command\ncommand: {argv: [sh, train.sh]}\n"
        "space: {x: {type: float, low: 0, high: 1}}\nobjectives: [{metric: loss}]\n"
        "fidelity: {name: steps, max: 3}\nbudget: {trials: 1}\n"
    )

    submitted = CliRunner().invoke(app, ["submit", str(file)])
    absent = file.read_text().replace("[sh, train.sh]", "[./train]")
    refused = CliRunner().invoke(app, ["submit", "-"], input=absent)

    assert submitted.exit_code == 0, submitted.output
    with Client(service.url) as connection:
        command = connection.study(submitted.stdout.strip()).spec.command
    assert command is not None
    assert command.directory == str(tmp_path / "studies")
    assert refused.exit_code == 1
    assert f'command.argv.0: "./train" is no program in {Path.cwd()}' in " ".join(refused.stderr.split())
