"""The audit trail as it is written in the background."""

from __future__ import annotations

import asyncio
import time

from service.audit import AuditTrail
from service.store import audit
from service.store.audit import Act
from service.store.repository import Repository
from tests.service.access import Clock
from tests.service.conftest import sqlite_only

REFUSED = Act(token=None, name="unknown", verb="GET", resource="/v1/studies", outcome="401")


@sqlite_only
def test_what_came_again_is_written_though_the_clock_was_set_back(repository: Repository) -> None:
    clock = Clock(time.time())
    trail = AuditTrail(repository.engine, 90, clock)

    def told() -> list[int]:
        return [entry.count for entry in audit.page(repository.engine, limit=10).items]

    async def refuse_twice() -> None:
        trail.start()
        for _ in range(2):
            trail.refused(REFUSED)
        clock.now -= 3_600.0
        async with asyncio.timeout(10):
            while len(told()) < 2:
                await asyncio.sleep(0.01)
        await trail.close()

    asyncio.run(refuse_twice())

    assert told() == [1, 1]
