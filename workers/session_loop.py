"""One tuning session's life: observe, decide, write down, apply, verify, measure, learn; and put everything back.

The loop knows nothing of Ray. What may be relied on:

- The settings to go back to are in the journal, and with the watchdog, before anything is changed; every change is
  before it is made.
- Nothing is changed but under the server's own lock, which one connection of one process holds.
- However the session ends, the former settings are put back (with `keep`, the best safe ones stay); while they cannot
  be, its state is `restoring` and it goes on trying. A setting that somebody else changed is left as it is.
- A runner that follows one that died puts the *former* settings back before anything else: they are the measure of
  what is safe, in whatever the server goes through by now.
- A journal that cannot be written for a while costs the session its settings: the former ones are put back until it
  can. Who loses the session (`Fenced`) stops at once and touches nothing; its watchdog puts back what stands, unless
  the successor holds the server's lock by then.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from db_knobs.address import Address
from db_knobs.catalog import Host
from db_knobs.database import Database, Former, FormerSetting, Probe
from db_knobs.errors import (
    ConnectionLost,
    DatabaseError,
    KnobError,
    LoginRefused,
    RightMissing,
    StatementTimeout,
    StatisticsReset,
)
from db_knobs.knob import Knob
from db_knobs.restart import RestartCommand
from db_knobs.statistics import Metrics, Snapshot, between
from optimizers.onlinetune import Interval, OnlineTuneSettings, SequentialTest, Suggestion
from optimizers.onlinetune.rules import about
from tunewright.errors import TunewrightError
from tunewright.session import Restarts, SessionState
from tunewright.space import Config
from workers import logs
from workers.session_custody import ForeignChange
from workers.session_hold import FIRST_PAUSE, LAST_PAUSE, Hold, LockedOut, Watchdog
from workers.session_insight import Insight, broken
from workers.session_journal import Began, Fenced, Intended, Measured, Noticed, SessionJournal, SessionRecord, Wanted
from workers.session_knobs import allowed_by, check_objective, choose, from_plain, needs_restart, outside, plain
from workers.session_ledger import Ledger
from workers.session_maintenance import FEATURE, Maintenance, Observed
from workers.session_recovery import bring_up
from workers.session_tuning import Tuning
from workers.session_watch import Clock, Watched, unjudged, watch

log = logging.getLogger(__name__)

# So many intervals in a row may be spoilt by what the server answers; one more, and it is nothing that passes.
MOST_DISTURBANCES = 5
# Kinds of suggestions that were measured before: a server that goes down under one of these does so for another reason.
_KNOWN = ("reference", "centre")
_NOT_BACK = "; the former settings are not back yet: "


@dataclass(frozen=True)
class Tools:
    """What a session is run with; tests bring their own.

    Attributes:
        insight: its last arguments are features and state of an earlier runner's, if there was one.
        watchdog: makes one for a session with these former settings, of which the knobs given last need a restart.
        heartbeat: renews the lease and says what people want; raises Fenced.
        restart_commands: by name.
    """

    open_database: Callable[[Address, Host], Database]
    insight: Callable[[Database, Probe, list[Knob], Sequence[str] | None, Mapping[str, Any] | None], Insight]
    watchdog: Callable[[SessionRecord, Former, Collection[str]], Watchdog]
    heartbeat: Callable[[], Wanted]
    clock: Clock
    tuner: OnlineTuneSettings | None = None
    restart_commands: Mapping[str, RestartCommand] = field(default_factory=dict)


@dataclass(frozen=True)
class _End:
    """How the session ends.

    Attributes:
        left: knobs that are left alone, and why.
        keep: leave the best safe settings in place.
    """

    state: SessionState
    reason: str | None = None
    left: Mapping[str, str] = field(default_factory=dict)
    keep: bool = False


@dataclass(frozen=True)
class _Novelty:
    """Settings that were not tried before, from just before they are applied until something is known of them.

    Attributes:
        before: the server's counters then.
        since: by our clock.
    """

    suggestion: Suggestion
    context: tuple[float, ...]
    before: Snapshot
    since: float


class SessionLoop:
    """Runs one session from its journal to its end, a pause, or the loss of its lease."""

    _insight: Insight
    _tuning: Tuning | None = None
    _maintenance: Maintenance | None = None

    def __init__(self, journal: SessionJournal, tools: Tools) -> None:
        self._journal, self._tools, self._clock = journal, tools, tools.clock
        # The newest context; None: the next interval only looks, on the reference.
        self._context: tuple[float, ...] | None = None
        self._metrics: Metrics | None = None
        self._novelty: _Novelty | None = None
        self._disturbances = 0

    def run(self) -> SessionState:
        """Run until the session is over or paused.

        Returns:
            The state in which it was left.
        Raises:
            Fenced: another runner has the session.
        """
        self._ledger = ledger = Ledger(self._journal, self._tools.heartbeat, self._clock)
        self._spec = ledger.record.spec
        if ledger.state.final and not ledger.touched:
            return ledger.state
        with logs.about(session=ledger.record.session):
            self._database = self._tools.open_database(ledger.record.address, ledger.record.host)
            self._hold = Hold(self._database, ledger, self._clock, self._tools.watchdog)
            try:
                return self._conclude(self._life())
            except LockedOut as error:
                self._say_locked_out(error)
                return ledger.state
            finally:
                self._database.close()

    def _life(self) -> _End:
        try:
            if (end := self._start()) is not None:
                return end
            while (end := self._over()) is None:
                try:
                    self._one_interval()
                except ConnectionLost as error:
                    self._recover(error)
                except (RightMissing, KnobError, LoginRefused):
                    raise
                except DatabaseError as error:
                    self._disturbed(error)
            return end
        except (Fenced, LockedOut):
            raise
        except LoginRefused as error:
            if not self._hold.known:
                return _End(SessionState.FAILED, str(error))
            # It was let in before: its password was changed, and the next runner reads it anew.
            raise LockedOut(str(error)) from None
        except ForeignChange as error:
            for knob, reason in error.theirs.items():
                self._ledger.notice("foreign_change", f"{knob} {reason}; it is left as it is", knob)
            return _End(SessionState.YIELDED, f"somebody else changes what it tunes: {error}", error.theirs)
        except RightMissing as error:
            self._ledger.notice("right_lost", str(error))
            return _End(SessionState.FAILED, str(error))
        except (TunewrightError, OSError) as error:
            log.warning("session failed: %s", error)
            return _End(SessionState.FAILED, str(error))
        except Exception as error:
            log.exception("session failed")
            return _End(SessionState.FAILED, f"{type(error).__name__}: {error}")

    # The beginning

    def _start(self) -> _End | None:
        """Get hold of the database, and of all that was known before; an end where it is over already."""
        began = self._ledger.began
        if began is not None:
            self._hold.know(began)
            self._bring_up(began)
            over = self._ledger.state.final or self._ledger.state is SessionState.RESTORING
            if over and (end := self._old_end()) is not None:
                return end
            # There is nothing to go on with, and what is to be kept would be put back first.
            if not over and self._ledger.touched and (end := self._over()) is not None and end.keep:
                return end
        while True:
            try:
                if self._hold.reach():
                    if began is None:
                        self._begin()
                    else:
                        self._take_over(began)
                    return None
            except ConnectionLost as error:
                self._say("connection_lost", str(error))
            except StatementTimeout as slow:
                # One that is too busy to be begun with is said to be; what an earlier runner has left is put back.
                if began is None:
                    raise
                log.warning("%s", slow)
            if (end := self._over()) is not None:
                return end
            self._clock.sleep(FIRST_PAUSE)

    def _bring_up(self, began: Began) -> None:
        """Recover a server that an earlier runner's restart left down, whatever is wanted of the session now."""
        restarts = self._spec.restarts
        if restarts is not None and (command := self._command(restarts)) is not None:
            former = self._hold.custody.former
            names = needs_restart(from_plain(fields) for fields in began.knobs.values())
            bring_up(command, {name: former[name] for name in names}, self._hold, self._ledger)

    def _begin(self) -> None:
        """See the database, and write down what to go back to."""
        probe = self._probe()
        if self._spec.mode == "apply" and not probe.can("apply"):
            remedy = next((each.remedy for each in probe.capabilities if each.name == "apply"), "")
            why = "" if probe.missing or not remedy else f": {remedy}"
            raise RightMissing(f'role "{probe.role}" may not set the knobs of this session{why}', probe.missing)
        check_objective(self._spec, probe)
        knobs = choose(self._database, self._spec, probe)
        former = self._former(knobs)
        self._insight = self._tools.insight(self._database, probe, knobs, None, None)
        began = Began(
            former=former,
            reference={knob.name: former[knob.name]["value"] for knob in knobs},
            knobs={knob.name: plain(knob) for knob in knobs},
            features=[*self._insight.features, *(FEATURE + name for name in needs_restart(knobs))],
            capabilities={
                "kind": probe.kind,
                "version": probe.version_text,
                "notes": list(probe.notes),
                **{each.name: {"works": each.works, "loses": each.loses} for each in probe.capabilities},
            },
        )
        self._hold.know(began)
        self._make_tuning(began)
        self._ledger.add(began)
        if noise := self._insight.noise(self._spec.interval):
            self._ledger.notice("noise", noise)
        self._commit(SessionState.RUNNING)

    def _former(self, knobs: Sequence[Knob]) -> Former:
        """What to go back to; where nothing is changed, what stands says it all, and it takes no right to see more."""
        if self._spec.mode == "advice":
            return {knob.name: FormerSetting(value=knob.current, text=None) for knob in knobs}
        return self._database.former([knob.name for knob in knobs])

    def _take_over(self, began: Began) -> None:
        """Go on where an earlier runner stopped, from the former settings."""
        if self._ledger.touched:
            self._ledger.notice("taken_over", "an earlier runner ended without putting its settings back")
            self._hold.undo()
        elif self._spec.mode == "apply":
            self._hold.custody.check()
        knobs = [from_plain(fields) for fields in began.knobs.values()]
        state = self._ledger.tuner.get("context")
        features = [name for name in began.features if not name.startswith(FEATURE)]
        self._insight = self._tools.insight(self._database, self._probe(), knobs, features, state)
        if list(self._insight.features) != features:
            raise TunewrightError(
                "the server tells other things of itself than when the session began (an extension came or went);"
                " start a new session"
            )
        self._make_tuning(began)
        self._commit(SessionState.RUNNING)

    def _make_tuning(self, began: Began) -> None:
        tuning = Tuning(self._spec, began, self._ledger.record.status, self._guard, self._tools.tuner)
        if self._spec.restarts is not None:
            self._maintenance = self._make_maintenance(self._spec.restarts, began)
            self._hold.restart = self._maintenance.restart_at_end
        for measured in self._ledger.measured:
            tuning.replay(measured)
        self._tuning = tuning

    def _make_maintenance(self, restarts: Restarts, began: Began) -> Maintenance:
        knobs = [from_plain(fields) for fields in began.knobs.values()]
        reference = began.reference

        def guarded(config: Config) -> str | None:
            return outside(self._spec.bounds, reference, config) or self._insight.guard({**reference, **config})

        return Maintenance(
            restarts,
            self._command(restarts),
            [knob for knob in knobs if knob.name in needs_restart(knobs)],
            self._spec,
            self._hold,
            self._ledger,
            self._clock,
            lambda: self._insight.rules(self._metrics),
            guarded,
        )

    def _command(self, restarts: Restarts) -> RestartCommand | None:
        """What restarts this server; None where this machine has no such command."""
        command = self._tools.restart_commands.get(restarts.command)
        address = self._ledger.record.address
        # The name may have belonged to another server's when the session was begun.
        return command if command is not None and command.serves(address.host, address.port) else None

    def _guard(self, config: Config) -> str | None:
        """Why settings would endanger the server as it runs."""
        return self._insight.guard({**self._hold.custody.running, **config})

    def _probe(self) -> Probe:
        return self._database.probe(allowed_by(self._spec))

    # One interval

    def _one_interval(self) -> None:
        assert self._tuning is not None
        self._novelty = None
        if self._spec.mode == "advice":
            self._advise(self._tuning)
        elif self._maintenance is not None and self._maintenance.due():
            self._maintenance.run(self._observe)
            self._context = None
        elif self._context is None:
            self._look(self._tuning)
        else:
            self._try(self._tuning, self._context)

    def _look(self, tuning: Tuning) -> None:
        """Measure the reference without a suggestion: to know the context, and whether there is traffic."""
        self._hold.back()
        watched = self._watch()
        if watched is not None:
            self._hold.custody.check()
            self._judge(tuning, None, watched)

    def _observe(self, before: float | None) -> Observed | None:
        """Measure the reference for an interval of a restart's trial.

        Args:
            before: its gain before the restart, below which the trial is to be ended; None: nothing is tried.
        """
        assert self._tuning is not None
        self._hold.back()
        expected = None if before is None else self._spec.performed(before)
        watched = self._watch(test=None if before is None else self._tuning.defend(self._spec.bound(before)))
        if watched is None:
            return None
        self._hold.custody.check()
        if not self._judge(self._tuning, None, watched, expected=expected):
            return None
        if watched.performance is None:
            assert before is not None
            return Observed(before - math.log(2.0), aborted=True)
        return Observed(self._spec.gain(watched.performance), watched.aborted)

    def _advise(self, tuning: Tuning) -> None:
        """Say what would be tried, and measure what stands, whoever set it."""
        suggestion, decided = (None, {}) if self._context is None else self._suggest(tuning, self._context)
        standing = self._hold.custody.look()
        for rule in self._insight.rules(self._metrics):
            if rule.text and broken(rule, standing):
                self._ledger.notice_once("advice", rule.id, rule.text)
        self._commit()
        watched = self._watch()
        if watched is not None:
            self._hold.custody.look()
            self._judge(tuning, suggestion, watched, decided)

    def _try(self, tuning: Tuning, context: tuple[float, ...]) -> None:
        """Run an interval under settings of ours."""
        suggestion, decided = self._suggest(tuning, context)
        custody = self._hold.custody
        self._hold.intend(suggestion.config)
        self._ledger.add(Intended(suggestion))
        self._commit()
        self._hold.guard()
        if suggestion.kind not in _KNOWN:
            self._novelty = _Novelty(suggestion, context, self._database.measure(), self._clock.monotonic())
        try:
            clamped = custody.put(suggestion.config)
        except KnobError as error:
            self._refused(tuning, suggestion, context, error)
            return
        self._hold.note()
        self._commit()
        for each in clamped:
            text = f"the server made {each.stands} of {each.asked}; the session learns from what stands"
            self._ledger.notice_once("clamped", each.knob, text, each.knob)
        watched = self._watch(tuning.test(suggestion), tuning.seconds(suggestion))
        if watched is None:
            return
        stood = tuning.placed(custody.expected)
        if watched.aborted:
            # Before anything else is asked of a server that suffers.
            self._hold.back()
        else:
            custody.check()
        self._judge(tuning, suggestion, watched, decided, stood)

    def _suggest(self, tuning: Tuning, context: tuple[float, ...]) -> tuple[Suggestion, dict[str, float]]:
        began = time.perf_counter()
        suggestion = tuning.suggest(context, about(self._insight.rules(self._metrics), tuning.space.names))
        self._ledger.best = tuning.best
        self._ledger.next_at = self._clock.wall() + tuning.seconds(suggestion)
        return suggestion, {"suggest": time.perf_counter() - began}

    def _refused(self, tuning: Tuning, suggestion: Suggestion, context: tuple[float, ...], error: KnobError) -> None:
        """The server does not take these settings: they are never tried again, and the reference comes next."""
        self._ledger.notice("refused", str(error), error.knob)
        self._hold.undo()
        self._never_again(tuning, suggestion, context, self._spec.interval, ran=False)
        self._context = None
        self._commit()

    def _never_again(
        self, tuning: Tuning, suggestion: Suggestion, context: tuple[float, ...], seconds: float, *, ran: bool
    ) -> None:
        """Learn of settings that could not be measured.

        Args:
            ran: the server took them.
        """
        interval = Interval(
            suggestion=suggestion,
            config=suggestion.config,
            context=context,
            performance=None,
            seconds=seconds,
            aborted=ran,
        )
        interval = tuning.expecting(interval)
        unsafe, lost = tuning.unsafe(interval), tuning.lost(interval)
        self._ledger.measure(Measured(self._clock.wall(), interval, unsafe, lost), None)
        tuning.learn(interval)
        self._novelty = None

    def _watch(self, test: SequentialTest | None = None, length: float | None = None) -> Watched | None:
        wanted = self._ledger.wanted
        return watch(self._database, self._spec, self._clock, lambda: wanted() is Wanted.RUN, test, length)

    def _judge(
        self,
        tuning: Tuning,
        suggestion: Suggestion | None,
        watched: Watched,
        decided: Mapping[str, float] | None = None,
        stood: Mapping[str, Any] | None = None,
        expected: float | None = None,
    ) -> bool:
        """Learn from what was seen, or say why nothing can be learnt from it; returns which of the two.

        Args:
            stood: settings that it was seen under; None: those that stand.
            expected: performance of the reference before a restart, by which it is judged after it.
        """
        if (reason := unjudged(self._spec, watched)) is not None:
            if self._spec.mode == "apply":
                self._hold.back()
            # It has answered as it should: disturbances of quiet days do not add up.
            self._disturbances = 0
            self._skip(reason, SessionState.WAITING)
            return False
        context = self._context
        if watched.metrics is not None:
            context = self._insight.context(watched.metrics, watched.ran)
            if self._maintenance is not None:
                context += self._maintenance.coordinates()
        assert context is not None
        interval = Interval(
            suggestion=suggestion,
            config=dict(stood or tuning.placed(self._hold.custody.expected)),
            context=context,
            performance=watched.performance,
            seconds=watched.seconds,
            aborted=watched.aborted,
        )
        interval = tuning.expecting(interval)
        measured = Measured(
            at=self._clock.wall(),
            interval=interval,
            unsafe=tuning.unsafe(interval) if expected is None else self._below(watched, expected),
            lost=tuning.lost(interval, expected),
            metrics={} if watched.metrics is None else watched.metrics.as_dict(),
            seconds_of=dict(decided or {}),
            running=self._hold.custody.running,
        )
        self._ledger.measure(measured, tuning.ratio(interval))
        tuning.learn(interval, watched.samples)
        self._novelty = None
        self._context, self._metrics = context, watched.metrics
        self._disturbances = 0
        self._hold.note()
        self._commit(SessionState.RUNNING)
        return True

    def _below(self, watched: Watched, expected: float) -> bool:
        """Whether an interval after a restart was worse than the reference before it by more than the margin."""
        if watched.aborted or watched.performance is None:
            return True
        return self._spec.gain(watched.performance) < self._spec.gain(self._spec.bound(self._spec.gain(expected)))

    # What goes wrong

    def _disturbed(self, error: DatabaseError) -> None:
        """The interval cannot be judged: somebody restarted the server, or it did not answer as it should.

        Raises:
            DatabaseError: that happens all the time.
        """
        self._disturbances += 1
        if self._disturbances >= MOST_DISTURBANCES:
            raise error
        if isinstance(error, StatisticsReset):
            self._ledger.notice("restarted", str(error))
        try:
            self._undo()
        except ConnectionLost as lost:
            self._recover(lost)
        except StatementTimeout as slow:
            # A server that is too busy to be measured may be too busy to be put back, for a while.
            self._disturbed(slow)
            return
        self._skip(str(error), SessionState.RUNNING)

    def _recover(self, error: ConnectionLost) -> None:
        """Connect again, and begin anew from the former settings: nobody knows what stands."""
        self._say("connection_lost", str(error))
        while True:
            try:
                if not self._hold.reach():
                    return
                self._undo()
                went_down = self._went_down()
                self._ledger.notice("connected", "the former settings are in place, and the session goes on")
                if went_down:
                    self._context = None
                    self._commit(SessionState.RUNNING)
                else:
                    self._skip(f"the connection was lost: {error}", SessionState.RUNNING)
                return
            except (ConnectionLost, StatementTimeout) as again:
                log.warning("%s", again)
            if self._ledger.wanted() is not Wanted.RUN:
                return
            self._clock.sleep(FIRST_PAUSE)

    def _went_down(self) -> bool:
        """Whether the server went down under settings that were not tried before, which then are never again.

        Somebody may have restarted it in that very minute. To give up settings for nothing costs little; to try them
        again may cost the server once more.
        """
        novelty = self._novelty
        if novelty is None or self._tuning is None:
            return False
        before, now = novelty.before, self._database.measure()
        if now.epoch == before.epoch and now.at <= before.at:
            # A clock that was set back tells nothing.
            return False
        try:
            between(before, now)
            # The connection broke, and that is all.
            return False
        except StatisticsReset:
            pass
        config = novelty.suggestion.config
        changed = {name: value for name, value in config.items() if value != self._tuning.reference[name]}
        listed = ", ".join(f"{name} = {value}" for name, value in changed.items())
        self._ledger.notice("restarted", f"the server went down under {listed}; these are not tried again")
        seconds = min(self._clock.monotonic() - novelty.since, self._spec.interval)
        self._never_again(self._tuning, novelty.suggestion, novelty.context, max(seconds, 1e-3), ran=True)
        return True

    def _say_locked_out(self, error: LockedOut) -> None:
        """Once, however many runners come to the same end."""
        last = self._ledger.record.facts[-1:]
        told = any(isinstance(fact, Noticed) and fact.kind == "login_refused" for fact in last)
        if not told or self._ledger.written:
            text = f"{error}; give the service the password that the server has now, or undo there what keeps it out"
            self._ledger.notice("login_refused", text)
            self._commit(reason=self._ledger.reason or text)

    def _undo(self) -> None:
        if self._spec.mode == "apply":
            self._hold.undo()

    def _skip(self, reason: str, state: SessionState) -> None:
        self._ledger.skip(reason)
        self._context, self._novelty = None, None
        self._commit(state, reason if state is SessionState.WAITING else None)

    # The end

    def _over(self) -> _End | None:
        """Whether the session is over, or to be paused."""
        wanted = self._ledger.wanted()
        if wanted is Wanted.CANCEL:
            return _End(SessionState.STOPPED)
        if wanted is Wanted.PAUSE:
            return _End(SessionState.PAUSED)
        budget = self._spec.budget
        if budget.intervals is not None and self._ledger.intervals >= budget.intervals:
            reason = f"the budget of {budget.intervals} intervals is used up"
        elif budget.seconds is not None and self._ledger.active_seconds >= budget.seconds:
            reason = f"the budget of {budget.seconds:g} seconds is used up"
        else:
            return None
        return _End(SessionState.FINISHED, reason, keep=self._spec.keep)

    def _old_end(self) -> _End | None:
        """The end that an earlier runner came to, and did not bring about; None of a pause that nobody wants now."""
        state, left = self._ledger.state, self._ledger.foreign
        reason = self._ledger.reason and self._ledger.reason.split(_NOT_BACK)[0]
        end = self._over()
        # A budget that has passed since is no reason to keep the settings of a session that had failed.
        if end is not None and not left and (end.state is not SessionState.FINISHED or end.reason == reason):
            return end
        if end is None and not left and reason == SessionState.PAUSED:
            return None
        if not state.final:
            state = SessionState.YIELDED if left else SessionState.FAILED
        return _End(state, reason, left)

    def _conclude(self, end: _End) -> SessionState:
        """Leave the server as promised, however long that takes, and write the last state.

        Raises:
            LockedOut: it is for the next runner to do.
        """
        self._ledger.next_at = None
        pause, told = FIRST_PAUSE, None
        restoring = self._ledger.state is SessionState.RESTORING
        # What is to be kept may have been put back, where the session was taken over or resumed just before its end.
        keeps = end.keep and self._spec.mode == "apply" and self._hold.known
        unsettled = self._ledger.touched or keeps
        try:
            if unsettled and not restoring:
                # Who follows a runner that dies over the end brings it about, and does not go on.
                self._commit(SessionState.RESTORING, end.reason or end.state)
            while unsettled and (problem := self._hold.leave(end.left, keep=end.keep)) is not None:
                if problem != told:
                    told = problem
                    self._commit(SessionState.RESTORING, _not_back(end, problem))
                self._clock.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE)
                # Whether the session is still this runner's to end.
                self._ledger.wanted()
        except LockedOut as error:
            if not restoring and told is None:
                self._commit(SessionState.RESTORING, _not_back(end, str(error)))
            raise
        if end.state is SessionState.PAUSED:
            # Whoever pauses a session because the server went down will resume it.
            with suppress(DatabaseError):
                self._went_down()
        # Before it is written: of a runner that dies between the two, the watchdog must not undo what is kept.
        self._hold.release()
        self._commit(end.state, end.reason)
        return end.state

    # The journal

    def _say(self, kind: str, text: str) -> None:
        """Something for people, now."""
        self._ledger.notice(kind, text)
        self._commit(reason=self._ledger.reason)

    def _commit(self, state: SessionState | None = None, reason: str | None = None) -> None:
        self._ledger.reason = reason
        if self._tuning is not None:
            self._ledger.tuner = {**self._tuning.state(), "context": self._insight.state()}
        self._ledger.commit(state)


def _not_back(end: _End, problem: str) -> str:
    return f"{end.reason or end.state}{_NOT_BACK}{problem}"
