"""What administrators of MySQL and MariaDB know; the ids are those of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping

from db_knobs.memory import SHARE
from db_knobs.situation import ANY_HIGH, ANY_LOW, GB, MB, Heuristic, Machine, Recipe, Said, Situation, raised

# Share of reads found in InnoDB's cache, below which the cache is too small.
_CACHED = 0.99
# Of memory, for InnoDB's cache at most.
_CACHE_SHARE = 0.7
# Temporary tables on disk a second, from which on those in memory are too small.
_SPILLING = 1.0
# Joins without an index a second, from which on how they are done matters.
_JOINING = 0.1
# Values of join_cache_level. Blocks of rows, each compared with all of the next table, are the default. From 3 on such
# joins go by hash. 3 and 4 join by hash even where an index would find the rows; from 5 on look-ups stay look-ups.
_BLOCKS, _HASH = (2, 1, 0), (6, 5, 8, 7)
# For how long the log should last before it is used again, in seconds.
_LOG_SECONDS = 1800.0
# Bytes that a connection may take with the vendor's settings, most of them for a temporary table.
_CONNECTION = 24 * MB
# Bytes of the other engines' caches and the log's buffer.
_OTHERS = 300 * MB
# Of all that each connection may take: the share of memory, and the part of one kind.
_CONNECTIONS_SHARE, _KINDS = 0.25, 2
_PER_CONNECTION = (
    *("tmp_table_size", "max_heap_table_size", "sort_buffer_size", "join_buffer_size", "read_buffer_size"),
    *("read_rnd_buffer_size", "mrr_buffer_size", "binlog_cache_size"),
)


def _buffer_pool(s: Situation) -> Said | None:
    if s.host.ram_bytes is None:
        return None
    return Said(
        "More than 70% of memory for InnoDB's cache leaves too little for connections and the system.",
        {"innodb_buffer_pool_size": (ANY_LOW, _CACHE_SHARE * s.host.ram_bytes)},
        risk="high",
    )


def _cache_misses(s: Situation) -> Said | None:
    hit = s.measured("cache_hit")
    if s.host.ram_bytes is None or hit is None or hit >= _CACHED:
        return None
    now, most = s.now("innodb_buffer_pool_size"), _CACHE_SHARE * s.host.ram_bytes
    if (now or 0.0) >= most:
        return None
    least = min(raised(now, 128 * MB), most)
    return Said(f"{1 - hit:.0%} of reads miss InnoDB's cache: enlarge it.", {"innodb_buffer_pool_size": (least, most)})


def _log_file_size(s: Situation) -> Said:
    least = max((s.measured("log_bytes_per_second") or 0.0) * _LOG_SECONDS, 96 * MB)
    stands = max(s.now("innodb_log_file_size") or 0.0, s.now("innodb_redo_log_capacity") or 0.0)
    # Nobody knows the size of a cache that is not tuned along: it may be as large as the log was made for.
    most = max(s.now("innodb_buffer_pool_size") or max(stands, 1 * GB), 128 * MB)
    within = (min(least, most), most)
    return Said(
        "The log should last half an hour, so that pages are not written twice; beyond the cache's size it only"
        " lengthens recovery.",
        {"innodb_log_file_size": within, "innodb_redo_log_capacity": within},
    )


def _io_capacity(s: Situation) -> Said:
    return Said(
        "Disks without moving parts do a thousand writes a second easily; all of them should not go to InnoDB.",
        {"innodb_io_capacity": (200, 10_000), "innodb_io_capacity_max": (1_000, 20_000)},
    )


def _dirty_pages(s: Situation) -> Said:
    return Said(
        "With few dirty pages every page is written again and again; with more than 90% queries have to write.",
        {"innodb_max_dirty_pages_pct": (50, 90), "innodb_max_dirty_pages_pct_lwm": (5, ANY_HIGH)},
        risk="high",
    )


def _purge_threads(s: Situation) -> Said:
    return Said(
        "More threads that purge than processors only take turns.",
        {"innodb_purge_threads": (1, max(4, s.host.cores or 4))},
    )


def _thread_concurrency(s: Situation) -> Said:
    return Said(
        "A limit below two threads a processor leaves processors idle while one waits for the disk.",
        {"innodb_thread_concurrency": (max(16.0, 2.0 * (s.host.cores or 8)), ANY_HIGH)},
    )


def _table_cache(s: Situation) -> Said:
    least = max(1_000.0, 4.0 * s.connections)
    return Said(
        "Tables that do not stay open are opened again and again; each connection opens its own.",
        {"table_open_cache": (least, max(least, 10_000.0))},
    )


def _thread_cache(s: Situation) -> Said:
    least = min(max(8.0, float(s.connections)), float(s.max_connections))
    return Said(
        f"Threads for the {s.connections} connections that were seen should wait rather than be made anew.",
        {"thread_cache_size": (least, max(least, float(s.max_connections)))},
    )


def _tmp_tables(s: Situation) -> Said | None:
    if (s.measured("disk_tables_per_second") or 0.0) <= _SPILLING:
        return None
    least = min(raised(max(s.now("tmp_table_size") or 0.0, s.now("max_heap_table_size") or 0.0), 16 * MB), 256 * MB)
    return Said(
        "Temporary tables go to disk: the smaller of the two sizes decides, so raise both.",
        {"tmp_table_size": (least, ANY_HIGH), "max_heap_table_size": (least, ANY_HIGH)},
    )


def _per_connection(s: Situation) -> Said:
    ram = 1 * GB if s.host.ram_bytes is None else s.host.ram_bytes
    most = max(_CONNECTIONS_SHARE * ram / s.max_connections / _KINDS, 1 * MB)
    return Said(
        f"Each of {s.max_connections} connections may take it, several of them more than once.",
        dict.fromkeys(_PER_CONNECTION, (ANY_LOW, most)),
        risk="high",
    )


def _sort_buffer(s: Situation) -> Said:
    return Said(
        "Every sort takes its buffer whole, and getting a large one costs a small sort more than it saves.",
        {"sort_buffer_size": (256 * 1024, 8 * MB)},
    )


def _join_buffer(s: Situation) -> Said:
    return Said(
        "A join without an index needs an index; large buffers help it little, and several may be taken at once.",
        {"join_buffer_size": (256 * 1024, 8 * MB)},
    )


def _join_lookups(s: Situation) -> Said:
    return Said(
        "Levels 3 and 4 join by hash even where an index would find the rows, and read whole tables for a few of them.",
        among={"join_cache_level": [*_BLOCKS, *_HASH]},
        risk="high",
    )


def _join_hash(s: Situation) -> Said | None:
    if (s.measured("full_joins_per_second") or 0.0) <= _JOINING:
        return None
    return Said(
        "Joins without an index compare every row with every other; by hash they read each once. Levels from 5 on do"
        " that and leave joins with an index as they are.",
        among={"join_cache_level": list(_HASH)},
    )


def _search_depth(s: Situation) -> Said:
    return Said(
        "Planning time grows exponentially with the tables that are looked ahead; automatic keeps it short.",
        {"optimizer_search_depth": (ANY_LOW, 10)},
    )


def _prune_level(s: Situation) -> Said:
    return Said(
        "Where no order of joins is dropped early, many tables may be planned for minutes; what is being planned goes"
        " on when the setting is put back.",
        {"optimizer_prune_level": (1, ANY_HIGH)},
        risk="high",
        hard=True,
    )


def _query_cache(s: Situation) -> Said:
    return Said(
        "One lock guards all results that are kept, and every write to a table throws its results away.",
        {"query_cache_size": (ANY_LOW, ANY_LOW)},
        {"query_cache_type": ["OFF", "DEMAND"]},
    )


RULES: Mapping[str, Heuristic] = {
    "my-buffer-pool": _buffer_pool,
    "my-cache-misses": _cache_misses,
    "my-log-file-size": _log_file_size,
    "my-io-capacity": _io_capacity,
    "my-dirty-pages": _dirty_pages,
    "my-purge-threads": _purge_threads,
    "my-thread-concurrency": _thread_concurrency,
    "my-table-cache": _table_cache,
    "my-thread-cache": _thread_cache,
    "my-tmp-tables": _tmp_tables,
    "my-per-connection": _per_connection,
    "my-sort-buffer": _sort_buffer,
    "my-join-buffer": _join_buffer,
    "my-join-lookups": _join_lookups,
    "my-join-hash": _join_hash,
    "my-search-depth": _search_depth,
    "my-prune-level": _prune_level,
    "my-query-cache": _query_cache,
}


def _pool(m: Machine) -> float | None:
    """Three quarters of what the system and connections leave when each takes what it takes by default."""
    if m.ram is None:
        return None
    return max(0.75 * (SHARE * m.ram - m.max_connections * _CONNECTION - _OTHERS), 128 * MB)


def _log(m: Machine) -> float | None:
    pool = _pool(m)
    return None if pool is None else min(max(0.25 * pool, 96 * MB), 2 * GB)


def _temporary(m: Machine) -> float | None:
    return None if m.ram is None else min(max(0.1 * m.ram / m.max_connections, 16 * MB), 64 * MB)


# What is right for a mixed load on a disk without moving parts.
RECIPES: Mapping[str, Recipe] = {
    "innodb_buffer_pool_size": _pool,
    "innodb_log_file_size": _log,
    "innodb_redo_log_capacity": _log,
    "innodb_log_buffer_size": lambda m: 16 * MB,
    "innodb_io_capacity": lambda m: 1_000,
    "innodb_io_capacity_max": lambda m: 2_500,
    "innodb_flush_neighbors": lambda m: 0,
    "innodb_purge_threads": lambda m: min(4, m.cores),
    "tmp_table_size": _temporary,
    "max_heap_table_size": _temporary,
    "sort_buffer_size": lambda m: 2 * MB,
    "join_buffer_size": lambda m: 1 * MB,
    "read_rnd_buffer_size": lambda m: 1 * MB,
    "table_open_cache": lambda m: max(2_000, 4 * m.max_connections),
    "thread_cache_size": lambda m: min(m.max_connections, 100),
    "query_cache_size": lambda m: ANY_LOW,
    "query_cache_type": lambda m: "OFF",
}
