"""What tests of workers leave running ends with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.workers.scripted_legs import end_legs


@pytest.fixture(autouse=True)
def _legs_end() -> Iterator[None]:
    yield
    end_legs()
