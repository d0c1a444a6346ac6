"""Which settings to try next, of those that take a restart: a search by steps, one knob at a time.

A server is restarted a few times a night at most, which is too little for a model to learn from. So this is a compass
search: from the best settings known each knob is moved by a part of its range, up and down; what helped is done once
more, and when nothing helps any more the steps become smaller. What experts' rules advise comes first, and what they
forbid never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from optimizers.onlinetune.rules import Rule, RuleBook
from tunewright.space import Categorical, Config, SearchSpace, config_key

# Parts of a knob's range.
STEPS = (0.25, 0.12, 0.06)


def next_trial(
    space: SearchSpace,
    standing: Config,
    before: Config | None,
    rejected: Sequence[Config],
    book: RuleBook,
    rules: Sequence[Rule],
    forbidden: Callable[[Config], str | None],
) -> Config | None:
    """Settings to try next; None where every step is done.

    Args:
        space: of the knobs that take a restart.
        standing: what stands now, the best known.
        before: what stood before that, where it was the last that was tried.
        rejected: what was tried and not kept.
        book, rules: of these knobs.
        forbidden: why settings would endanger the server; None where they would not.
    """
    tried = {config_key(standing), *(config_key(config) for config in rejected)}
    best = space.encode(standing)
    again = [] if before is None else [2.0 * best - space.encode(before)]
    for point in chain(again, [book.advice(rules, best)], _around(space, best)):
        config = space.decode(np.clip(point, 0.0, 1.0))
        if config_key(config) in tried or book.forbidden(rules, space.encode(config)[None]).any():
            continue
        if forbidden(config) is None:
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
