"""`tunewright mcp`, as a process of its own that speaks to a live service, and line by line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.store import tokens
from service.store.engine import writing
from tests.service.conftest import ended, incumbent, report, start
from tests.tunewright.live_service import LiveService
from tunewright.access import EVERY_PROJECT, Scope
from tunewright.client import Client
from tunewright.integrations.mcp import HANDSHAKE_VERSIONS, Server
from tunewright.integrations.mcp_tools import TOOLS
from tunewright.study import TrialState

pytestmark = pytest.mark.timeout(120)
MODERN = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}


@pytest.fixture
def server(service: LiveService) -> Iterator[Server]:
    with Client(service.url) as client:
        yield Server(client, TOOLS)


def ask(server: Server, method: str, **params: Any) -> dict[str, Any]:
    answer = server.answer(json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
    assert answer is not None
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 7)
    return answer


def call(server: Server, tool: str, **arguments: Any) -> Any:
    result = ask(server, "tools/call", name=tool, arguments=arguments)["result"]
    assert result["isError"] is False, result
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    return result["structuredContent"]


def refusal(server: Server, tool: str, **arguments: Any) -> str:
    result = ask(server, "tools/call", name=tool, arguments=arguments)["result"]
    assert result["isError"] is True
    return str(result["content"][0]["text"])


def test_a_process_speaks_it_line_by_line_and_ends_with_its_input(service: LiveService) -> None:
    messages = [
        {"id": 0, "method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {}}},
        {"method": "notifications/initialized"},
        {"id": 1, "method": "ping"},
        {"id": "two", "method": "tools/list"},
        {
            "id": 3,
            "method": "tools/call",
            "params": {
                "name": "submit_study",
                "arguments": {"study": {"name": "é", "workload": "bowl", "budget": {"trials": 2}, "notes": "\u2028"}},
            },
        },
    ]

    ended = subprocess.run(
        [sys.executable, "-m", "tunewright.cli", "mcp", "--url", service.url],
        input="\n".join(json.dumps({"jsonrpc": "2.0", **message}) for message in messages) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "LC_ALL": "C"},
    )

    answers = {answer["id"]: answer["result"] for answer in map(json.loads, ended.stdout.splitlines())}
    assert (ended.returncode, ended.stderr) == (0, "")
    assert list(answers) == [0, 1, "two", 3]
    assert answers[0]["protocolVersion"] == "2025-06-18"
    assert answers[0]["serverInfo"]["name"] == "tunewright"
    assert {tool["name"] for tool in answers["two"]["tools"]} == {tool.name for tool in TOOLS}
    submitted = answers[3]["structuredContent"]
    assert service.repository.study(submitted["id"]).name == "é"


def test_studies_are_listed_shown_and_cancelled(server: Server, service: LiveService) -> None:
    study = service.create()
    runner = service.runner(study)
    runner.counts = {TrialState.COMPLETED: 1}
    runner.commit(start(0, 0), report(0, 0, 3.0, 0.25), ended(0, 0, TrialState.COMPLETED), best=[incumbent(0, 0.25)])

    listed = call(server, "list_studies", limit=1)["studies"]
    assert [(s["id"], "spec" in s) for s in listed] == [(study.id, False)]
    assert call(server, "show_study", study=study.id)["spec"]["workload"] == "bowl"
    assert call(server, "best_configurations", study=study.id)["best"][0]["metrics"]["loss"] == 0.25
    assert [t["number"] for t in call(server, "list_trials", study=study.id)["trials"]] == [0]
    assert call(server, "show_trial", trial=f"{study.id}-0")["jobs"][0]["state"] == "completed"
    assert call(server, "diagnose", study=study.id)["study"] == study.id
    assert call(server, "cancel_study", study=study.id)["wanted"] == "cancel"
    assert call(server, "list_workloads")["items"][0]["name"] == "bowl"
    assert "hypertune" in {optimizer["name"] for optimizer in call(server, "list_optimizers")["optimizers"]}


def test_a_key_submits_a_study_once(server: Server) -> None:
    study = {"name": "once", "workload": "bowl", "budget": {"trials": 2}}

    first, second = (call(server, "submit_study", study=study, key="mine") for _ in range(2))

    assert first["id"] == second["id"]


def test_what_the_service_or_the_arguments_refuse_is_said_to_the_assistant(server: Server) -> None:
    assert "nowhere" in refusal(
        server, "submit_study", study={"name": "x", "workload": "nowhere", "budget": {"trials": 1}}
    )
    assert "budget" in refusal(server, "submit_study", study={"name": "x", "workload": "bowl"})
    assert "limit" in refusal(server, "list_studies", limit=0)
    assert "stady" in refusal(server, "show_study", stady="x")
    assert refusal(server, "show_study", study="ffffffff")


def test_a_service_that_is_away_is_said_too() -> None:
    with Client("http://127.0.0.1:9", timeout=1) as client:
        assert "does not answer" in refusal(Server(client, TOOLS), "list_optimizers")


@pytest.mark.parametrize("asked", [*HANDSHAKE_VERSIONS, "1999-01-01", None])
def test_the_handshake_agrees_on_a_version_that_it_knows(server: Server, asked: str | None) -> None:
    result = ask(server, "initialize", protocolVersion=asked)["result"]

    assert result["protocolVersion"] == (asked if asked in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[0])
    assert result["capabilities"] == {"tools": {}}


def test_without_a_handshake_each_request_says_what_it_speaks(server: Server) -> None:
    found = ask(server, "server/discover", **MODERN)["result"]
    listed = ask(server, "tools/list", **MODERN)["result"]
    called = ask(server, "tools/call", name="list_optimizers", **MODERN)["result"]
    other = ask(server, "tools/list", _meta={"io.modelcontextprotocol/protocolVersion": "2031-01-01"})["error"]

    assert found["supportedVersions"] == ["2026-07-28"]
    assert {result["resultType"] for result in (found, listed, called)} == {"complete"}
    assert (listed["ttlMs"], listed["cacheScope"]) == (0, "private")
    assert called["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "tunewright"
    assert (other["code"], other["data"]["supported"]) == (-32022, ["2026-07-28"])
    assert ask(server, "ping", **MODERN)["error"]["code"] == -32601, "that revision has none"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{", -32700),
        ('{"jsonrpc": "2.0", "id": NaN, "method": "ping"}', -32700),
        ("[" * 100_000, -32700),
        ("[]", -32600),
        ('{"id": 1}', -32600),
        ('{"id": 1, "method": "ping"}', -32600),
        ('{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]}', -32600),
        ('{"jsonrpc": "2.0", "id": 1, "method": "resources/list"}', -32601),
        ('{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "delete_all"}}', -32602),
    ],
)
def test_what_is_no_request_gets_an_error_and_ends_nothing(server: Server, line: str, code: int) -> None:
    answer = server.answer(line)

    assert answer is not None
    assert answer["error"]["code"] == code


@pytest.mark.parametrize(
    "line",
    ['{"jsonrpc": "2.0", "method": "notifications/cancelled"}', '{"jsonrpc": "2.0", "id": 1, "result": {}}'],
)
def test_notifications_and_answers_are_not_answered(server: Server, line: str) -> None:
    assert server.answer(line) is None


def test_read_only_offers_nothing_that_writes(service: LiveService) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tunewright.cli", "mcp", "--read-only", "--url", service.url],
        input=b'\xff\n{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}\n',
        capture_output=True,
        timeout=60,
    )

    broken, listed = map(json.loads, ended.stdout.splitlines())
    assert broken["error"]["code"] == -32700, "a byte that is no text ends nothing"
    tools = listed["result"]["tools"]
    assert all(tool["annotations"]["readOnlyHint"] for tool in tools)
    assert "submit_study" not in {tool["name"] for tool in tools}


def test_a_token_can_do_no_more_than_its_scope(tmp_path: Path) -> None:
    service = LiveService(tmp_path / "data", auth="on")
    with writing(service.repository.engine) as connection:
        _, reader = tokens.create(connection, "reader", Scope.READ, EVERY_PROJECT, None)
    service.start()
    try:
        with Client(service.url, token=reader.text) as client:
            server = Server(client, TOOLS)

            assert call(server, "list_studies") == {"studies": []}
            study = {"name": "x", "workload": "bowl", "budget": {"trials": 1}}
            assert "write" in refusal(server, "submit_study", study=study)
    finally:
        service.close()
