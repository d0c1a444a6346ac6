"""Trained recommenders that answer requests: which are loaded, and how requests are put together to batches."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from models.recsys.asked import Answer, Asked
from service.store.errors import Conflict
from workers.model_server import SERVED, ModelOrder, ServerLost, start_model

if TYPE_CHECKING:
    from service.api.dependencies import Services

# Requests that go to a model together, and batches on their way to it at once: one is worked on, one waits.
MAX_BATCH = 128
MAX_UNDERWAY = 2
# Requests that may wait for one model; further ones are refused rather than answered late.
MAX_WAITING = 20_000
MAX_MODELS = 4


class Server(Protocol):
    """Answers batches; what a `Batcher` feeds."""

    async def answer(self, asked: Sequence[Asked]) -> list[Answer]:
        """Raises ServerLost."""

    def close(self) -> None:
        """End it."""


class TooManyWaiting(Exception):
    """More requests wait for a model than it can answer soon."""


class Batcher:
    """Puts requests that come at the same time together: what came while the model was busy is the next batch.

    Nobody waits for a batch to fill up: a request that comes alone goes alone. Used by one event loop.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._waiting: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        self._underway: set[asyncio.Task[None]] = set()
        self.lost = False

    async def answer(self, asked: Sequence[Asked]) -> list[Answer]:
        """Answers to requests, in their order.

        Raises:
            ServerLost: the model's server is gone. TooManyWaiting: ask again later.
        """
        if len(self._waiting) + len(asked) > MAX_WAITING:
            raise TooManyWaiting(f"{len(self._waiting)} requests wait for this model; ask again in a moment")
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Answer]] = [loop.create_future() for _ in asked]
        self._waiting.extend(zip(asked, futures, strict=True))
        # What else has arrived by now is read first, and goes along.
        loop.call_soon(self._send)
        return list(await asyncio.gather(*futures))

    def close(self) -> None:
        self._server.close()

    def _send(self) -> None:
        while self._waiting and len(self._underway) < MAX_UNDERWAY:
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            task = asyncio.create_task(self._run(batch), name="a batch of requests to a model")
            self._underway.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._underway.discard(task)
        self._send()

    async def _run(self, batch: list[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._server.answer([asked for asked, _ in batch])
        except Exception as error:
            self.lost = self.lost or isinstance(error, ServerLost)
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)


class Models:
    """The models that are loaded: the most recently asked ones, at most `MAX_MODELS`. Used by one event loop.

    Args:
        start: starts a model's server by the trial's id.
    """

    def __init__(self, start: Callable[[str], Awaitable[Server]]) -> None:
        self._start = start
        self._loaded: OrderedDict[str, Batcher] = OrderedDict()
        self._starting: dict[str, asyncio.Task[Batcher]] = {}

    async def answer(self, trial: str, asked: Sequence[Asked]) -> list[Answer]:
        """Answers of a trial's model, which is loaded if it is not.

        Raises:
            whatever `start` raises; ServerLost, TooManyWaiting.
        """
        batcher = self._loaded.get(trial)
        if batcher is None:
            batcher = await self._load(trial)
        else:
            self._loaded.move_to_end(trial)
        try:
            return await batcher.answer(asked)
        finally:
            if batcher.lost and self._loaded.get(trial) is batcher:
                # The next request starts it anew.
                del self._loaded[trial]

    def close(self) -> None:
        """End all servers."""
        while self._loaded:
            self._loaded.popitem()[1].close()

    async def _load(self, trial: str) -> Batcher:
        """One start for all who ask at the same time."""
        task = self._starting.get(trial)
        if task is None:
            task = self._starting[trial] = asyncio.create_task(self._begin(trial), name=f"start of model {trial}")
        return await asyncio.shield(task)

    async def _begin(self, trial: str) -> Batcher:
        try:
            batcher = Batcher(await self._start(trial))
        finally:
            del self._starting[trial]
        self._loaded[trial] = batcher
        while len(self._loaded) > MAX_MODELS:
            self._loaded.popitem(last=False)[1].close()
        return batcher


async def start_served(services: Services, trial_id: str) -> Server:
    """Start the server of a trial's model.

    Raises:
        NotFound: no such trial. Conflict: it is not of a workload that can be served, or has trained nothing yet.
        ServerLost: it could not be started.
    """
    trial = await asyncio.to_thread(services.repository.trial, trial_id)
    study = await asyncio.to_thread(services.repository.study, trial.study)
    if study.spec.workload != SERVED:
        raise Conflict(f"trial {trial_id} is of workload {study.spec.workload}; only those of {SERVED} can be served")
    if not trial.resource:
        raise Conflict(f"trial {trial_id} has saved no state yet; ask again when it has reported")
    url = services.settings.leg().checkpoint_url
    return await start_model(ModelOrder(url, trial.study, trial.number, trial.config, study.spec.data))
