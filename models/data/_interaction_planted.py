"""Interactions with a planted structure, of any size, whose best possible AUC is known.

Every user has a few interests: an intent each (a sort of thing to look for) and a taste within it. A session is about
one of them; its query belongs to the intent, and its candidates are drawn by a power law, most from the intent, some
from anywhere. Whether one is clicked depends on the taste for that intent alone, so what the user did under other
intents is noise: it takes the right part of a user's past to tell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.data._interaction_table import Field, Interactions, in_time_order
from tunewright.errors import WorkloadError

INTERESTS = 4
TASTE_DIMENSIONS = 4
SESSION_GAP, STEP_SECONDS, PERIOD_SECONDS = 1_800, 30, 90 * 86_400
_MEAN_SESSION = 5.0
_ASTRAY = 0.2
# Log-odds of a click: base, gain of a matching taste, deviation of items' quality, loss for another intent's item.
_BASE, _GAIN, _QUALITY, _MISMATCH = -0.4, 4.0, 0.5, 1.5


def generate(users: int, items: int, queries: int, interactions: int, seed: int = 0) -> Interactions:
    """Draw interactions; `truth` holds the probability with which each was clicked.

    Fields: users' `segment` (their first intent, wrong for one in five) and `region` (says nothing); items'
    `category` (their intent, wrong for one in ten) and `price` (says nothing).

    Args:
        users, items, queries, interactions: how many of each; at least 8 queries, 8 items and 1 user.
    Raises:
        WorkloadError: a number is too small; names it.
    """
    for name, number, least in (
        ("users", users, 1),
        ("items", items, 8),
        ("queries", queries, 8),
        ("interactions", interactions, 1),
    ):
        if number < least:
            raise WorkloadError(f"data.{name}: {number} must be at least {least}")
    rng = np.random.default_rng(seed)
    intents = int(np.clip(queries // 4, 2, min(64, items)))
    item_intent, query_intent = np.sort(rng.integers(intents, size=items)), np.arange(queries) % intents
    # No intent is without items.
    item_intent[rng.choice(items, intents, replace=False)] = np.arange(intents)
    item_intent.sort()
    interests = rng.integers(intents, size=(users, INTERESTS))
    taste = _unit(rng.standard_normal((users, INTERESTS, TASTE_DIMENSIONS), dtype=np.float32))
    style = _unit(rng.standard_normal((items, TASTE_DIMENSIONS), dtype=np.float32))
    quality = _QUALITY * rng.standard_normal(items, dtype=np.float32)

    session, start = _sessions(interactions, rng)
    activity = np.cumsum(rng.lognormal(0.0, 0.8, users))
    user_of = np.minimum(np.searchsorted(activity, rng.random(len(start)) * activity[-1]), users - 1)
    slot_of = (INTERESTS * rng.random(len(start)) ** 1.5).astype(np.int64)
    intent_of = interests[user_of, slot_of]
    query_of = _among(np.argsort(query_intent, kind="stable"), query_intent, intent_of, rng)

    user, slot, intent = user_of[session], slot_of[session], intent_of[session]
    wanted = np.where(rng.random(interactions) < _ASTRAY, rng.integers(intents, size=interactions), intent)
    item = _among(np.arange(items), item_intent, wanted, rng)
    match = np.einsum("nd,nd->n", taste[user, slot], style[item])
    logit = _BASE + quality[item] + np.where(wanted == intent, _GAIN * match, -_MISMATCH)
    truth = (1.0 / (1.0 + np.exp(-logit))).astype(np.float32)
    first = np.r_[0, np.flatnonzero(np.diff(session)) + 1]
    position = np.arange(interactions) - np.repeat(first, np.diff(np.r_[first, interactions]))
    return in_time_order(
        Interactions(
            user.astype(np.int32),
            item.astype(np.int32),
            query_of[session].astype(np.int32),
            (rng.random(interactions) < truth).astype(np.float32),
            (start[session] + STEP_SECONDS * position).astype(np.int64),
            liked_from=1.0,
            users=users,
            items=items,
            queries=queries,
            user_fields={
                "segment": _noisy(interests[:, 0], intents, 0.2, rng),
                "region": _noisy(np.zeros(users, np.int64), 10, 1.0, rng),
            },
            item_fields={
                "category": _noisy(item_intent, intents, 0.1, rng),
                "price": _noisy(np.zeros(items, np.int64), 10, 1.0, rng),
            },
            truth=truth,
        )
    )


def _sessions(interactions: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Session of every interaction (n,), and every session's start in seconds."""
    most = int(interactions / _MEAN_SESSION * 1.5) + 20
    lengths = 1 + rng.poisson(_MEAN_SESSION - 1, most)
    session = np.repeat(np.arange(most), lengths)[:interactions]
    if len(session) < interactions:
        session = np.r_[session, np.full(interactions - len(session), most - 1)]
    return session, rng.integers(PERIOD_SECONDS, size=int(session[-1]) + 1)


def _among(
    order: NDArray[np.int64], group: NDArray[np.int64], wanted: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """A member of each wanted group, by a power law over the group's order (exponent about 0.8).

    Args:
        order: members sorted by group.
        group: (members,) the group of each member.
    """
    bounds = np.searchsorted(group[order], np.arange(int(group.max()) + 2))
    size = bounds[wanted + 1] - bounds[wanted]
    rank = (size * rng.random(len(wanted)) ** 5.0).astype(np.int64)
    # u^5 is steeper than the power law at the head; half of the draws are spread more evenly.
    even = (size * rng.random(len(wanted)) ** 1.5).astype(np.int64)
    chosen = np.where(rng.random(len(wanted)) < 0.5, rank, even)
    return np.asarray(order[bounds[wanted] + np.minimum(chosen, size - 1)])


def _noisy(values: NDArray[np.int64], size: int, share: float, rng: np.random.Generator) -> Field:
    """A field that holds the values but for a share of the rows, which are drawn at random."""
    wrong = rng.random(len(values)) < share
    codes = np.where(wrong, rng.integers(size, size=len(values)), values) + 1
    return Field(codes.astype(np.int32), size + 1)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of length 1 along the last axis."""
    scaled: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled
