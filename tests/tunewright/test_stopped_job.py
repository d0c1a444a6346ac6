"""What becomes of measurements of a job that is told to stop; the service is only pretended."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tunewright import AsyncClient, Client

pytestmark = pytest.mark.timeout(30)
JOB = {
    "id": "study-0-1",
    "study": "study",
    "trial": "study-0",
    "config": {"x": 0.5},
    "start": 0,
    "end": 4,
    "seed": 7,
    "lease_seconds": 0.03,
}


def service(told: list[tuple[str, Any]]) -> Callable[[httpx.Request], httpx.Response]:
    """Gives out one job, and says to whoever works on it that somebody else has it."""

    def answer(request: httpx.Request) -> httpx.Response:
        verb = request.url.path.rpartition("/")[2].rpartition(":")[2]
        if verb != "heartbeat":
            told.append((verb, json.loads(request.content)))
        if verb == "ask":
            return httpx.Response(200, json={"jobs": [JOB], "state": "running"})
        return httpx.Response(200, json={"ended": True} if verb == "finish" else {"answer": "abandon"})

    return answer


@pytest.mark.parametrize(("resource", "verb", "state"), [(2, "reports", "stopped"), (4, "finish", "completed")])
def test_what_was_measured_until_then_is_told_all_the_same(resource: int, verb: str, state: str) -> None:
    told: list[tuple[str, Any]] = []
    report = {"resource": resource, "metrics": {"loss": 0.5}}

    with Client("http://pretended", transport=httpx.MockTransport(service(told))) as client, client.job("study") as job:
        while not job.stopped:
            time.sleep(0.01)
        job.report(resource, {"loss": 0.5})

    assert report in [each for kind, body in told if kind == verb for each in body["reports"]]
    assert (told[-1][0], told[-1][1]["state"]) == ("finish", state)


def test_the_async_client_tells_it_as_well() -> None:
    told: list[tuple[str, Any]] = []

    async def work() -> None:
        pretended = httpx.MockTransport(service(told))
        async with AsyncClient("http://pretended", transport=pretended) as client, client.job("study") as job:
            while not job.stopped:
                await asyncio.sleep(0.01)
            await job.report(4, {"loss": 0.5})

    asyncio.run(work())

    assert told[-1][1]["reports"] == [{"resource": 4, "metrics": {"loss": 0.5}}]
