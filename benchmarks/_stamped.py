"""Studies whose reports say when they were made, and a client that takes events as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from httpx_sse import connect_sse

from benchmarks._service import Service

STAMPED = "stamped:Stamped"


def stamped(steps: int, seconds: float) -> dict[str, Any]:
    """A study of two trials side by side, each of so many reports with a pause before each."""
    return {
        "name": "stamped reports",
        "workload": STAMPED,
        "optimizer": "random",
        "fidelity": {"name": "steps", "max": steps},
        "budget": {"trials": 2},
        "parallel": 2,
        "data": {"seconds": seconds},
    }


@contextmanager
def listening(service: Service, take: Callable[[dict[str, Any], float], None]) -> Iterator[None]:
    """Hand every event of /v1/events to `take` with the time at which it arrived, from a thread of its own."""
    connected, done = threading.Event(), threading.Event()

    def listen() -> None:
        with (
            httpx.Client(base_url=service.url, timeout=60) as client,
            connect_sse(client, "GET", "/v1/events") as source,
        ):
            connected.set()
            for event in source.iter_sse():
                if done.is_set():
                    return
                if event.data:
                    take(event.json(), time.time())

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    if not connected.wait(10):
        raise TimeoutError("waited 10 s for /v1/events")
    try:
        yield
    finally:
        done.set()
