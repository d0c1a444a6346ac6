"""A session's facts as rows, and rows as facts and as what the API shows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from sqlalchemy import Row

from db_knobs.database import FormerSetting
from optimizers.onlinetune.intervals import Expected, Interval, Suggestion
from service.store import storable
from service.store.rows import utc
from tunewright.session_views import IntervalView, NoticeView
from workers.session_journal import (
    Began,
    Intended,
    Measured,
    Noticed,
    RestartIntended,
    RestartTried,
    Restored,
    SessionFact,
    Skipped,
    Stands,
)

BEGAN, INTENDED, STANDS, MEASURED, SKIPPED, NOTICED, RESTORED, RESTARTING, RESTARTED = (
    "began",
    "intended",
    "stands",
    "measured",
    "skipped",
    "noticed",
    "restored",
    "restarting",
    "restarted",
)
INTERVALS = (MEASURED, SKIPPED)
NOTICES = (NOTICED, RESTORED, RESTARTED)
# A fact that is shown as a notice.
Notice: TypeAlias = Noticed | Restored | RestartTried
_BY = {
    "session": "by the session",
    "watchdog": "by the session's watchdog",
    "successor": "by the session's next runner",
    "command": "by command",
}


def columns(fact: SessionFact, at: float) -> dict[str, Any]:
    """Kind, time and body of a fact's row.

    Args:
        at: time of its batch, for facts that have none of their own.
    """
    kind, body = _encoded(fact)
    return {"kind": kind, "at": getattr(fact, "at", at), "body": storable.json(_spelled(body))}


def fact(row: Any) -> SessionFact:
    """The fact that a row holds, equal to the one that was written."""
    at, body = row.at, row.body
    match row.kind:
        case "began":
            former = {name: FormerSetting(value=old["value"], text=old["text"]) for name, old in body["former"].items()}
            return Began(**{**body, "former": former, "features": tuple(body["features"])})
        case "intended":
            return Intended(Suggestion.model_validate(body))
        case "stands":
            return Stands(**body)
        case "measured":
            return Measured(**{**body, "at": at, "interval": Interval.model_validate(body["interval"])})
        case "skipped":
            return Skipped(at, **body)
        case "noticed":
            return Noticed(at, **body)
        case "restored":
            return Restored(at, **body)
        case "restarting":
            return RestartIntended(at, **body)
        case "restarted":
            return RestartTried(at, **body)
        case kind:
            raise ValueError(f"{kind!r} is no kind of fact")


def interval_of(row: Row[Any]) -> Measured | Skipped:
    """The fact of a row whose kind is one of `INTERVALS`."""
    found = fact(row)
    assert isinstance(found, (Measured, Skipped))
    return found


def notice_of(row: Row[Any]) -> Notice:
    """The fact of a row whose kind is one of `NOTICES`."""
    found = fact(row)
    assert isinstance(found, (Noticed, Restored, RestartTried))
    return found


def interval(number: int, fact: Measured | Skipped) -> IntervalView:
    """An interval as the API shows it."""
    if isinstance(fact, Skipped):
        return IntervalView(number=number, at=utc(fact.at), skipped=fact.reason)
    found = fact.interval
    return IntervalView(
        number=number,
        at=utc(fact.at),
        config={**found.config, **fact.running},
        performance=found.performance,
        seconds=found.seconds,
        unsafe=fact.unsafe,
        aborted=found.aborted,
        lost=fact.lost,
        context=list(found.context),
        metrics=dict(fact.metrics),
        seconds_of=dict(fact.seconds_of),
        **_suggested(found.suggestion, found.expected),
    )


def notice(number: int, fact: Notice) -> NoticeView:
    """A notice as the API shows it."""
    if isinstance(fact, Noticed):
        return NoticeView(number=number, at=utc(fact.at), kind=fact.kind, text=fact.text, knob=fact.knob)
    if isinstance(fact, RestartTried):
        tried = ", ".join(f"{name} = {value}" for name, value in fact.config.items())
        return NoticeView(number=number, at=utc(fact.at), kind="restart", text=f"{tried}: {fact.reason}")
    left = f"; left alone: {', '.join(fact.left)}" if fact.left else ""
    return NoticeView(
        number=number,
        at=utc(fact.at),
        kind="restored",
        text=f"{len(fact.settings)} settings were put back {_BY[fact.by]}{left}",
        settings=dict(fact.settings),
        left=dict(fact.left),
    )


def _encoded(fact: SessionFact) -> tuple[str, dict[str, Any]]:
    match fact:
        case Began():
            return BEGAN, {
                "former": fact.former,
                "reference": fact.reference,
                "knobs": dict(fact.knobs),
                "features": list(fact.features),
                "capabilities": dict(fact.capabilities),
            }
        case Intended():
            return INTENDED, fact.suggestion.model_dump()
        case Stands():
            return STANDS, {"settings": fact.settings}
        case Measured():
            return MEASURED, {
                "interval": fact.interval.model_dump(),
                "unsafe": fact.unsafe,
                "lost": fact.lost,
                "metrics": dict(fact.metrics),
                "seconds_of": dict(fact.seconds_of),
                "running": dict(fact.running),
            }
        case Skipped():
            return SKIPPED, {"reason": fact.reason}
        case Noticed():
            return NOTICED, {"kind": fact.kind, "text": fact.text, "knob": fact.knob}
        case Restored():
            return RESTORED, {"settings": fact.settings, "left": dict(fact.left), "by": fact.by}
        case RestartIntended():
            return RESTARTING, {"config": fact.config}
        case RestartTried():
            return RESTARTED, {
                "config": fact.config,
                "gain": fact.gain,
                "kept": fact.kept,
                "reason": fact.reason,
                "broke": fact.broke,
            }


def _suggested(suggestion: Suggestion | None, expected: Expected | None) -> dict[str, Any]:
    if suggestion is None:
        return {}
    return {
        "kind": suggestion.kind,
        "suggested": suggestion.config,
        # Journals of old have only what was expected in the context before.
        "expected": suggestion.reference_performance if expected is None else expected.reference,
        "bound": suggestion.abort_below,
        "gain": suggestion.gain,
        "lower": suggestion.lower,
        "cluster": suggestion.cluster,
        "why": dict(suggestion.why),
    }


def _spelled(body: Mapping[str, Any]) -> Any:
    """The body with infinities and NaN in words, from which a number is read again; JSON has none of them."""
    try:
        json.dumps(body, allow_nan=False)
    except ValueError:
        return _words(body)
    return body


def _words(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _words(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_words(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
