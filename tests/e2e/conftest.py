"""What several end-to-end tests need: a service, and a Ray cluster that is there before services and outlives them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.ray_head import RayNode, running_head
from tests.e2e.service_process import ServiceProcess


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path_factory.mktemp("service") / "data")
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture
def service(shared_service: ServiceProcess) -> ServiceProcess:
    """One for all tests of a module, whatever the one before did to it: it runs, and no study does."""
    if not shared_service.running:
        shared_service.start()
    shared_service.cancel_all()
    return shared_service


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNode]:
    with running_head(tmp_path_factory.mktemp("head") / "log") as head:
        yield head
