"""A session's hold on a server: the connection, the server's own lock, the settings, the watchdog, and the way back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal, Protocol

from db_knobs.database import Database, Former, FormerSetting
from db_knobs.errors import (
    ConnectionLost,
    DatabaseError,
    KnobError,
    LoginRefused,
    RightMissing,
    ServerBusy,
    UnknownServer,
)
from db_knobs.knob import same
from tunewright.errors import TunewrightError
from tunewright.space import Config, Value
from workers.session_custody import Custody, ForeignChange, Returned, changed_by
from workers.session_journal import Began, RestartIntended, Restored, SessionRecord, Stands, Wanted
from workers.session_knobs import from_plain, moved_along, needs_restart
from workers.session_ledger import Ledger
from workers.session_watch import Clock

log = logging.getLogger(__name__)

# A lost database is tried again after the first pause, and then after ever longer ones.
FIRST_PAUSE, LAST_PAUSE = 1.0, 30.0
# One that is being restarted is asked so often whether it is back.
BACK_PAUSE = 0.2
# A runner or a watchdog that died may seem to hold the server's lock for so long.
LOCK_SECONDS = 30.0


class LockHeld(TunewrightError):
    """Another session, of this service or of another one, tunes the same server."""


class LockedOut(Exception):
    """The server does not take the session's password any more; settings of ours may stand there.

    Who starts runners reads the password anew for each: it is for the next one to get in.
    """


class Watchdog(Protocol):
    """Whoever puts settings back when this process dies."""

    def ours(self, names: Iterable[str], left: Mapping[str, Value]) -> None:
        """Knobs that were ever about to be changed; returns once it is known there.

        Args:
            left: what everything was left at, as in `Stands`; empty where a change is about to be made.
        Raises:
            OSError: no watchdog can be had.
        """

    def end(self) -> None:
        """Everything is as it should be; it may go."""


class Hold:
    """One session's hold on one server.

    Args:
        watchdog: makes one for former settings, of which the knobs given last need a restart.

    Attributes:
        custody: the settings; set by `know`.
        known: whether it was: the server has let this session in before.
        restart: restarts the server at the session's end, where it may be; returns whether it did. May raise what
            `Database` raises.
    """

    custody: Custody

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        clock: Clock,
        watchdog: Callable[[SessionRecord, Former, Collection[str]], Watchdog],
    ) -> None:
        self._database, self._ledger, self._clock = database, ledger, clock
        self._make_watchdog = watchdog
        self._watchdog: Watchdog | None = None
        self._moves: Mapping[str, tuple[str, ...]] = {}
        # What somebody else was seen to have set; it is never touched again.
        self._left: dict[str, str] = {}
        # What the watchdog takes for what we left.
        self._noted: Config = {}
        self.known = False
        self.restart: Callable[[], bool] = lambda: False
        self._holder = f"session {ledger.record.session}"

    def reach(self) -> bool:
        """Connect and take the server's lock, however long it takes; False once nobody wants that any more.

        Raises:
            LoginRefused: it never let this session in.
            LockedOut: it did.
            UnknownServer, LockHeld: and nothing of ours stands on the server.
        """
        began, pause = self._clock.monotonic(), FIRST_PAUSE
        while True:
            try:
                self._database.connect()
                if self._database.lock(self._holder):
                    return True
                if not self._ledger.touched and self._clock.monotonic() - began >= LOCK_SECONDS:
                    raise LockHeld("another tuning session holds this server; stop it first, or wait for its end")
            except LoginRefused as error:
                if not self.known:
                    raise
                raise LockedOut(str(error)) from None
            except UnknownServer as error:
                if not self._ledger.touched:
                    raise
                log.warning("%s", error)
            except ConnectionLost as error:
                log.warning("%s", error)
            self._clock.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)
            if self._ledger.wanted() is not Wanted.RUN:
                return False

    def know(self, began: Began) -> None:
        """What it takes to put settings back: from now on, everything of ours can be."""
        self.known = True
        # A store gives plain data back.
        former = {n: FormerSetting(value=each["value"], text=each["text"]) for n, each in began.former.items()}
        knobs = [from_plain(fields) for fields in began.knobs.values()]
        self.custody = Custody(self._database, former, needs_restart(knobs))
        # They may have been left to a restart that nobody made yet.
        seen = self._ledger.last_seen
        self.custody.expected |= {name: seen[name] for name in self.custody.filed if name in seen}
        self.custody.remember(self._ledger.left)
        self._moves = moved_along(knobs)
        for config in self._ledger.intended:
            self.custody.ours |= changed_by(config, former, self._moves)
        self._ledger.away = self._retreat

    def intend(self, config: Mapping[str, Value]) -> None:
        """Settings are about to be written down as intended; see that the lock is ours and all stands as we left it.

        Raises:
            ConnectionLost: with the lock.
            ForeignChange: somebody else set something.
        """
        self._see()
        self.custody.ours |= changed_by(config, self.custody.former, self._moves)
        self._ledger.touched = self._ledger.touched or bool(self.custody.ours)

    def intend_restart(self, config: Mapping[str, Value]) -> None:
        """The same of settings that take a restart; written down here, and told to the watchdog."""
        self._see()
        self.custody.ours |= config.keys()
        self._ledger.touched = True
        self._ledger.add(RestartIntended(self._clock.wall(), dict(config)))
        self._ledger.commit()
        self.guard()

    def regain(self, seconds: float) -> bool:
        """Connect again to a server that restarts, and take its lock; whether that was possible in time.

        Raises:
            LoginRefused, UnknownServer: it is back as something else.
        """
        deadline = self._clock.monotonic() + seconds
        while True:
            try:
                self._database.connect()
                if self._database.lock(self._holder):
                    return True
            except ConnectionLost:
                pass
            if self._clock.monotonic() >= deadline:
                return False
            self._clock.sleep(BACK_PAUSE)

    def answers(self, seconds: float) -> bool:
        """Whether the server says anything within so many seconds, be it that it does not let us in; takes no lock."""
        deadline = self._clock.monotonic() + seconds
        while True:
            try:
                self._database.connect()
                return True
            except ServerBusy:
                return True
            except ConnectionLost:
                if self._clock.monotonic() >= deadline:
                    return False
            except DatabaseError:
                return True
            self._clock.sleep(BACK_PAUSE)

    def guard(self) -> None:
        """Tell the watchdog what is about to change; it is started before the first change."""
        if not self.custody.ours:
            return
        if self._watchdog is None:
            self._watchdog = self._make_watchdog(self._ledger.record, self.custody.former, list(self.custody.filed))
        self._noted = {}
        self._watchdog.ours(self.custody.ours, {})

    def note(self) -> None:
        """Tell the watchdog, and the journal with the next batch, what everything was left at.

        Raises:
            OSError: the watchdog has died, and no other can be had.
        """
        custody = self.custody
        left = {} if custody.unsure or custody.unsettled else dict(custody.expected)
        if self._watchdog is not None and left != self._noted:
            self._noted = left
            self._watchdog.ours(custody.ours, left)
            self._ledger.add(Stands(left))

    def back(self) -> None:
        """Put the reference in place, if it is not, and note it; but what needs a restart.

        Raises:
            RightMissing: something cannot be put back.
            ForeignChange: somebody else set something, or it does not go back to what it was.
            OSError: as `note`.
        """
        if self.custody.away:
            self.custody.check_before_writing()
            returned = self.custody.back_without_restart()
            _raise_stuck(returned)
            if returned.left:
                raise ForeignChange(returned.left)
            self.note()

    def undo(self) -> None:
        """Put back what may stand of ours after a time in which nobody looked, and write that down.

        Raises:
            ForeignChange: somebody else set something meanwhile; what is ours was put back.
            RightMissing: something cannot be put back.
        """
        returned = self.custody.undo()
        _raise_stuck(returned)
        if self._ledger.touched:
            successor: Literal["watchdog", "successor"] = "successor" if returned.changed else "watchdog"
            self._restored(returned, "session" if self._watchdog is not None else successor)
        if returned.left:
            raise ForeignChange(returned.left)

    def leave(self, left: Mapping[str, str], *, keep: bool) -> str | None:
        """Put everything back but `left`, or with `keep` leave the best settings in place.

        Returns:
            What is in the way; None where it is done.
        Raises:
            LockedOut: see there.
        """
        self._left |= left
        try:
            held = self._database.holds_lock()
            if held:
                self._left |= self.custody.theirs_to_come()
            else:
                self._database.connect()
                if not self._database.lock(self._holder):
                    return "another session holds the server's lock"
                self._left |= self.custody.theirs_meanwhile()
            if keep and (self.custody.unsure or not held):
                # Nobody knows what stands: the best settings are set upon the former ones, not upon what was tried last
                # or what somebody else has set.
                self._left |= self.custody.undo().left
            if keep and not self._left and self._keep():
                return None
            returned = self.custody.back(self._left)
            if returned.pending and not returned.left and self.restart():
                returned = self.custody.back(self._left)
        except LoginRefused as error:
            raise LockedOut(str(error)) from None
        except DatabaseError as error:
            return str(error)
        if returned.stuck:
            return "; ".join(returned.stuck.values())
        self._restored(returned, "session")
        return None

    def release(self) -> None:
        """All is as promised: the watchdog may go, and a store that is away is no reason to put anything back."""
        self._ledger.away = lambda: None
        if self._watchdog is not None:
            self._watchdog.end()
            self._watchdog = None

    def _see(self) -> None:
        if not self._database.holds_lock():
            raise ConnectionLost(f"{self._ledger.record.address}: the server's lock was lost with a connection")
        if self._left:
            raise ForeignChange(self._left)
        self.custody.check()

    def _keep(self) -> bool:
        """Leave the best safe settings in place; False where none are known to be better."""
        custody, best = self.custody, self._ledger.best
        former = custody.former
        better = best is not None and best["gain"] > 0
        restarted = any(not same(value, former[name]["value"]) for name, value in custody.filed.items())
        if custody.unsettled or not (better or restarted):
            return False
        try:
            if best is not None and better:
                self._ledger.touched = True
                self._ledger.add(Stands({}))
                self._ledger.commit()
                self.guard()
                custody.put(best["config"])
            elif custody.back_without_restart().stuck:
                return False
        except ForeignChange as error:
            self._left |= error.theirs
            return False
        except KnobError as error:
            self._ledger.notice("refused", str(error), error.knob)
            return False
        standing = custody.expected
        kept = {n: "kept: the best safe settings" for n in former if not same(standing[n], former[n]["value"])}
        # What stands as it stood may be in the server's file now, and hide what a DBA writes into another one.
        returned = custody.back(kept)
        self._restored(Returned(returned.settings, returned.left), "session")
        return True

    def _restored(self, returned: Returned, by: Literal["session", "watchdog", "successor"]) -> None:
        left = {**returned.left, **returned.pending}
        self._ledger.add(Restored(self._clock.wall(), dict(returned.settings), left, by))
        self._ledger.touched = False

    def _retreat(self) -> None:
        """The store is away: the server does not stay under settings that nobody can follow."""
        try:
            if self.custody.away:
                self._left |= self.custody.theirs_to_come()
                self.custody.back(self._left)
        except DatabaseError as error:
            log.warning("the former settings could not be put back while the store is away: %s", error)


def _raise_stuck(returned: Returned) -> None:
    if returned.stuck:
        raise RightMissing("; ".join(returned.stuck.values()))
