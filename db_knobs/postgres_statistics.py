"""What PostgreSQL's statistics views say, under the names of `statistics`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from db_knobs.database import ESTIMATE_SECONDS, ESTIMATED_STATEMENTS, Estimate
from db_knobs.postgres_connection import APPLICATION, Connection, reading
from db_knobs.postgres_settings import OF_SOME
from db_knobs.statistics import MAX_STATEMENTS, Snapshot, Statement

_DATABASE = """
SELECT extract(epoch FROM clock_timestamp())::float8, xact_commit, xact_rollback, blks_hit, blks_read, tup_returned,
       tup_inserted + tup_updated + tup_deleted, temp_bytes, deadlocks,
       extract(epoch FROM pg_postmaster_start_time())::text || ' ' || coalesce(stats_reset::text, '')
FROM pg_stat_database WHERE datname = current_database()
"""
# Settings that plans depend on, beside the planner's own.
_PLANNED_BY = ("hash_mem_multiplier", "max_parallel_workers", "max_parallel_workers_per_gather", "work_mem")
# Where the checkpointer's counters have stood.
_CHECKPOINTS_13 = """
SELECT checkpoints_timed + checkpoints_req, checkpoints_req, buffers_checkpoint + buffers_clean + buffers_backend,
       stats_reset::text
FROM pg_stat_bgwriter
"""
# From 18 on commits stand in pg_stat_io too, as writes of the log.
_CHECKPOINTS_17 = """
SELECT num_timed + num_requested, num_requested, c.buffers_written + b.buffers_clean
           + (SELECT coalesce(sum(writes), 0) FROM pg_stat_io
              WHERE backend_type = 'client backend' AND object = 'relation'),
       c.stats_reset::text || ' ' || b.stats_reset::text
FROM pg_stat_checkpointer AS c, pg_stat_bgwriter AS b
"""
_ACTIVITY = """
SELECT count(*), count(*) FILTER (WHERE state = 'active'), count(*) FILTER (WHERE wait_event_type = 'Lock')
FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
# Of a standby, what it has yet to replay; of a primary, the slowest of its standbys.
_LAG = """
SELECT CASE WHEN pg_is_in_recovery() THEN
    CASE WHEN pg_last_wal_receive_lsn() IS NOT DISTINCT FROM pg_last_wal_replay_lsn() THEN 0
    ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END
ELSE (SELECT extract(epoch FROM max(replay_lag)) FROM pg_stat_replication) END::float8
"""
# Statements of our own role are left out, unless others use it too.
_OURS = "userid = (SELECT oid FROM pg_roles WHERE rolname = current_user)"
_TOTALS: LiteralString = f"""
SELECT coalesce(sum(calls), 0)::float8, coalesce(sum(total_exec_time), 0)::float8 / 1000
FROM {{schema}}.pg_stat_statements(false)
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND ({{shared}} OR NOT {_OURS})
"""  # nosec B608
# Without texts the function reads no file; 500 statements of thousands are ordered in a few milliseconds.
_STATEMENTS: LiteralString = f"""
SELECT queryid::text || '/' || userid::text || {{toplevel}}, {{text}}, calls, total_exec_time / 1000, rows,
       calls * (stddev_exec_time ^ 2 + mean_exec_time ^ 2) / 1e6
FROM {{schema}}.pg_stat_statements({{texts}})
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND ({{shared}} OR NOT {_OURS})
  AND calls > 0 AND queryid IS NOT NULL
ORDER BY total_exec_time DESC LIMIT {{limit}}
"""  # nosec B608
_EVICTIONS: LiteralString = "SELECT dealloc, stats_reset::text FROM {schema}.pg_stat_statements_info"
_EXTENSION = """
SELECT nspname, has_schema_privilege(n.oid, 'USAGE')
FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements'
"""
_WORKS: LiteralString = "SELECT count(*) FROM {schema}.pg_stat_statements(false)"
# Our own role may be the one that is left out.
_SWITCHED_OFF: LiteralString = f"""
SELECT count(*) > 0 FROM pg_settings
WHERE (name, setting) IN (('pg_stat_statements.track', 'none'), ('compute_query_id', 'off')) AND NOT {OF_SOME}
"""  # nosec B608
_SHARED = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE usename = current_user AND backend_type = 'client backend' AND NOT starts_with(application_name, %s)
"""
_KINDS = """
SELECT xact_commit, tup_returned, tup_inserted, tup_updated, tup_deleted
FROM pg_stat_database WHERE datname = current_database()
"""
_PLACEHOLDER = re.compile(r"\$(\d+)")
_SCANS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Tid Scan", "Sample Scan")


@dataclass(frozen=True)
class Sees:
    """What this role sees of this server; found out once for each connection.

    Attributes:
        schema: of the extension that counts statements; empty where it is not installed.
        usable: the role may use that schema.
        counts: the extension was loaded at the server's start, answers, and is not switched off.
        others: the role may see what others do.
        shared: others use our role too, so statements of ours are counted with theirs.
    """

    schema: str
    usable: bool
    counts: bool
    others: bool
    shared: bool

    @property
    def statements(self) -> bool:
        """Whether others' statements can be counted."""
        return self.counts and self.others


def look(connection: Connection) -> Sees:
    """Find out what can be seen."""
    schema, usable = connection.execute(_EXTENSION).fetchone() or ("", False)
    return Sees(
        schema=schema,
        usable=usable,
        # Only a call tells whether it was loaded.
        counts=usable
        and _answers(connection, sql.SQL(_WORKS).format(schema=sql.Identifier(schema)))
        and not _row(connection, _SWITCHED_OFF)[0],
        others=bool(_row(connection, "SELECT pg_has_role('pg_read_all_stats', 'USAGE')")[0]),
        shared=shared(connection),
    )


def shared(connection: Connection) -> bool:
    """Whether somebody else is connected under our role."""
    row = connection.execute(_SHARED, [APPLICATION]).fetchone()
    return bool(row and row[0])


def snapshot(connection: Connection, major: int, sees: Sees) -> Snapshot:
    """Counters of the current database, and of the server where only it has them."""
    at, commits, rollbacks, hit, read, rows_read, changed, temporary, deadlocks, epoch = _row(connection, _DATABASE)
    counters = {
        "commits": commits,
        "rollbacks": rollbacks,
        "block_requests": hit + read,
        "blocks_read": read,
        "rows_read": rows_read,
        "rows_changed": changed,
        "temporary_bytes": temporary,
        "deadlocks": deadlocks,
    }
    checkpoints, forced, written, checkpoints_reset = _row(
        connection, _CHECKPOINTS_17 if major >= 17 else _CHECKPOINTS_13
    )
    counters |= {"checkpoints": checkpoints, "forced_checkpoints": forced, "blocks_written": written}
    epoch += f" {checkpoints_reset}"
    if major >= 14:
        counters["log_bytes"], log_reset = _row(connection, "SELECT wal_bytes, stats_reset::text FROM pg_stat_wal")
        epoch += f" {log_reset}"
    if sees.statements:
        counters["statements"], counters["statement_seconds"] = _row(connection, _filled(_TOTALS, sees))
        epoch += f" {sees.shared}"
        if major >= 14:
            # Evicting a statement takes its counts out of the totals.
            counters["evictions"], statements_reset = _row(connection, _filled(_EVICTIONS, sees))
            epoch += f" {statements_reset}"
    elif major >= 14:
        counters["statement_seconds"] = (
            _row(connection, "SELECT active_time FROM pg_stat_database WHERE datname = current_database()")[0] / 1000
        )
    connections, active, waiting = _row(connection, _ACTIVITY)
    gauges = {"connections": float(connections), "active": float(active), "waiting": float(waiting)}
    lag = _row(connection, _LAG)[0]
    if lag is not None:
        gauges["replication_lag_seconds"] = float(lag)
    return Snapshot(
        at=at,
        epoch=epoch,
        counters={name: float(value) for name, value in counters.items()},
        gauges=gauges,
        # Workers of parallel plans count as commits: a plan that needs none would look like less work.
        work="statements" if sees.statements else "commits",
        statements=statements(connection, major, sees, texts=False) if sees.statements else {},
    )


def statements(connection: Connection, major: int, sees: Sees, *, texts: bool) -> dict[str, Statement]:
    """Statements of others on the current database, those that took longest first."""
    query = _filled(
        _STATEMENTS,
        sees,
        toplevel=sql.SQL("'/' || toplevel::text" if major >= 14 else "''"),
        text=sql.SQL("query" if texts else "''"),
        texts=sql.Literal(texts),
        limit=sql.Literal(MAX_STATEMENTS),
    )
    return {
        name: Statement(text=text or "", calls=calls, seconds=seconds, rows=rows, squares=squares)
        for name, text, calls, seconds, rows, squares in connection.execute(query).fetchall()
    }


def kinds_of_statements(connection: Connection) -> dict[str, Statement]:
    """What can be told without the extension: rows by what was done with them, as if each kind were one statement."""
    commits, returned, inserted, updated, deleted = (float(value) for value in _row(connection, _KINDS))
    kinds = {"COMMIT": commits, "SELECT": returned, "INSERT": inserted, "UPDATE": updated, "DELETE": deleted}
    return {
        kind: Statement(text=kind, calls=count, seconds=0.0, rows=count) for kind, count in kinds.items() if count > 0
    }


def estimates(connection: Connection, found: Mapping[str, Statement]) -> dict[str, Estimate]:
    """EXPLAIN of the reads that took longest; those that cannot be explained are left out."""
    reads = [(name, statement.text) for name, statement in found.items() if _reads(statement.text)]
    # Placeholders have no values here; a generic plan needs none.
    connection.execute(f"SET statement_timeout = {int(1000 * ESTIMATE_SECONDS)}".encode())
    # Under the vendor's settings of all that plans depend on, so that what is tried does not look like other data.
    connection.execute(
        "SELECT pg_catalog.set_config(name, boot_val, false) FROM pg_catalog.pg_settings"
        " WHERE (category LIKE 'Query Tuning%%' OR name = ANY(%s)) AND context = 'user' AND boot_val IS NOT NULL",
        [list(_PLANNED_BY)],
    )
    connection.execute("SET plan_cache_mode = force_generic_plan")
    connection.execute("SET default_transaction_read_only = on")
    sizes: dict[str, float] = {
        name: float(rows)
        for name, rows in connection.execute(
            "SELECT relname, greatest(reltuples, 0) FROM pg_catalog.pg_class"
        ).fetchall()
    }
    estimated = {}
    for name, text in reads[:ESTIMATED_STATEMENTS]:
        try:
            plan = _plan(connection, text)
        except psycopg.Error:
            if connection.closed:
                raise
            continue
        accesses = list(_accesses(plan, sizes))
        examined = sum(rows for rows, _, _ in accesses)
        kept = sum(min(kept, rows) for rows, kept, _ in accesses)
        if accesses:
            estimated[name] = Estimate(
                rows=examined,
                filtered=1 - kept / examined if examined > 0 else 0.0,
                indexed=sum(indexed for _, _, indexed in accesses) / len(accesses),
            )
    return estimated


def _filled(query: LiteralString, sees: Sees, **parts: sql.Composable) -> sql.Composed:
    """A query about the extension, which may be in any schema."""
    return sql.SQL(query).format(schema=sql.Identifier(sees.schema), shared=sql.Literal(sees.shared), **parts)


def _reads(text: str) -> bool:
    return text.lstrip().lower().startswith(("select", "with")) and "for update" not in text.lower()


def _plan(connection: Connection, text: str) -> dict[str, Any]:
    """The plan of a normalised statement, prepared and never executed."""
    count = max((int(number) for number in _PLACEHOLDER.findall(text)), default=0)
    values = f"({', '.join(['NULL'] * count)})" if count else ""
    try:
        with reading(connection):
            connection.execute(b"PREPARE estimated AS " + text.encode())
            found = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE estimated{values}".encode()).fetchall()[0][0]
    finally:
        if not connection.closed:
            with reading(connection):
                connection.execute("DEALLOCATE ALL")
    plan: dict[str, Any] = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return plan


def _accesses(plan: Mapping[str, Any], sizes: Mapping[str, float]) -> Iterator[tuple[float, float, bool]]:
    """(rows read, rows kept, through an index) of each access to a table, as often as it is expected."""
    kind = plan["Node Type"].removeprefix("Parallel ")
    if kind in _SCANS:
        kept = float(plan["Plan Rows"])
        indexed = kind != "Seq Scan"
        yield kept if indexed else max(sizes.get(plan.get("Relation Name", ""), kept), kept), kept, indexed
    for child in plan.get("Plans", ()):
        yield from _accesses(child, sizes)


def _answers(connection: Connection, query: sql.Composed) -> bool:
    try:
        with connection.transaction():
            connection.execute(query)
    except psycopg.Error:
        if connection.closed:
            raise
        return False
    return True


def _row(connection: Connection, query: LiteralString | sql.Composed) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row
