"""What benchmarks share: percentiles, tables, JSON, and a load generator that keeps to the clock."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks._harness import Result, arguments, percentile, publish
from benchmarks._open_loop import open_loop


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(100, 0, -1)]

    assert [percentile(values, share) for share in (0, 0.5, 0.99, 1)] == [1, 50, 99, 100]
    with pytest.raises(ValueError, match="0 values"):
        percentile([], 0.5)


def test_a_result_is_printed_and_written(tmp_path: Path) -> None:
    result = Result("speed", "python -m benchmarks.speed", {"per_second": 1234.5}, [{"what": "a", "ms": 1.5}, {"n": 3}])
    out = io.StringIO()

    publish(result, tmp_path / "new" / "result.json", Console(file=out, width=100))

    assert json.loads((tmp_path / "new" / "result.json").read_text()) == {
        "name": "speed",
        "command": "python -m benchmarks.speed",
        "headline": {"per_second": 1234.5},
        "rows": [{"what": "a", "ms": 1.5}, {"n": 3}],
    }
    assert "1,234" in out.getvalue()


def test_the_command_repeats_the_run() -> None:
    found = arguments("speed", "How fast?", ["--quick", "--json", "out file.json"])

    assert (found.quick, found.json) == (True, Path("out file.json"))
    assert found.command == "python -m benchmarks.speed --quick --json 'out file.json'"


def test_a_stall_of_the_server_shows_in_every_request_that_was_due_meanwhile() -> None:
    stall, rate = 0.3, 100

    async def main() -> list[float]:
        gone = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.readuntil(b"\r\n\r\n"):
                asyncio.get_running_loop().call_later(stall, gone.set)
                await gone.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            answers = await open_loop("127.0.0.1", port, [("read", "/")] * 40, rate, connections=2)
        assert {(a.status, a.size) for a in answers} == {(200, 2)}
        return [a.seconds for a in answers]

    seconds = asyncio.run(main())

    assert sum(s > stall / 2 for s in seconds) >= stall / 2 * rate - 1
