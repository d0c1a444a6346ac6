"""How tuning sessions look, and what their intervals came to, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tunewright.cli import output, show
from tunewright.cli.show_databases import value
from tunewright.session_views import IntervalView, NoticeView, SessionSummary, SessionView

_CHANGES = 4


def sessions(found: Iterable[SessionSummary]) -> None:
    columns = ("Session", "Database", "Mode", "State", "Gain", "Intervals", "Unsafe", "Changed now", "Created")
    rows = (
        (
            session.id,
            session.database_name,
            session.mode,
            session.state,
            share(session.gain),
            str(session.intervals),
            str(session.unsafe),
            "yes" if session.touched else "no",
            show.moment(session.created_at),
        )
        for session in found
    )
    output.table(columns, rows, right=("Gain", "Intervals", "Unsafe"))


def session(found: SessionView) -> None:
    """Where a session stands, and its settings now beside the former ones."""
    restarts = found.spec.restarts
    output.fields(
        [
            ("session", found.id),
            ("database", f"{found.database_name} ({found.database})"),
            ("state", standing(found)),
            ("mode", found.mode),
            ("objective", " ".join(f"{name}={weight:g}" for name, weight in found.objective.items())),
            ("gain", share(found.gain)),
            ("intervals", str(found.intervals)),
            ("unsafe", str(found.unsafe)),
            ("lost", f"{found.lost:.3g} intervals of work"),
            ("active", show.duration(found.active_seconds)),
            ("settings_changed", "yes" if found.touched else "no"),
            *([("restarts", f"by {restarts.command}, every day {restarts.window} UTC")] if restarts else []),
        ]
    )
    settings(found)


def settings(found: SessionView) -> None:
    """What is tuned: the former setting, and what it stands at."""
    if not found.former:
        return
    rows = []
    for name, before in settings_before(found).items():
        now = (found.current or {}).get(name, before)
        unit = str(found.knobs.get(name, {}).get("unit") or "-")
        # What whoever goes back by hand writes there again, or removes.
        filed = found.former[name]["text"]
        note = "-" if now == before else "changed"
        rows.append((name, value(before), value(now), unit, note, "-" if filed is None else filed))
    output.table(("Knob", "Former", "Now", "Unit", "Note", "Filed before"), rows, right=("Former", "Now"))


def interval(found: IntervalView, of: SessionView, before: Mapping[str, Any]) -> str:
    """An interval in a line.

    Args:
        before: settings that stood before it.
    """
    if found.skipped is not None:
        return f"not judged: {found.skipped}"
    unit = f" {of.unit}" if of.unit else ""
    performance = "not measured" if found.performance is None else f"{show.number(found.performance)}{unit}"
    against = improvement(found, maximize=of.maximize)
    parts = [performance, *([f"{share(against)} against the former settings"] if against is not None else [])]
    if found.aborted:
        parts.append(f"ended early after {show.duration(found.seconds)}")
    if found.unsafe:
        parts.append("UNSAFE")
    suggested = (found.suggested if of.mode == "advice" else None) or found.config
    changed = changes(before, suggested)
    if changed:
        parts.append(("would set " if of.mode == "advice" else "set ") + _listed(changed, of.knobs))
        parts.append(reasons(found))
    return "; ".join(part for part in parts if part)


def notice(found: NoticeView) -> str:
    left = "; ".join(f"{name} was left alone: {why}" for name, why in found.left.items())
    return "; ".join(filter(None, (found.text, left)))


def standing(found: SessionSummary) -> str:
    """Its state, and why."""
    wanted = {"pause": " (pausing)", "stop": " (stopping)"}.get(found.wanted, "")
    settled = found.state.final or (found.wanted == "pause" and found.state == "paused")
    return f"{found.state}{'' if settled else wanted}" + (f": {found.reason}" if found.reason else "")


def settings_before(found: SessionView) -> dict[str, Any]:
    """Knob -> the value that it had before the session."""
    return {name: setting["value"] for name, setting in (found.former or {}).items()}


def improvement(found: IntervalView, *, maximize: bool) -> float | None:
    """How much better than the reference is expected to have done, as a share; None where one of both is not known."""
    if found.performance is None or not found.expected:
        return None
    return (found.performance / found.expected - 1.0) if maximize else (found.expected / found.performance - 1.0)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Knob -> what it stood at and stands at, of those that differ."""
    return {name: (before[name], now) for name, now in after.items() if name in before and before[name] != now}


def reasons(found: IntervalView) -> str:
    """Why these settings were chosen, in words."""
    rule = str(found.why.get("rule") or "")
    told = ["the former settings, to learn what they do"] if rule == "reference" else [rule] if rule else []
    if found.gain is not None and found.kind not in (None, "reference"):
        told.append(f"expected {share(found.gain)}" + (f", at worst {share(found.lower)}" if found.lower else ""))
    if advised := found.why.get("advised by rule"):
        told.append(f"advised by the rule {advised}")
    if tested := found.why.get("tests rule"):
        told.append(f"tests the rule {tested}")
    return "because: " + ", ".join(told) if told else ""


def share(of: float | None) -> str:
    """A share with its sign, in percent."""
    return "-" if of is None else f"{of:+.1%}"


def change(name: str, before: Any, after: Any, knobs: Mapping[str, Any]) -> str:
    """A change of one knob in words."""
    unit = str(knobs.get(name, {}).get("unit") or "")
    return f"{name} {value(before)} -> {value(after)}{' ' + unit if unit else ''}"


def _listed(changed: Mapping[str, tuple[Any, Any]], knobs: Mapping[str, Any]) -> str:
    some = [change(name, *pair, knobs) for name, pair in list(changed.items())[:_CHANGES]]
    more = len(changed) - len(some)
    return ", ".join(some) + (f" and {more} more" if more > 0 else "")
