"""Which settings to try next, of those that take a restart: a search by steps, one knob at a time.

A server is restarted a few times a night at most, which is too little for a model to learn from. So this is a compass
search: from the best settings known each knob is moved by a part of its range, up and down; what helped is done once
more, and when nothing helps any more the steps become smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from tunewright.space import Categorical, Config, SearchSpace, config_key

# Parts of a knob's range.
STEPS = (0.25, 0.12, 0.06)


def next_trial(
    space: SearchSpace,
    standing: Config,
    before: Config | None,
    rejected: Sequence[Config],
    forbidden: Callable[[Config], str | None],
) -> Config | None:
    """Settings to try next; None where every step is done.

    Args:
        space: of the knobs that take a restart.
        standing: what stands now, the best known.
        before: what stood before that, where it was the last that was tried.
        rejected: what was tried and not kept.
        forbidden: why settings would endanger the server; None where they would not.
    """
    tried = {config_key(standing), *(config_key(config) for config in rejected)}
    best = space.encode(standing)
    points = _around(space, best)
    if before is not None:
        points = chain([best + (best - space.encode(before))], points)
    for point in points:
        config = space.decode(np.clip(point, 0.0, 1.0))
        if config_key(config) not in tried and forbidden(config) is None:
            return config
    return None


def _around(space: SearchSpace, best: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    for number, step in enumerate(STEPS):
        for j, parameter in enumerate(space.parameters):
            if isinstance(parameter, Categorical):
                if number == 0:
                    yield from (_moved(best, j, (k + 0.5) / len(parameter.choices)) for k in _choices(parameter))
                continue
            # Int and ordinal knobs take a whole step at least.
            least = 1.0 / parameter.size if np.isfinite(parameter.size) else 0.0
            for direction in (1.0, -1.0):
                yield _moved(best, j, best[j] + direction * max(step, least))


def _choices(parameter: Categorical) -> range:
    return range(len(parameter.choices))


def _moved(point: NDArray[np.float64], column: int, place: float) -> NDArray[np.float64]:
    moved = point.copy()
    moved[column] = place
    return moved
