"""What administrators of PostgreSQL know; the ids are those of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping

from db_knobs.situation import ANY_HIGH, ANY_LOW, GB, MB, Heuristic, Machine, Recipe, Said, Situation, raised

# Bytes in a second that sorts and hashes write to disk, from which on work_mem is too small.
_SPILLING = 1 * MB
# Share of blocks found in the cache, from which on data count as cached.
_CACHED = 0.98
# Mean latency in milliseconds, below which compiling a query costs more than it saves.
_SHORT = 100.0
# Commits in a second, below which waiting for others to commit with is waiting in vain.
_CROWD = 2_000.0
# The server begins a checkpoint early enough to end it before max_wal_size is full.
_WAL_AHEAD = 2.0
_CHECKPOINT_SECONDS = 300.0


def _work_mem(s: Situation) -> Said:
    return Said(
        "Every connection may take work_mem several times, so a third of its share of memory is the most.",
        {"work_mem": (ANY_LOW, _most_work_mem(s)), "hash_mem_multiplier": (1.0, 2.0)},
        risk="high",
    )


def _spills(s: Situation) -> Said | None:
    most = _most_work_mem(s)
    if (s.measured("temporary_bytes_per_second") or 0.0) <= _SPILLING or (s.now("work_mem") or 0.0) >= most:
        return None
    return Said(
        "Sorts and hashes spill to disk: give them more work_mem.",
        {"work_mem": (min(raised(s.now("work_mem"), 8 * MB), most), most)},
    )


def _most_work_mem(s: Situation) -> float:
    return 64 * MB if s.host.ram_bytes is None else max(0.75 * s.host.ram_bytes / (3 * s.max_connections), 4 * MB)


def _maintenance_work_mem(s: Situation) -> Said:
    most = 256 * MB if s.host.ram_bytes is None else min(max(s.host.ram_bytes / 16, 64 * MB), 2 * GB)
    return Said(
        "VACUUM wants enough memory to go over indexes once; each autovacuum worker may take as much.",
        {"maintenance_work_mem": (min(64 * MB, most), most), "autovacuum_work_mem": (ANY_LOW, most)},
        risk="high",
    )


def _effective_cache_size(s: Situation) -> Said | None:
    if s.host.ram_bytes is None:
        return None
    return Said(
        "The planner should know that the system's cache holds data too: half to three quarters of memory.",
        {"effective_cache_size": (0.5 * s.host.ram_bytes, 0.8 * s.host.ram_bytes)},
    )


def _random_page_cost(s: Situation) -> Said:
    cached = (s.measured("cache_hit") or 0.0) >= _CACHED
    reason = "Data are read from the cache, where order does not matter" if cached else "Disks of today find pages fast"
    return Said(
        f"{reason}: random_page_cost near seq_page_cost, and never below it.",
        {"random_page_cost": (1.0, 2.0 if cached else 3.0), "seq_page_cost": (0.2, 1.0)},
    )


def _statistics_target(s: Situation) -> Said:
    return Said(
        "Fewer than 100 values of a column make plans guess; many make planning slow.",
        {"default_statistics_target": (100, 300)},
    )


def _collapse_limits(s: Situation) -> Said:
    return Said(
        "Planning time grows exponentially with the tables that are reordered; fewer than 8 miss good plans.",
        {"from_collapse_limit": (8, 12), "join_collapse_limit": (8, 12)},
    )


def _parallel_workers(s: Situation) -> Said:
    cores = s.host.cores or 2
    busy = cores < 2 or (s.measured("active") or 0.0) >= cores
    text = (
        "All processors are busy: workers of one query take them from others."
        if busy
        else "One query may take half of the processors, all queries together all of them."
    )
    within = {
        "max_parallel_workers_per_gather": (ANY_LOW, ANY_LOW if busy else max(1.0, cores / 2)),
        "max_parallel_workers": (ANY_LOW, float(max(cores, 2))),
        "max_parallel_maintenance_workers": (ANY_LOW, max(1.0, cores / 2)),
    }
    return Said(text, within)


def _jit(s: Situation) -> Said | None:
    latency = s.measured("latency_mean_ms")
    if latency is None or latency >= _SHORT:
        return None
    return Said(
        f"Statements take {latency:.3g} ms on average: compiling them costs more than it saves.",
        {"jit_above_cost": (500_000, ANY_HIGH)},
        {"jit": [False]},
    )


def _max_wal_size(s: Situation) -> Said:
    written = (s.measured("log_bytes_per_second") or 0.0) * _CHECKPOINT_SECONDS * _WAL_AHEAD
    forced = (s.measured("forced_checkpoints") or 0.0) > 0
    if forced:
        least, why = raised(s.now("max_wal_size"), written), "Checkpoints are forced because the log fills"
    else:
        least, why = max(written, 1 * GB), "A checkpoint should come by time, not because the log is full"
    return Said(f"{why}: max_wal_size for what is written in ten minutes.", {"max_wal_size": (least, ANY_HIGH)})


def _min_wal_size(s: Situation) -> Said:
    # Of a max_wal_size that is not tuned along nobody knows more than that it suits what stands.
    most = max(s.now("max_wal_size") or max(s.now("min_wal_size") or 0.0, 1 * GB), 80 * MB)
    return Said(
        "What is kept of the log for reuse takes disk: no more than max_wal_size allowed so far.",
        {"min_wal_size": (80 * MB, most)},
    )


def _checkpoint_timeout(s: Situation) -> Said:
    return Said(
        "Checkpoints more often than every five minutes write pages again and again; recovery takes up to the time"
        " between two of them.",
        {"checkpoint_timeout": (300.0, 1800.0)},
    )


def _checkpoint_spread(s: Situation) -> Said:
    return Said(
        "A checkpoint that is spread over its time does not stop queries.",
        {"checkpoint_completion_target": (0.8, 0.95)},
    )


def _wal_writer_delay(s: Situation) -> Said:
    return Said(
        "Asynchronous commits of three such times may be lost in a crash: no longer than it was.",
        {"wal_writer_delay": (ANY_LOW, max(s.now("wal_writer_delay") or 0.0, 0.2))},
        risk="high",
        hard=True,
    )


def _commit_delay(s: Situation) -> Said:
    crowded = (s.measured("commits_per_second") or 0.0) >= _CROWD and s.connections >= 10
    text = (
        "Many commit at once: waiting up to a millisecond lets them be flushed together."
        if crowded
        else "Few commit at once: waiting for others only delays."
    )
    return Said(text, {"commit_delay": (ANY_LOW, 1000.0 if crowded else ANY_LOW)})


def _autovacuum_lag(s: Situation) -> Said:
    return Said(
        "Vacuuming later than by default lets tables bloat, which no setting mends quickly.",
        {
            "autovacuum_naptime": (ANY_LOW, 60.0),
            "autovacuum_vacuum_scale_factor": (ANY_LOW, 0.2),
            "autovacuum_analyze_scale_factor": (ANY_LOW, 0.1),
            "autovacuum_vacuum_cost_delay": (ANY_LOW, 0.002),
            "autovacuum_vacuum_cost_limit": (200.0, ANY_HIGH),
        },
        risk="high",
    )


def _shared_buffers(s: Situation) -> Said | None:
    if s.host.ram_bytes is None:
        return None
    return Said(
        "A quarter of memory for the server's own cache; what is above 40% is missing in the system's.",
        {"shared_buffers": (0.15 * s.host.ram_bytes, 0.4 * s.host.ram_bytes)},
        risk="high",
    )


def _max_connections(s: Situation) -> Said:
    return Said(
        f"{s.connections} connections were seen: room for half as many more.",
        {"max_connections": (1.5 * s.connections + 10, ANY_HIGH)},
        risk="high",
        hard=True,
    )


RULES: Mapping[str, Heuristic] = {
    "pg-work-mem": _work_mem,
    "pg-spills": _spills,
    "pg-maintenance-work-mem": _maintenance_work_mem,
    "pg-effective-cache-size": _effective_cache_size,
    "pg-random-page-cost": _random_page_cost,
    "pg-statistics-target": _statistics_target,
    "pg-collapse-limits": _collapse_limits,
    "pg-parallel-workers": _parallel_workers,
    "pg-jit": _jit,
    "pg-max-wal-size": _max_wal_size,
    "pg-min-wal-size": _min_wal_size,
    "pg-checkpoint-timeout": _checkpoint_timeout,
    "pg-checkpoint-spread": _checkpoint_spread,
    "pg-wal-writer-delay": _wal_writer_delay,
    "pg-commit-delay": _commit_delay,
    "pg-autovacuum-lag": _autovacuum_lag,
    "pg-shared-buffers": _shared_buffers,
    "pg-max-connections": _max_connections,
}


def _share(m: Machine, share: float, at_most: float = ANY_HIGH) -> float | None:
    return None if m.ram is None else min(share * m.ram, at_most)


def _work_mem_of(m: Machine) -> float | None:
    """What the system's cache and the server's own leave, for three sorts of each connection."""
    return None if m.ram is None else max(0.75 * m.ram / (3 * m.max_connections), 4 * MB)


# What is right for a mixed load on a disk without moving parts.
RECIPES: Mapping[str, Recipe] = {
    "shared_buffers": lambda m: _share(m, 0.25),
    "effective_cache_size": lambda m: _share(m, 0.75),
    "maintenance_work_mem": lambda m: _share(m, 1 / 16, 2 * GB),
    "work_mem": _work_mem_of,
    "wal_buffers": lambda m: 16 * MB,
    "min_wal_size": lambda m: 1 * GB,
    "max_wal_size": lambda m: 4 * GB,
    "checkpoint_completion_target": lambda m: 0.9,
    "checkpoint_timeout": lambda m: 900.0,
    "default_statistics_target": lambda m: 100,
    "random_page_cost": lambda m: 1.1,
    "effective_io_concurrency": lambda m: 200,
    "max_parallel_workers_per_gather": lambda m: min(m.cores / 2, 4) if m.cores >= 2 else ANY_LOW,
    "max_parallel_workers": lambda m: m.cores,
    "max_parallel_maintenance_workers": lambda m: max(1, min(m.cores / 2, 4)),
}
