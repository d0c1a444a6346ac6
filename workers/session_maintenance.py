"""Knobs that need a restart: tried one at a time in the hours in which the server may be restarted.

A trial is whole within one window: the reference is measured, settings are filed and the server restarted, caches fill,
and the reference of all other knobs is measured again. Then everything is put back with another restart, and what
seemed surely better is compared with what stands once more: loads and machines drift, and a drift helps against one of
two neighbours only. What is better twice is restarted into for good. A test by the second ends a trial that is surely
worse. A trial begins only while the window and the session's budget leave time for all of it.

To the tuner of the other knobs a server with other such settings is the same server in another context: what they stand
at are numbers of the context.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from db_knobs.database import Former
from db_knobs.errors import DatabaseError, KnobError, RestartFailed
from db_knobs.knob import Knob, to_space
from db_knobs.restart import RestartCommand
from optimizers.onlinetune import Rule
from optimizers.onlinetune.restarts import next_trial
from optimizers.onlinetune.rules import RuleBook, about
from tunewright.session import TRIAL_INTERVALS, TRIAL_MEASUREMENTS, Restarts, SessionSpec
from tunewright.space import Config
from workers.session_hold import Hold
from workers.session_journal import RestartTried, Wanted
from workers.session_knobs import placed
from workers.session_ledger import Ledger
from workers.session_recovery import NOT_RECOVERED, RECOVERED, recover
from workers.session_watch import SECOND, Clock
from workers.watchdog import environment

# Probability with which settings that make no difference are taken for better, and the gain that is worth a change.
ALPHA = 0.05
LEAST_GAIN = 0.01
# What begins the names of the context's numbers that are knobs.
FEATURE = "restart."
# What judges an interval, and returns its performance as a logarithm with more being better, and whether a test of it
# raised an alarm; None where it was not judged.
Observe = Callable[[float | None], "Observed | None"]


@dataclass(frozen=True)
class Observed:
    """One interval of a trial.

    Attributes:
        gain: logarithm of the performance, with the sign with which more is better.
        aborted: it is surely below what was to be defended.
    """

    gain: float
    aborted: bool


class Maintenance:
    """One session's restarts.

    Args:
        command: None where this machine has none of the name that the session gives, for this server.
        knobs: that need a restart, at what they stood at when the session began.
        rules: that hold now.
        guard: why settings would endanger the server, in words; None where they would not.
    """

    def __init__(
        self,
        restarts: Restarts,
        command: RestartCommand | None,
        knobs: Sequence[Knob],
        spec: SessionSpec,
        hold: Hold,
        ledger: Ledger,
        clock: Clock,
        rules: Callable[[], Sequence[Rule]],
        guard: Callable[[Config], str | None],
    ) -> None:
        self._restarts, self._command = restarts, command
        self._space = to_space(knobs)
        self._book, self._rules = RuleBook(self._space, {knob.name: knob.current for knob in knobs}), rules
        self._interval, self._budget = spec.interval, spec.budget
        self._hold, self._ledger, self._clock, self._guard = hold, ledger, clock, guard
        # What earlier runners kept was put back since, and may be tried again.
        self._tried = ledger.restarts
        self._before: Config | None = None
        if command is None:
            text = f'this machine has no command "{restarts.command}" that restarts this server; nothing is restarted'
            ledger.notice_once("restart", restarts.command, text)

    def coordinates(self) -> tuple[float, ...]:
        """Where the knobs stand, each in [0, 1]; numbers of the context, whose names begin with `FEATURE`."""
        return tuple(float(u) for u in self._space.encode(placed(self._space, self._hold.custody.running)))

    def due(self) -> bool:
        """Whether it is time for a restart: to put something back, or to try something."""
        if self._hold.custody.unsettled:
            return self._may_restart()
        window = self._restarts.opened(self._clock.wall())
        in_window = sum(trial.at >= window[0] for trial in self._tried) if window is not None else 0
        return in_window < self._restarts.most and self._may_try() and self._next() is not None

    def run(self, observe: Observe) -> None:
        """Do what is due.

        Args:
            observe: measures the reference for an interval; its argument is the gain by which a trial is judged.
        Raises:
            ConnectionLost, ForeignChange, Fenced: as everything that touches the server; the session recovers.
        """
        if self._hold.custody.unsettled:
            self._settle("put back what waits for a restart")
            return
        config = self._next()
        assert config is not None
        before = self._measured(observe, None)
        if before is None:
            return
        try:
            self._try(config, before, observe)
        except DatabaseError as error:
            self._tell(config, None, kept=False, reason=f"broken off: {error}")
            raise

    def restart_at_end(self) -> bool:
        """Restart the server for settings that are filed as they were, if it may be restarted now.

        Raises:
            DatabaseError: it was tried, and failed; it is not tried again.
        """
        if not self._may_restart():
            return False
        assert self._command is not None
        if (problem := self._restarted()) is not None:
            self._ledger.restart_failed(problem)
            if self._hold.regain(0.0) or self._hold.answers(self._command.seconds):
                raise DatabaseError(problem)
            # It is down by our doing, and nobody else may look at it before the morning.
            self._recover(self._former)
        return True

    # A trial

    def _next(self) -> Config | None:
        standing = placed(self._space, self._hold.custody.running)
        rejected = [trial.config for trial in self._tried if not trial.kept]
        rules = about(self._rules(), self._space.names)
        return next_trial(self._space, standing, self._before, rejected, self._book, rules, self._guard)

    def _try(self, config: Config, before: Sequence[float], observe: Observe) -> None:
        standing = self._hold.custody.running
        changed = {name: value for name, value in config.items() if value != standing[name]}
        self._hold.intend_restart(config)
        try:
            gain, reason = self._verdict(changed, before, observe)
        except _NotBetter as error:
            self._before = None
            self._tell(config, error.gain, kept=False, reason=str(error))
        else:
            self._before = standing
            self._tell(config, gain, kept=True, reason=reason)

    def _verdict(self, changed: Config, before: Sequence[float], observe: Observe) -> tuple[float, str]:
        """Try settings between two measurements of what stands, and leave them where they beat both.

        Returns:
            Their gain, as a share, and words for it.
        Raises:
            _NotBetter: what stood stands again.
        """
        filed = self._enter(changed)
        tried = self._measured(observe, float(np.mean(before)))
        self._put_back(filed)
        if tried is None:
            raise _NotBetter("put back: the load or the session ended during the trial")
        gain = _gain(before, tried)
        if not surely_better(before, tried):
            raise _NotBetter(f"put back: {gain:+.1%} against what stood before, which is not surely better", gain)
        again = self._measured(observe, None)
        if again is None:
            raise _NotBetter(f"put back: {gain:+.1%} against what stood before, which could not be confirmed", gain)
        later = _gain(again, tried)
        words = f"{gain:+.1%} against what stood before, {later:+.1%} against the same afterwards"
        if not surely_better(again, tried):
            raise _NotBetter(f"put back: {words}: something else changed meanwhile", later)
        if not self._may_restart():
            raise _NotBetter(f"put back: {words}, but the window has closed", gain)
        self._enter(changed)
        return _gain([*before, *again], tried), f"kept: {words}"

    def _enter(self, changed: Config) -> Former:
        """Restart the server into settings; returns what was filed before.

        Raises:
            _NotBetter: it does not take them, or does not start with them.
        """
        custody = self._hold.custody
        try:
            filed = custody.file(changed)
        except KnobError as error:
            self._ledger.notice("refused", str(error), error.knob)
            raise _NotBetter(f"not tried: {error}") from None
        if (problem := self._restarted()) is None:
            custody.look()
            if not custody.unsettled & changed.keys():
                custody.settle()
                self._rest()
                return filed
            problem = "the server does not stand at what was filed"
        self._rescue(filed, problem)
        raise _NotBetter(problem)

    def _measured(self, observe: Observe, before: float | None) -> list[float] | None:
        """Gains of the intervals; fewer where a test ended them, None where one could not be judged."""
        gains: list[float] = []
        while len(gains) < TRIAL_INTERVALS:
            seen = observe(before)
            if seen is None:
                return None
            gains.append(seen.gain)
            if seen.aborted:
                break
        return gains

    def _put_back(self, filed: Former) -> None:
        """End the trial; also where it took longer than the window: nobody asked for these settings by day."""
        self._hold.custody.unfile(filed)
        self._settle("put back what was tried")

    def _tell(self, config: Config, gain: float | None, *, kept: bool, reason: str) -> None:
        told = RestartTried(self._clock.wall(), dict(config), gain, kept, reason, self._ledger.broken)
        self._tried.append(told)
        self._ledger.add(told)
        self._ledger.commit()

    # Restarts

    @property
    def _former(self) -> Former:
        return {name: self._hold.custody.former[name] for name in self._space.names}

    def _settle(self, why: str) -> None:
        """Restart the server into what is filed."""
        if (problem := self._restarted()) is not None:
            self._ledger.notice("restart", f"{why}: {problem}")
            self._rescue(self._former, problem)
        self._hold.custody.look()
        self._hold.custody.settle()
        self._rest()

    def _rest(self) -> None:
        """Let caches fill, unless somebody wants the session to end."""
        until = self._clock.monotonic() + self._restarts.settle
        while (left := until - self._clock.monotonic()) > 0 and self._ledger.wanted() is Wanted.RUN:
            self._clock.sleep(min(SECOND, left))

    def _restarted(self) -> str | None:
        """Restart the server; what went wrong, None where it is back and ours."""
        assert self._command is not None
        began = self._clock.monotonic()
        try:
            self._command.run_restart(environment())
        except RestartFailed as error:
            return str(error)
        if not self._hold.regain(self._command.seconds):
            return f"the server did not answer within {self._command.seconds:g} s of its restart"
        self._ledger.notice("restart", f"the server was restarted; that took {self._clock.monotonic() - began:.1f} s")
        return None

    def _rescue(self, filed: Former, problem: str) -> None:
        """Bring a server back that did not restart, with what was filed before.

        Raises:
            DatabaseError: it stays away; the session waits for it.
        """
        self._ledger.restart_failed(problem)
        if self._hold.regain(0.0):
            # It may have come up with what was filed, whatever its command says.
            self._hold.custody.look()
            self._hold.custody.unfile(filed)
            if self._hold.custody.unsettled and self._restarted() is not None:
                self._recover(filed)
        else:
            self._recover(filed)
        self._hold.custody.look()

    def _recover(self, filed: Former) -> None:
        assert self._command is not None
        recover(self._command, filed, self._ledger)
        if not self._hold.regain(self._command.seconds):
            raise DatabaseError(NOT_RECOVERED)
        self._hold.custody.unfile(filed)
        self._ledger.notice("restart", RECOVERED)

    def _may_restart(self) -> bool:
        """Whether the server may be restarted now, and the window leaves time for it."""
        return self._command is not None and self._time_for(2.0 * self._command.seconds)

    def _may_try(self) -> bool:
        """The same of a trial that is kept: three measurements, and three restarts with what follows them."""
        if self._command is None:
            return False
        seconds = self._restarts.trial_seconds(self._interval, self._command.seconds)
        return self._time_for(seconds) and self._budget_for(seconds)

    def _budget_for(self, seconds: float) -> bool:
        """Whether the session's budget leaves room for a trial of so many seconds; says so where it does not."""
        left_seconds = math.inf if self._budget.seconds is None else self._budget.seconds - self._ledger.active_seconds
        left = math.inf if self._budget.intervals is None else self._budget.intervals - self._ledger.intervals
        intervals = TRIAL_MEASUREMENTS * TRIAL_INTERVALS
        if left_seconds >= seconds and left >= intervals:
            return True
        text = f"the budget leaves no room for another restart: one takes {intervals} intervals"
        self._ledger.notice_once("restart", "budget", f"{text} and about {seconds:.0f} s")
        return False

    def _time_for(self, seconds: float) -> bool:
        now = self._clock.wall()
        window = self._restarts.opened(now)
        return not self._ledger.broken and window is not None and window[1] - now >= seconds


class _NotBetter(Exception):
    """Settings are not kept, and do not stand.

    Attributes:
        gain: where they were measured, as a share.
    """

    def __init__(self, reason: str, gain: float | None = None) -> None:
        self.gain = gain
        super().__init__(reason)


def _gain(before: Sequence[float], after: Sequence[float]) -> float:
    return math.expm1(float(np.mean(after) - np.mean(before)))


def surely_better(before: Sequence[float], after: Sequence[float]) -> bool:
    """Whether gains after a change are above those before it by more than chance and than what is worth it.

    A one-sided t-test of equal variances at `ALPHA`; a measurement that was ended early is never better.
    """
    if len(after) < len(before):
        return False
    risen = float(np.mean(after) - np.mean(before))
    spread = math.sqrt((np.var(after, ddof=1) + np.var(before, ddof=1)) / len(before))
    return bool(risen > max(student.ppf(1.0 - ALPHA, 2 * len(before) - 2) * spread, math.log1p(LEAST_GAIN)))
