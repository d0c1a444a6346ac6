"""Runners of studies whose trials run elsewhere, in threads of this process: without Ray, on a real store."""

from __future__ import annotations

import asyncio
import threading
from typing import NoReturn

from service.desks import Desks, Say
from service.store import leases
from service.store.engine import open_engine
from service.store.journal import SqlJournal
from tunewright.study import StudyState
from workers.ask_tell import Answer, Word
from workers.desk import Desk
from workers.journal import Fenced
from workers.study_loop import StudyLoop
from workers.study_runner import make_optimizer


def _fenced() -> NoReturn:
    raise Fenced("another runner has the study")


class DeskRunner:
    """One study's runner.

    Attributes:
        state: in which it left the study; None while it runs.
    """

    def __init__(self, store_url: str, study: str) -> None:
        engine = open_engine(store_url)
        epoch = leases.acquire(engine, leases.study_lease(study), "test", seize=True)
        engine.dispose()
        assert epoch is not None
        self._journal = SqlJournal(store_url, study, epoch)
        self.desk = Desk()
        self.desk.loop = StudyLoop(self._journal, make_optimizer, self.desk)
        self.state: StudyState | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    async def say(self, word: Word) -> Answer:
        (answer,) = self.desk.say([word])
        return await asyncio.wrap_future(answer)

    def end(self) -> None:
        """Wait until it is gone; it learns here that it was fenced off, not at its next heartbeat."""
        self.desk.loop.hear([_fenced])
        self.thread.join(20)

    def _run(self) -> None:
        try:
            self.state = self.desk.loop.run()
        except Fenced:
            pass
        finally:
            self.desk.close()
            self._journal.release()


class DeskRunners:
    """What a conductor and a cluster are to the desks of an application.

    Attributes:
        desks: the application's way to them.
    """

    def __init__(self) -> None:
        self._runners: dict[str, DeskRunner] = {}
        self.desks = Desks(self._find)

    def start(self, store_url: str, study: str) -> DeskRunner:
        """Start a study's runner; one that it had before is fenced off, as if it had been killed."""
        before = self._runners.get(study)
        self._runners[study] = DeskRunner(store_url, study)
        if before is not None:
            before.end()
        return self._runners[study]

    def stop(self, store_url: str) -> None:
        """End all runners, whatever their studies have come to."""
        engine = open_engine(store_url)
        leases.void(engine)
        engine.dispose()
        for runner in self._runners.values():
            runner.end()

    async def _find(self, study: str) -> Say | None:
        runner = self._runners.get(study)
        return None if runner is None else runner.say
