"""Labellings through the client, sync and async, on a service that listens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.tunewright.live_service import LiveService
from tunewright.client import AsyncClient, Client
from tunewright.errors import ApiError


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LiveService]:
    found = LiveService(tmp_path / "data")
    found.start()
    yield found
    found.close()


def test_a_labelling_is_begun_answered_and_read(service: LiveService) -> None:
    with Client(service.url) as client:
        made = client.create_labelling(dataset="sbm", classes=["a", "b", "c"])
        first = client.next_question(made.id).question
        assert first is not None
        following = client.answer_question(made.id, first.number, "yes")
        known = client.labels(made.id)

        assert following.question is not None
        assert following.question.number == 1
        assert [(item.node, item.class_name) for item in known.items] == [(first.node, first.class_name)]
        with pytest.raises(ApiError, match="answered yes already"):
            client.answer_question(made.id, first.number, "no")
        assert client.answer_question(made.id, first.number, "no", replace=True).labelling.answers["no"] == 1
        with pytest.raises(ValidationError):
            client.create_labelling(dataset="sbm", batch=0)


def test_the_async_client_does_the_same(service: LiveService) -> None:
    async def label() -> int:
        async with AsyncClient(service.url) as client:
            made = await client.create_labelling(dataset="sbm")
            first = (await client.next_question(made.id)).question
            assert first is not None
            await client.answer_question(made.id, first.number, "skip")
            return len((await client.labels(made.id)).items)

    assert asyncio.run(label()) == 0
