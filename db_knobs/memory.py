"""The memory guard: what settings may take in the worst case, against a share of the machine's memory.

    shared + per connection * max_connections <= share * RAM

The worst case is rare, but a server that runs into it is killed. The reference's own need is always allowed, so that
the guard never forbids what the server already runs with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from db_knobs.address import Kind
from db_knobs.catalog import Host
from db_knobs.errors import DatabaseError
from db_knobs.knob import Danger, Knob
from tunewright.space import Config, Value

# What the system, the kernel's cache and other processes keep.
SHARE = 0.8
MB = 1024.0**2

# Settings that take memory -> bytes in one unit of theirs (1 where they count something), by kind of server.
_UNITS: Mapping[Kind, Mapping[str, float]] = {
    "postgresql": {
        "shared_buffers": 8192.0,
        "wal_buffers": 8192.0,
        "work_mem": 1024.0,
        "hash_mem_multiplier": 1.0,
        "temp_buffers": 8192.0,
        "maintenance_work_mem": 1024.0,
        "autovacuum_work_mem": 1024.0,
        "autovacuum_max_workers": 1.0,
        "max_parallel_workers": 1.0,
        "max_parallel_workers_per_gather": 1.0,
        "logical_decoding_work_mem": 1024.0,
    },
    "mysql": {
        "innodb_buffer_pool_size": 1.0,
        "innodb_log_buffer_size": 1.0,
        "key_buffer_size": 1.0,
        "tmp_table_size": 1.0,
        "max_heap_table_size": 1.0,
        "sort_buffer_size": 1.0,
        "join_buffer_size": 1.0,
        "read_buffer_size": 1.0,
        "read_rnd_buffer_size": 1.0,
        "binlog_cache_size": 1.0,
        "thread_stack": 1.0,
    },
}
# Of MariaDB alone, and not of all its builds.
_MARIADBS = {"query_cache_size": 1.0, "mrr_buffer_size": 1.0, "aria_pagecache_buffer_size": 1.0}
# A backend of PostgreSQL without any work, and its caches of tables and plans.
_BACKEND = 8 * MB
# InnoDB's own book-keeping, as a share of its cache.
_POOL_OVERHEAD = 0.05


def needed(kind: Kind) -> tuple[str, ...]:
    """Settings that the guard must know, tuned or not: read those that are not tuned from the server."""
    return tuple(_units(kind))


def guard(
    kind: Kind, knobs: Sequence[Knob], host: Host, max_connections: int, others: Config, share: float = SHARE
) -> Callable[[Config], str | None]:
    """A pure function that says why a configuration of these knobs would take too much memory; None where it would not.

    Where the memory of the machine is not known, no memory knob may rise above the reference.

    Args:
        knobs: that are tuned; what they stand at is the reference.
        max_connections: as many as may connect; fewer where a pool lets no more through.
        others: setting of `needed` that is not tuned -> what it stands at, in the server's own unit.
    Raises:
        DatabaseError: a setting of `needed` that every such server has is neither tuned nor among the others;
            `max_connections` is not positive.
    """
    if max_connections < 1:
        raise DatabaseError(f"max_connections: {max_connections} must be at least 1")
    reference = {knob.name: knob.current for knob in knobs}
    if host.ram_bytes is None:
        return _not_above(kind, knobs)
    known = {**others, **reference}
    missing = [name for name in needed(kind) if name not in known and name not in _MARIADBS]
    if missing:
        raise DatabaseError(f"others: {', '.join(missing)} missing; read them from the server (see `needed`)")
    stands = worst_case(kind, known, max_connections)
    limit = share * host.ram_bytes

    def too_much(config: Config) -> str | None:
        need = worst_case(kind, {**known, **config}, max_connections)
        if need <= max(limit, stands):
            return None
        return (
            f"memory: {max_connections} connections could take {_gb(need)} in all; {_gb(limit)} are allowed"
            f" ({share:.0%} of {_gb(host.ram_bytes or 0)})"
        )

    return too_much


def worst_case(kind: Kind, settings: Mapping[str, Value], max_connections: int) -> float:
    """Bytes that a server may take when every connection does the most at once.

    Args:
        settings: those of `needed` that the server has, in its own units.
    """
    sizes = {name: float(settings[name]) * unit for name, unit in _units(kind).items() if name in settings}
    return (_postgres if kind == "postgresql" else _mysql)(sizes, max_connections)


def _postgres(size: Mapping[str, float], connections: int) -> float:
    # Negative means automatic.
    log = size["wal_buffers"] if size["wal_buffers"] >= 0 else min(size["shared_buffers"] / 32, 16 * MB)
    vacuum = size["autovacuum_work_mem"] if size["autovacuum_work_mem"] >= 0 else size["maintenance_work_mem"]
    query = size["work_mem"] * max(1.0, size["hash_mem_multiplier"])
    workers = min(size["max_parallel_workers"], size["max_parallel_workers_per_gather"] * connections)
    return (
        size["shared_buffers"]
        + log
        + size["autovacuum_max_workers"] * vacuum
        + size["maintenance_work_mem"]
        + size["logical_decoding_work_mem"]
        + connections * (query + size["temp_buffers"] + _BACKEND)
        + workers * (query + _BACKEND)
    )


def _mysql(size: Mapping[str, float], connections: int) -> float:
    shared = ("innodb_log_buffer_size", "key_buffer_size", "query_cache_size", "aria_pagecache_buffer_size")
    each = ("sort_buffer_size", "join_buffer_size", "read_buffer_size", "read_rnd_buffer_size", "mrr_buffer_size")
    temporary = min(size["tmp_table_size"], size["max_heap_table_size"])
    per_connection = sum(size.get(name, 0.0) for name in (*each, "binlog_cache_size", "thread_stack")) + temporary
    return (
        size["innodb_buffer_pool_size"] * (1 + _POOL_OVERHEAD)
        + sum(size.get(name, 0.0) for name in shared)
        + connections * per_connection
    )


def _not_above(kind: Kind, knobs: Sequence[Knob]) -> Callable[[Config], str | None]:
    dangerous = [knob for knob in knobs if knob.danger is Danger.MEMORY or knob.name in _units(kind)]

    def too_much(config: Config) -> str | None:
        for knob in dangerous:
            value = config.get(knob.name, knob.current)
            if value != knob.current and _may_take_more(knob, value):
                return (
                    f'memory: "{knob.name}" would rise above {knob.current}, and how much memory the server\'s machine'
                    " has is not known; declare it"
                )
        return None

    return too_much


def _may_take_more(knob: Knob, value: Value) -> bool:
    """Whether a value may take more than the current one; what "automatic" takes nobody knows."""
    then, now = knob.quantity(value), knob.quantity(knob.current)
    # Negative means automatic; 0 takes nothing.
    return min(then, now) < 0 or then > now


def _units(kind: Kind) -> Mapping[str, float]:
    return {**_UNITS["mysql"], **_MARIADBS} if kind == "mariadb" else _UNITS[kind]


def _gb(size: float) -> str:
    return f"{size / 1024**3:.3g} GB"
