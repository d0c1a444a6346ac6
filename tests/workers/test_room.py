"""What a study claims of the cluster, and what it makes of the answer."""

from __future__ import annotations

from typing import Any

from workers.journal import JournalUnavailable
from workers.room import ASK_SECONDS, Room


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Answers:
    """A journal that notes claims and gives the answers that a test wants."""

    def __init__(self, *answers: int | Exception | None) -> None:
        self.claims: list[tuple[float, int]] = []
        self._answers = list(answers)

    def share(self, running: float, wanted: int) -> int | None:
        self.claims.append((running, wanted))
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def make(*answers: int | Exception | None) -> tuple[Room, Any, Clock]:
    journal: Any = Answers(*answers)
    clock = Clock()
    return Room(journal, clock), journal, clock


def test_a_study_that_fills_its_room_claims_all_that_it_may_have() -> None:
    room, journal, clock = make(2, 5, 5)

    assert room.ask(0, 10, 0.0)
    clock.now += 2.0
    assert room.ask(2, 10, 3.0)
    clock.now += 2.0
    assert not room.ask(3, 10, 9.0)

    assert room.legs == 5
    assert journal.claims == [(0.0, 10), (1.5, 10), (3.0, 3)]


def test_it_asks_once_a_second() -> None:
    room, journal, clock = make(2, 1)

    room.ask(0, 10, 0.0)
    clock.now += 0.9 * ASK_SECONDS
    assert not room.ask(2, 10, 0.0)
    clock.now += 0.2 * ASK_SECONDS
    room.ask(2, 10, 0.0)

    assert len(journal.claims) == 2
    assert room.legs == 1


def test_until_anybody_has_answered_one_leg_may_run() -> None:
    room, _, clock = make(None, None, 0)

    for expected in (1, 1, 0):
        room.ask(0, 10, 0.0)
        assert room.legs == expected
        clock.now += 2.0


def test_the_room_stays_while_the_store_is_away() -> None:
    room, _, clock = make(4, JournalUnavailable("down"))

    room.ask(0, 10, 0.0)
    clock.now += 2.0

    assert not room.ask(4, 10, 8.0)
    assert room.legs == 4
