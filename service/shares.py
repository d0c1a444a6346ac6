"""How studies share a cluster: how many legs each may have at a time.

Legs are not interrupted, so a share is what a study grows or shrinks to as its legs end. It is weighted max-min
fairness over several resources (dominant resource fairness; Ghodsi et al., NSDI 2011): a leg counts as the largest
part that it takes of any resource (a CPU of 16, a GPU of 2), and everybody's part grows in proportion to its weight
until a resource is used up or nothing more is wanted. What one leaves, others may use.

Legs are whole, shares are not. Who was entitled to more than it had is owed the difference, in legs times seconds, and
who is owed most, measured by its share, goes first where it is about the odd leg. So three studies on two processors
take turns, and one whose leg needs the whole cluster gets it in its turn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_CLOSE = 1e-9
# How far ahead it is looked when odd legs are given out.
_WHILE_SECONDS = 10.0


@dataclass(frozen=True)
class Claim:
    """What a study asks of the cluster.

    Attributes:
        weight: its share in proportion to those of others; positive.
        needs: resource -> what one leg takes of it.
        running: legs that ran of late, on average.
        wanted: legs that would run now if they might, those that run among them.
        most: legs that it ever has at a time.
    """

    study: str
    weight: float
    needs: Mapping[str, float]
    running: float
    wanted: int
    most: int

    def part(self, capacity: Mapping[str, float]) -> float:
        """The largest part of any resource that one leg takes; above 1 when it does not fit, 0 when it needs none."""
        return max((_part(need, capacity.get(name, 0.0)) for name, need in self.needs.items()), default=0.0)


class Shares:
    """Divides a cluster again and again, and remembers who is owed something."""

    def __init__(self) -> None:
        self._owed: dict[str, float] = {}
        self._divided_at: float | None = None

    def divide(self, capacity: Mapping[str, float], claims: Sequence[Claim], now: float) -> dict[str, int]:
        """How many legs each study may have from now on.

        Args:
            capacity: resource -> what there is of it in all.
            claims: of all studies that run; of those who are owed the same, the first goes first.
            now: in seconds, by a clock that does not go back.
        Returns:
            Study -> legs. One that has all that it wants may have one more, so that it is heard when it wants more.
        """
        self._note(entitlements(capacity, claims), claims, now)
        given = whole_legs(capacity, claims, [self._owed[claim.study] for claim in claims])
        rest = _rest(capacity, claims, given)
        spare = _in_turns(rest, claims, given, [claim.most for claim in claims])
        return {
            claim.study: min(claim.most, max(more, claim.wanted + 1)) if legs >= claim.wanted else legs
            for claim, legs, more in zip(claims, given, spare, strict=True)
        }

    def _note(self, fair: Sequence[float], claims: Sequence[Claim], now: float) -> None:
        passed = 0.0 if self._divided_at is None else now - self._divided_at
        self._divided_at = now
        self._owed = {
            # Who gets all that it wants is owed nothing: what it left to others before is no debt of theirs.
            claim.study: 0.0
            if share >= claim.wanted - _CLOSE
            else self._owed.get(claim.study, 0.0) + passed * (share - claim.running)
            for claim, share in zip(claims, fair, strict=True)
        }


def entitlements(capacity: Mapping[str, float], claims: Sequence[Claim]) -> list[float]:
    """The legs that each is entitled to, in fractions: weighted max-min fairness of dominant parts.

    Returns:
        A number from 0 to `wanted` for each claim; 0 for those whose legs do not fit into the cluster.
    """
    parts = [claim.part(capacity) for claim in claims]
    legs = [float(claim.wanted) if part == 0 else 0.0 for claim, part in zip(claims, parts, strict=True)]
    left = dict(capacity)
    growing = {i for i, claim in enumerate(claims) if 0 < parts[i] <= 1 and claim.wanted > 0}
    while growing:
        speed = {i: claims[i].weight / parts[i] for i in growing}
        used = {name: sum(speed[i] * claims[i].needs.get(name, 0.0) for i in growing) for name in left}
        step = min(
            *((claims[i].wanted - legs[i]) / speed[i] for i in growing),
            *(left[name] / used[name] for name in left if used[name] > 0),
        )
        for i in growing:
            legs[i] += step * speed[i]
        for name in left:
            left[name] -= step * used[name]
        gone = {name for name in left if left[name] <= _CLOSE * capacity[name]}
        growing = {
            i
            for i in growing
            if legs[i] < claims[i].wanted - _CLOSE and not any(claims[i].needs.get(name, 0.0) for name in gone)
        }
    return legs


def whole_legs(capacity: Mapping[str, float], claims: Sequence[Claim], owed: Sequence[float]) -> list[int]:
    """Whole legs for each claim, at most `wanted`; all together fit into the cluster, and no further one does.

    Args:
        owed: legs times seconds that each was entitled to and did not have; negative when it had more.
    """
    fair = entitlements(capacity, claims)

    def behind(i: int, legs: int = 0, seconds: float = 0.0) -> float:
        """Seconds of its share that it is owed, and will be with so many legs. Where legs of several sizes leave gaps
        nobody has its share, and all fall behind alike."""
        return (owed[i] + seconds * (fair[i] - legs)) / fair[i] if fair[i] else -math.inf

    order = sorted(range(len(claims)), key=behind, reverse=True)
    given = [0] * len(claims)
    left = dict(capacity)
    # A leg that is worth more than a share never runs unless others step back for it; its study pays for it later.
    for i in order:
        whole = 1 if owed[i] > 0 and 0 < fair[i] < 1 else math.floor(fair[i] + _CLOSE)
        given[i] += _take(left, claims[i], whole)
    # The odd legs go, one by one, to whoever would be behind most in a while. Who ran more than its share because its
    # legs are long steps back until that is made up for, also where it is entitled to the next leg in turn.
    while able := [i for i in order if given[i] < claims[i].wanted and _fitting(left, claims[i])]:
        first = max(able, key=lambda i: behind(i, given[i], _WHILE_SECONDS))
        given[first] += _take(left, claims[first], 1)
    return given


def _in_turns(left: dict[str, float], claims: Sequence[Claim], given: Sequence[int], most: Sequence[int]) -> list[int]:
    """What is left, one leg at a time to each that may have another and whose leg fits."""
    legs = list(given)
    waiting = [i for i in range(len(claims)) if legs[i] < most[i]]
    while waiting:
        for i in waiting:
            legs[i] += _take(left, claims[i], 1)
        waiting = [i for i in waiting if legs[i] < most[i] and _fitting(left, claims[i])]
    return legs


def _rest(capacity: Mapping[str, float], claims: Sequence[Claim], given: Sequence[int]) -> dict[str, float]:
    left = dict(capacity)
    for claim, legs in zip(claims, given, strict=True):
        for name, need in claim.needs.items():
            left[name] = left.get(name, 0.0) - legs * need
    return left


def _take(left: dict[str, float], claim: Claim, legs: int) -> int:
    """Take so many legs, or as many as fit, out of what is left."""
    taken = max(0, min(legs, _fitting(left, claim)))
    for name, need in claim.needs.items():
        left[name] = left.get(name, 0.0) - taken * need
    return taken


def _fitting(left: Mapping[str, float], claim: Claim) -> int:
    """How many of its legs fit into what is left."""
    room = [(left.get(name, 0.0) + _CLOSE * need) / need for name, need in claim.needs.items() if need > 0]
    return max(0, math.floor(min(room, default=float(claim.most)) + _CLOSE))


def _part(need: float, there_is: float) -> float:
    if need == 0:
        return 0.0
    return need / there_is if there_is > 0 else math.inf
