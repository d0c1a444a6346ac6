"""What tests of the client and of the command line share: a live service for each of their files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tunewright.live_service import LiveService
from tunewright import Client


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    service = LiveService(tmp_path_factory.mktemp("service") / "data")
    service.start()
    yield service
    service.close()


@pytest.fixture
def client(service: LiveService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture
def address(service: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands speak to the service without being told its address."""
    monkeypatch.setenv("TUNEWRIGHT_URL", service.url)
