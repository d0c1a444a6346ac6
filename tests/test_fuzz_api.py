"""A part of what `python -m tests.fuzz_api` does."""

from __future__ import annotations

import pytest

from tests.fuzz_api import fuzz


@pytest.mark.slow
def test_the_whole_api_keeps_to_its_own_document() -> None:
    # Fewer make too few walks: most operations cannot begin one.
    found = fuzz(cases=500, examples=20)

    assert not found.failures, "\n".join(found.failures)
    assert found.cases >= 500
    # Walks along the links have made and changed something.
    assert {"200", "201", "202", "404", "409", "422"} <= set(found.statuses)
