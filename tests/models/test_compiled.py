"""What kernels are made with."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.compiled import kernel, prefetch


@kernel()
def _total(array: Any, places: Any) -> Any:
    for place in places:
        prefetch(array, place)
    total = 0
    for place in places:
        if 0 <= place < len(array):
            total += array[place]
    return total


def test_a_prefetch_changes_nothing_and_may_lie_outside() -> None:
    array, places = np.arange(10), np.array([3, 0, 9, 10, -1, 1 << 40])

    assert _total(array, places) == 12
    assert array.tolist() == list(range(10))
