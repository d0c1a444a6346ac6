"""What MySQL and MariaDB say of their variables, as settings of a catalogue.

MariaDB tells everything. MySQL tells bounds and values; what it does not tell of the catalogue's knobs stands here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from db_knobs.address import Kind
from db_knobs.catalog import Reported, entries
from db_knobs.knob import DIGITS, Applies, KnobType
from tunewright.space import Value

MARIADB = """
SELECT LOWER(VARIABLE_NAME), GLOBAL_VALUE, GLOBAL_VALUE_ORIGIN, DEFAULT_VALUE, VARIABLE_TYPE, VARIABLE_SCOPE,
       NUMERIC_MIN_VALUE, NUMERIC_MAX_VALUE, ENUM_VALUE_LIST, READ_ONLY
FROM information_schema.SYSTEM_VARIABLES WHERE GLOBAL_VALUE IS NOT NULL
"""
MYSQL = """
SELECT i.VARIABLE_NAME, g.VARIABLE_VALUE, i.VARIABLE_SOURCE, i.MIN_VALUE, i.MAX_VALUE
FROM performance_schema.variables_info AS i JOIN performance_schema.global_variables AS g USING (VARIABLE_NAME)
"""
# Of MySQL, what SET PERSIST wrote.
PERSISTED = "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.persisted_variables"

# MySQL's variables of which a session keeps its own.
_SESSIONS = {
    *("eq_range_index_dive_limit", "join_buffer_size", "max_heap_table_size", "optimizer_prune_level"),
    *("optimizer_search_depth", "read_buffer_size", "read_rnd_buffer_size", "sort_buffer_size", "tmp_table_size"),
}
# Those that MySQL takes at its start only.
_STATIC = {
    *("innodb_doublewrite", "innodb_log_file_size", "innodb_purge_threads", "innodb_read_io_threads"),
    "innodb_write_io_threads",
}
_TRUE = {"ON", "1", "YES", "TRUE"}
# What a resize of InnoDB's cache says when it is over, in all versions.
_RESIZED = ("complete", "did not change", "fail", "abort", "not enough")


def reported_by(kind: Kind, rows: Iterable[tuple[Any, ...]]) -> dict[str, Reported]:
    """Rows of MARIADB or MYSQL, by variable."""
    found = (_mariadb(*row) if kind == "mariadb" else _mysql(*row) for row in rows)
    return {reported.name: reported for reported in found}


def literal(value: Value) -> str | int | float:
    """A value as SET GLOBAL takes it."""
    if isinstance(value, bool):
        return "ON" if value else "OFF"
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def resizing(status: str) -> bool:
    """Whether Innodb_buffer_pool_resize_status tells of one that goes on."""
    said = status.lower()
    return bool(said) and not any(word in said for word in _RESIZED)


def _mariadb(
    name: str,
    value: str,
    origin: str,
    default: str | None,
    variable_type: str,
    scope: str,
    low: str | None,
    high: str | None,
    choices: str | None,
    read_only: str,
) -> Reported:
    kind = _type(variable_type)
    if kind == "enum" and variable_type != "ENUM":
        # A text, which is no knob.
        return Reported(name, value, type="enum", source=origin, applies=Applies.RESTART)
    return Reported(
        name=name,
        current=_parsed(kind, value),
        type=kind,
        low=_bound(kind, low),
        high=_bound(kind, high),
        choices=tuple((choices or "").split(",")) if kind == "enum" else (),
        default=None if default is None else _parsed(kind, default),
        source=origin,
        applies=_applies(restart=read_only == "YES", session=scope == "SESSION"),
    )


def _mysql(name: str, value: str, source: str, low: str | None, high: str | None) -> Reported:
    entry = entries("mysql").get(name)
    kind: KnobType = (entry.type if entry is not None else None) or "enum"
    # Where there are none, MySQL says 0 and 0.
    bounded = kind in ("integer", "real") and (low, high) != ("0", "0")
    return Reported(
        name=name,
        current=_parsed(kind, value),
        type=kind,
        low=_bound(kind, low) if bounded else None,
        high=_bound(kind, high) if bounded else None,
        choices=entry.choices if entry is not None else (),
        source=source,
        applies=_applies(restart=name in _STATIC, session=name in _SESSIONS),
    )


def _type(variable_type: str) -> KnobType:
    if variable_type == "BOOLEAN":
        return "bool"
    if "INT" in variable_type:
        return "integer"
    return "real" if variable_type == "DOUBLE" else "enum"


def _parsed(kind: KnobType, text: str) -> Value:
    if kind == "bool":
        return text.upper() in _TRUE
    try:
        return int(text) if kind == "integer" else float(text) if kind == "real" else text
    except ValueError:
        return text


def _bound(kind: KnobType, text: str | None) -> float | None:
    return float(text) if text and kind in ("integer", "real") else None


def _applies(*, restart: bool, session: bool) -> Applies:
    return Applies.RESTART if restart else Applies.NEW_CONNECTIONS if session else Applies.ONLINE
