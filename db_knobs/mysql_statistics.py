"""What MySQL and MariaDB count, under the names of `statistics`.

Counters are the whole server's; statements are those of one database where one is named. performance_schema tells
transactions, latencies and statements; without it, the server's status tells rows and statements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pymysql

from db_knobs.address import Kind
from db_knobs.mysql_connection import PROGRAM, Connection, lost, rows
from db_knobs.statistics import MAX_STATEMENTS, Snapshot, Statement

PICOSECONDS = 1e-12
# MySQL's upper end of the last bucket: there is none.
_ENDLESS = 2**64 - 1

# Status variable(s) -> counter; a sum over those that the server has.
_STATUS: Mapping[str, tuple[str, ...]] = {
    "rollbacks": ("handler_rollback",),
    "block_requests": ("innodb_buffer_pool_read_requests",),
    "blocks_read": ("innodb_buffer_pool_reads",),
    "blocks_written": ("innodb_buffer_pool_pages_flushed",),
    "rows_read": tuple(f"handler_read_{how}" for how in ("first", "key", "last", "next", "prev", "rnd", "rnd_next")),
    "rows_changed": ("handler_write", "handler_update", "handler_delete"),
    "deadlocks": ("innodb_deadlocks",),
    "lock_waits": ("innodb_row_lock_waits",),
    "log_bytes": ("innodb_os_log_written",),
    "full_joins": ("select_full_join", "select_full_range_join"),
    "disk_tables": ("created_tmp_disk_tables",),
    "uptime": ("uptime",),
}
_GAUGES: Mapping[str, tuple[str, int]] = {
    # Ours is among the first two.
    "connections": ("threads_connected", 1),
    "active": ("threads_running", 1),
    "waiting": ("innodb_row_lock_current_waits", 0),
}
_KINDS: Mapping[str, tuple[str, ...]] = {
    "COMMIT": ("com_commit",),
    "SELECT": ("com_select",),
    "INSERT": ("com_insert", "com_insert_select", "com_replace", "com_replace_select"),
    "UPDATE": ("com_update", "com_update_multi"),
    "DELETE": ("com_delete", "com_delete_multi"),
}
# MariaDB counts a commit for each statement that touched data, and one for each transaction.
_FALLBACK = ("handler_commit", "questions", "query_time")
_USED = frozenset(
    name
    for names in (*_STATUS.values(), *_KINDS.values(), [name for name, _ in _GAUGES.values()], _FALLBACK)
    for name in names
)

_INSTRUMENTED = """
SELECT COUNT(*) FROM performance_schema.setup_instruments AS i, performance_schema.setup_consumers AS c
WHERE i.NAME = 'transaction' AND i.ENABLED = 'YES' AND c.NAME = 'global_instrumentation' AND c.ENABLED = 'YES'
"""
_DIGESTS_WORK = """
SELECT COUNT(*) FROM performance_schema.setup_consumers AS c
WHERE c.NAME = 'statements_digest' AND c.ENABLED = 'YES' AND @@performance_schema
  AND (SELECT COUNT(*) >= 0 FROM performance_schema.events_statements_summary_by_digest)
"""
# Whether a program of somebody else's uses our role: then nobody can tell its statements from ours.
_SHARED = """
SELECT COUNT(*) FROM performance_schema.threads AS t LEFT JOIN performance_schema.session_connect_attrs AS a
  ON a.PROCESSLIST_ID = t.PROCESSLIST_ID AND a.ATTR_NAME = 'program_name'
WHERE t.TYPE = 'FOREGROUND' AND t.PROCESSLIST_USER = SUBSTRING_INDEX(USER(), '@', 1)
  AND COALESCE(a.ATTR_VALUE, '') <> %s
"""
_OTHERS = "USER IS NOT NULL AND (%s OR USER <> SUBSTRING_INDEX(USER(), '@', 1))"
_TOTALS = f"""
SELECT SUM(COUNT_STAR), SUM(SUM_TIMER_WAIT) FROM performance_schema.events_statements_summary_by_user_by_event_name
WHERE (EVENT_NAME LIKE 'statement/sql/%%' OR EVENT_NAME = 'statement/com/Execute') AND {_OTHERS}
"""  # nosec B608
_TRANSACTIONS = f"""
SELECT SUM(COUNT_STAR) FROM performance_schema.events_transactions_summary_by_user_by_event_name
WHERE EVENT_NAME = 'transaction' AND {_OTHERS}
"""  # nosec B608
# What runs in no database is ours, or an administrator's; so is what only asks the server about itself. It is left out
# before the limit: whoever compares two such lists must know of a full one that it is full.
_DIGESTS = f"""
SELECT SCHEMA_NAME, DIGEST, {{text}}, COUNT_STAR, SUM_TIMER_WAIT, SUM_ROWS_SENT + SUM_ROWS_AFFECTED,
       SUM_ROWS_EXAMINED, SUM_NO_INDEX_USED
FROM performance_schema.events_statements_summary_by_digest
WHERE DIGEST IS NOT NULL AND {{where}} AND DIGEST_TEXT NOT LIKE 'SHOW %%' AND DIGEST_TEXT NOT LIKE 'SET %%'
  AND DIGEST_TEXT NOT LIKE 'EXPLAIN %%' AND DIGEST_TEXT NOT LIKE 'EXECUTE %%' AND DIGEST_TEXT NOT LIKE 'PREPARE %%'
ORDER BY SUM_TIMER_WAIT DESC LIMIT {MAX_STATEMENTS}
"""  # nosec B608
# MariaDB has no digests of what clients prepare: whether there is more of that than of all else.
_PREPARED = f"""
SELECT (SELECT COALESCE(SUM(COUNT_STAR), 0) FROM performance_schema.events_statements_summary_by_user_by_event_name
        WHERE EVENT_NAME = 'statement/com/Execute' AND {_OTHERS})
     > (SELECT COALESCE(SUM(COUNT_STAR), 0) FROM performance_schema.events_statements_summary_by_digest
        WHERE SCHEMA_NAME IS NOT NULL)
"""  # nosec B608
_APPLICATIONS = "SCHEMA_NAME NOT IN ('mysql', 'performance_schema', 'information_schema', 'sys')"
_HISTOGRAMS: Mapping[str, str] = {
    "server": "SELECT BUCKET_TIMER_HIGH, COUNT_BUCKET FROM performance_schema.events_statements_histogram_global"
    " ORDER BY BUCKET_NUMBER",
    "plugin": "SELECT TIME, COUNT FROM information_schema.QUERY_RESPONSE_TIME",
}
_PLUGIN_COUNTS = (
    "SELECT COUNT(*) FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = %s AND VARIABLE_VALUE = 'ON'"
)
_DEADLOCKS = "SELECT COUNT FROM information_schema.INNODB_METRICS WHERE NAME = 'lock_deadlocks'"
_LAG: Mapping[Kind, tuple[str, ...]] = {
    "mysql": ("SHOW REPLICA STATUS", "SHOW SLAVE STATUS"),
    "mariadb": ("SHOW ALL SLAVES STATUS",),
}
_BEHIND = ("seconds_behind_source", "seconds_behind_master")


@dataclass(frozen=True)
class Sees:
    """What this role sees of this server; found out once for each connection.

    Attributes:
        statements: performance_schema counts and times them.
        digests: it also tells which; not what clients prepare on MariaDB, where most is prepared.
        transactions: they are counted there.
        histogram: MySQL's own, or MariaDB's plugin.
        deadlocks: MySQL's, which are not in its status.
        lag: the statement that tells it; empty where the role may not ask.
        shared: others use our role too, so statements of ours are counted with theirs.
    """

    statements: bool
    digests: bool
    transactions: bool
    histogram: Literal["", "server", "plugin"]
    deadlocks: bool
    lag: str
    shared: bool


def look(connection: Connection, kind: Kind) -> Sees:
    """Try what can be seen."""
    statements = _true(connection, _DIGESTS_WORK)
    histogram: Literal["", "server", "plugin"] = ""
    if kind == "mysql" and statements and _answers(connection, _HISTOGRAMS["server"]):
        histogram = "server"
    elif kind == "mariadb" and _true(connection, _PLUGIN_COUNTS, "QUERY_RESPONSE_TIME_STATS"):
        histogram = "plugin" if _answers(connection, _HISTOGRAMS["plugin"]) else ""
    others = statements and shared(connection)
    return Sees(
        statements=statements,
        digests=statements and not (kind == "mariadb" and _true(connection, _PREPARED, others)),
        transactions=statements and _true(connection, _INSTRUMENTED),
        histogram=histogram,
        deadlocks=kind == "mysql" and _answers(connection, _DEADLOCKS),
        lag=next((statement for statement in _LAG[kind] if _answers(connection, statement)), ""),
        shared=others,
    )


def shared(connection: Connection) -> bool:
    """Whether somebody else is connected under our role."""
    return _true(connection, _SHARED, PROGRAM)


def snapshot(connection: Connection, sees: Sees, database: str) -> Snapshot:
    """The server's counters, and the statements of one database."""
    (at, server), *_ = rows(connection, "SELECT UNIX_TIMESTAMP(NOW(6)), CONCAT(@@hostname, ':', @@port)")
    status = _status(connection)
    gauges = {name: float(status[of] - ours) for name, (of, ours) in _GAUGES.items() if of in status}
    if sees.lag and (behind := _lag(connection, sees.lag)) is not None:
        gauges["replication_lag_seconds"] = behind
    return Snapshot(
        at=float(at),
        # When the source of a counter changes, it begins anew.
        epoch=f"{server} {sees.statements} {sees.transactions} {sees.shared} {sees.histogram}",
        counters=_counters(connection, sees, status),
        gauges={name: max(value, 0.0) for name, value in gauges.items()},
        statements=statements(connection, sees, database, texts=False),
        buckets=_buckets(connection, sees.histogram) if sees.histogram else (),
    )


def statements(connection: Connection, sees: Sees, database: str, *, texts: bool) -> dict[str, Statement]:
    """Statements of one database, or of all where none is named, those that took longest first; else their kinds."""
    if not sees.digests:
        return _kinds_of_statements(connection)
    where = "SCHEMA_NAME = %s" if database else _APPLICATIONS
    query = _DIGESTS.format(text="DIGEST_TEXT" if texts else "''", where=where)
    return {
        f"{schema}/{digest}": Statement(
            text=text or "",
            calls=float(calls),
            seconds=float(wait) * PICOSECONDS,
            rows=float(touched),
            examined=float(examined),
            unindexed=float(unindexed),
            schema=schema,
        )
        for schema, digest, text, calls, wait, touched, examined, unindexed in rows(
            connection, query, [database] if database else []
        )
    }


def _kinds_of_statements(connection: Connection) -> dict[str, Statement]:
    """What can be told without digests: statements by kind, as if each kind were one."""
    status = _status(connection)
    counts = {kind: sum(status.get(name, 0.0) for name in names) for kind, names in _KINDS.items()}
    return {kind: Statement(text=kind, calls=count, seconds=0.0, rows=count) for kind, count in counts.items() if count}


def times_statements(connection: Connection) -> bool:
    """Whether the server's status adds up how long statements take, without performance_schema."""
    return "query_time" in _status(connection)


def _counters(connection: Connection, sees: Sees, status: Mapping[str, float]) -> dict[str, float]:
    counters = {
        counter: sum(status.get(name, 0.0) for name in names)
        for counter, names in _STATUS.items()
        if any(name in status for name in names)
    }
    counters["commits"] = status["handler_commit"]
    if sees.transactions:
        counters["commits"] = _number(connection, _TRANSACTIONS, sees.shared)
    if sees.deadlocks:
        counters["deadlocks"] = _number(connection, _DEADLOCKS)
    if sees.statements:
        ((calls, wait),) = rows(connection, _TOTALS, [sees.shared])
        counters["statements"] = float(calls or 0)
        counters["statement_seconds"] = float(wait or 0) * PICOSECONDS
    elif "query_time" in status:
        counters |= {"statements": status["questions"], "statement_seconds": status["query_time"]}
    return counters


def _status(connection: Connection) -> dict[str, float]:
    """The server's status as far as it is used, by lower-case name."""
    wanted = ", ".join(f"'{name}'" for name in sorted(_USED))
    found = rows(connection, f"SHOW GLOBAL STATUS WHERE LOWER(Variable_name) IN ({wanted})")
    return {name.lower(): float(value) for name, value in found}


def _buckets(connection: Connection, histogram: str) -> tuple[tuple[float, float], ...]:
    found = rows(connection, _HISTOGRAMS[histogram])
    if histogram == "server":
        return tuple(
            (math.inf if int(high) == _ENDLESS else float(high) * PICOSECONDS, float(count)) for high, count in found
        )
    return tuple((_seconds(time), float(count)) for time, count in found)


def _seconds(text: str) -> float:
    """The plugin's last bucket is "TOO LONG"."""
    try:
        return float(text)
    except ValueError:
        return math.inf


def _lag(connection: Connection, statement: str) -> float | None:
    """Seconds that the slowest source's changes are behind; None on a server that replicates nothing."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        names = [column[0].lower() for column in cursor.description or ()]
        found = cursor.fetchall()
    at = next((names.index(name) for name in _BEHIND if name in names), None)
    seconds = [float(row[at]) for row in found if at is not None and row[at] is not None]
    return max(seconds, default=None)


def _number(connection: Connection, statement: str, *arguments: Any) -> float:
    found = rows(connection, statement, arguments)
    return float(found[0][0] or 0) if found else 0.0


def _true(connection: Connection, statement: str, *arguments: Any) -> bool:
    return _answers(connection, statement, *arguments) and _number(connection, statement, *arguments) > 0


def _answers(connection: Connection, statement: str, *arguments: Any) -> bool:
    """Whether the server knows what is asked, and the role may ask it."""
    try:
        rows(connection, statement, arguments)
    except pymysql.Error as error:
        if lost(connection, error):
            raise
        return False
    return True
