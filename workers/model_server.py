"""A trained recommender as a Ray actor: it takes batches of requests, one after the other."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from models.recsys.asked import Answer, Asked
from tunewright.errors import WorkloadError
from workers.checkpoints import CheckpointStore

# The workload whose trials can be served.
SERVED = "recsys.zoomer"


class ServerLost(Exception):
    """A model's server is gone, or could not be started; it may be started again."""


@dataclass(frozen=True)
class ModelOrder:
    """Which trial is to be served.

    Attributes:
        checkpoint_url: where trials' states are kept.
        config, data: the trial's configuration and its study's data options.
    """

    checkpoint_url: str
    study: str
    trial: int
    config: Mapping[str, Any]
    data: Mapping[str, Any]


class ModelServer:
    """Loads a trial's newest state once, then answers batch after batch."""

    def __init__(self, order: ModelOrder) -> None:
        # The actor's process alone needs what the model is made of.
        from models.recsys.serving import load_recommender

        with tempfile.TemporaryDirectory(prefix="tunewright-model-") as directory:
            state = CheckpointStore(order.checkpoint_url).get(order.study, order.trial, Path(directory))
            if state is None:
                raise WorkloadError("the trial has saved no state; let it run until it has, or choose another trial")
            self._recommender = load_recommender(state.directory, dict(order.config), order.data)

    def answer(self, asked: Sequence[Asked]) -> list[Answer]:
        return self._recommender.answer(asked)


class ServedModel:
    """A model's server on the cluster, seen from the service's event loop."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def answer(self, asked: Sequence[Asked]) -> list[Answer]:
        """Answers to a batch of requests, in order.

        Raises:
            ServerLost: the server died, or never came up; says why.
        """
        try:
            found: list[Answer] = await self._handle.answer.remote(list(asked))
        except RayError as error:
            raise ServerLost(str(getattr(error, "cause", None) or error).strip().splitlines()[-1]) from error
        return found

    def close(self) -> None:
        """End the server."""
        ray.kill(self._handle)


async def start_model(order: ModelOrder) -> ServedModel:
    """Start a server for a trial; it answers once the model is loaded.

    Raises:
        ServerLost: the service has no cluster.
    """
    # Asked before it is connected, Ray would start a cluster of its own.
    if not ray.is_initialized():
        raise ServerLost("the service is not connected to its cluster")
    actor: Any = ray.remote(ModelServer)
    return ServedModel(await asyncio.to_thread(actor.options(num_cpus=0, max_restarts=0).remote, order))
