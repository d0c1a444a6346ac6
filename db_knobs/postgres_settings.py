"""What pg_settings says, as settings of a catalogue, and values as the server's file has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from db_knobs.catalog import Reported
from db_knobs.knob import DIGITS, Applies
from tunewright.space import Value

# The server takes less than two segments of its log for these, and then does not start again.
_TWO_SEGMENTS = "2 * pg_size_bytes(current_setting('wal_segment_size')) / 1048576"
REPORTED = f"""
SELECT name, vartype, coalesce(unit, ''),
       CASE WHEN name IN ('min_wal_size', 'max_wal_size') THEN ({_TWO_SEGMENTS})::text ELSE min_val END,
       max_val, enumvals, context, boot_val, setting, source
FROM pg_settings WHERE context <> 'internal'
"""  # nosec B608

# ALTER ROLE and ALTER DATABASE.
OF_SOME = "source IN ('global', 'database', 'user', 'database user')"
HIDDEN = f"SELECT name FROM pg_settings WHERE name = ANY(%s) AND {OF_SOME}"  # nosec B608


def reported_by(rows: Iterable[tuple[Any, ...]]) -> dict[str, Reported]:
    """Rows of REPORTED, by setting."""
    return {row[0]: _reported(*row) for row in rows}


def parsed(vartype: str, text: str) -> Value:
    """A value as pg_settings spells it."""
    if vartype == "bool":
        return text == "on"
    if vartype == "integer":
        return int(text)
    return float(text) if vartype == "real" else text


def literal(value: Value) -> str:
    """A value as the server's file has it: a number in the setting's own unit."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)


def _reported(
    name: str,
    vartype: str,
    unit: str,
    low: str | None,
    high: str | None,
    choices: list[str] | None,
    context: str,
    boot: str | None,
    setting: str | None,
    source: str,
) -> Reported:
    if vartype == "string":
        # A text, which is no knob.
        return Reported(name, setting or "", type="enum", source=source, applies=_applies(context))
    assert setting is not None
    return Reported(
        name=name,
        current=parsed(vartype, setting),
        type=vartype,  # type: ignore[arg-type]  # the server's names are ours
        unit=unit,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        choices=tuple(choices or ()),
        default=None if boot is None else parsed(vartype, boot),
        source=source,
        applies=_applies(context),
    )


def _applies(context: str) -> Applies:
    if context == "postmaster":
        return Applies.RESTART
    return Applies.NEW_CONNECTIONS if context.endswith("backend") else Applies.ONLINE
