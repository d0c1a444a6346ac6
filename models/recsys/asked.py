"""What a served recommender is asked, and what it answers; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = -1


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        user, query: numbers in the training data; `UNKNOWN` or a number that it does not have is a stranger's, whose
            answer rests on what else is known, in the end on the items' own popularity.
        items: to be scored; None asks for the best items instead.
        count: how many best items.
        fresh: whether items that the user clicked in the training data are left out of them.
    """

    user: int = UNKNOWN
    query: int = UNKNOWN
    items: tuple[int, ...] | None = None
    count: int = 10
    fresh: bool = True


@dataclass(frozen=True)
class Answer:
    """Items with their probabilities of a click: those asked for, or the best, best first.

    Attributes:
        known_user, known_query: whether the answer rests on what they did before.
    """

    items: list[int]
    scores: list[float]
    known_user: bool
    known_query: bool
