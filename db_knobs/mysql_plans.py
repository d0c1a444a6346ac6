"""What MySQL's and MariaDB's planners expect of statements that are known by their digests: EXPLAIN, nothing is run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pymysql

from db_knobs.address import Kind
from db_knobs.database import ESTIMATE_SECONDS, ESTIMATED_STATEMENTS, Estimate
from db_knobs.mysql_connection import Connection, lost, rows
from db_knobs.statistics import Statement

_LIMIT = re.compile(r"\bLIMIT \?(?: (?:,|OFFSET) \?)?", re.IGNORECASE)
_INTERVAL = re.compile(r"\bINTERVAL \?", re.IGNORECASE)
_WRITES = re.compile(r"\b(?:FOR UPDATE|LOCK IN SHARE MODE|FOR SHARE|INTO)\b", re.IGNORECASE)
# Read while planning: a row at most, by a unique key, whose table is not told.
_CONST = "const table"


def estimates(connection: Connection, kind: Kind, found: Mapping[str, Statement]) -> dict[str, Estimate]:
    """EXPLAIN of the reads that took longest; those that cannot be explained are left out."""
    texts = [(name, statement.schema, explainable(statement.text)) for name, statement in found.items()]
    reads = [(name, schema, text) for name, schema, text in texts if text][:ESTIMATED_STATEMENTS]
    limit = (
        f"max_statement_time = {ESTIMATE_SECONDS:g}"
        if kind == "mariadb"
        else f"max_execution_time = {int(1000 * ESTIMATE_SECONDS)}"
    )
    # Digests put a space before brackets, which functions allow in this mode only.
    rows(connection, f"SET SESSION {limit}, sql_mode = 'IGNORE_SPACE'")
    rows(connection, "SET SESSION TRANSACTION READ ONLY")
    estimated: dict[str, Estimate] = {}
    for name, schema, text in reads:
        try:
            if schema:
                connection.select_db(schema)
            ((plan,),) = rows(connection, f"EXPLAIN FORMAT=JSON {text}")
        except pymysql.Error as error:
            if lost(connection, error):
                raise
            continue
        if estimate := estimate_of(plan):
            estimated[name] = estimate
    return estimated


def explainable(digest: str) -> str | None:
    """A digest's text with values for its placeholders; None where it is no read, or not whole.

    A quoted 1 compares with numbers and texts alike and lets an index on either be used.
    """
    if not digest.upper().startswith(("SELECT ", "WITH ", "( SELECT ")) or digest.rstrip().endswith("..."):
        return None
    if _WRITES.search(digest):
        return None
    text = digest.replace("(...)", "('1')").replace("/* , ... */", "")
    text = _INTERVAL.sub("INTERVAL 1", _LIMIT.sub("LIMIT 10", text))
    return text.replace("?", "'1'")


def estimate_of(plan: str) -> Estimate | None:
    """What EXPLAIN FORMAT=JSON says, in one number each; None where it tells of no table."""
    block = json.loads(plan)
    accesses = list(_accesses(block, 1.0))
    if not accesses:
        return Estimate(rows=1.0, filtered=0.0, indexed=1.0) if _CONST in plan else None
    examined = sum(read for read, _, _ in accesses)
    kept = sum(min(kept, read) for read, kept, _ in accesses)
    return Estimate(
        rows=examined,
        filtered=1 - kept / examined if examined > 0 else 0.0,
        indexed=sum(indexed for _, _, indexed in accesses) / len(accesses),
    )


def _accesses(node: Any, times: float) -> Iterator[tuple[float, float, bool]]:
    """(rows read, rows kept, through an index) of each access to a table, as often as it is expected.

    Args:
        times: how often the node is run.
    """
    if isinstance(node, list):
        for child in node:
            yield from _accesses(child, times)
        return
    if not isinstance(node, dict):
        return
    if "access_type" in node:
        read = times * _rows(node)
        yield read, read * float(node.get("filtered", 100)) / 100, node["access_type"] != "ALL"
    for name, child in node.items():
        if name == "nested_loop":
            yield from _nested(child, times)
        else:
            yield from _accesses(child, times)


def _nested(loop: list[Any], times: float) -> Iterator[tuple[float, float, bool]]:
    """Each table of a join is read once for every row that those before it leave."""
    for child in loop:
        inner = list(_accesses(child, times))
        yield from inner
        if inner:
            times = max(inner[0][1], 1e-3)


def _rows(table: Mapping[str, Any]) -> float:
    return float(table.get("rows_examined_per_scan", table.get("rows", 0)))
