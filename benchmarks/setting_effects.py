"""Which online settings pay for which of the shop's transactions, each by itself.

    python -m benchmarks.setting_effects [--server postgresql|mariadb] [--quick] [--json FILE]

One client runs each transaction under each setting in turn, with the same keys, again and again; settings are the
session's own, so that nothing else changes. Times are the shortest of all turns, which a busy machine disturbs least;
with other work on the same processors a factor of two may still be noise. What only works for the whole server
(caches, checkpoints, many clients at once) is not seen here.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from benchmarks._harness import Cell, Result, arguments, publish
from db_knobs.lab.mariadb import PrivateMariaDB
from db_knobs.lab.postgres import PrivatePostgres
from db_knobs.lab.shop import DATABASE, Shop
from db_knobs.lab.transactions import Draw, transactions

NAME = "setting_effects"
SERVERS = ("postgresql", "mariadb")
# Session settings that are tried, under the name by which they are shown.
SETTINGS: Mapping[str, Sequence[str]] = {
    "postgresql": (
        *("random_page_cost = 1.1", "max_parallel_workers_per_gather = 0", "jit = off", "work_mem = '64MB'"),
        *("join_collapse_limit = 4", "join_collapse_limit = 12", "cpu_tuple_cost = 0.05"),
    ),
    "mariadb": (
        *("join_cache_level = 4", "join_buffer_size = 8388608", "sort_buffer_size = 33554432"),
        *("optimizer_search_depth = 3", "optimizer_prune_level = 0", "optimizer_use_condition_selectivity = 1"),
        *("eq_range_index_dive_limit = 1", "tmp_table_size = 134217728"),
    ),
}
TRANSACTIONS = ("lookup", "match", "wide", "status", "report", "ranking")
_REPEATS, _QUICK_REPEATS = 12, 3
_SCALE, _QUICK_SCALE = {"postgresql": 0.5, "mariadb": 0.1}, 0.05


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--server", choices=SERVERS)
    own, rest = parser.parse_known_args(argv)
    asked = arguments(NAME, "Which online settings pay for which transactions?", rest)
    chosen = SERVERS if own.server is None else (own.server,)
    result = Result(NAME, asked.command + (f" --server {own.server}" if own.server else ""))
    for server in chosen:
        shop = Shop(_QUICK_SCALE if asked.quick else _SCALE[server])
        best = _measured(server, shop, _QUICK_REPEATS if asked.quick else _REPEATS)
        result.rows += [_row(server, name, times) for name, times in best.items()]
        for name, times in best.items():
            factors = {setting: times[""] / seconds for setting, seconds in times.items() if setting}
            result.headline[f"{server}_{name}_best_speedup"] = max(factors.values())
            result.headline[f"{server}_{name}_worst_slowdown"] = 1.0 / min(factors.values())
    publish(result, asked.json)


def _row(server: str, name: str, times: Mapping[str, float]) -> dict[str, Cell]:
    """Milliseconds by default, then how many times faster each setting is."""
    row: dict[str, Cell] = {"server": server, "transaction": name, "default ms": 1000 * times[""]}
    return {**row, **{setting: times[""] / seconds for setting, seconds in times.items() if setting}}


def _measured(server: str, shop: Shop, repeats: int) -> dict[str, dict[str, float]]:
    """Transaction -> setting -> shortest time in seconds; the empty setting is the default."""
    if server == "postgresql":
        with PrivatePostgres(settings={"shared_buffers": "64MB"}) as postgres:
            shop.load(postgres)
            with psycopg.connect(postgres.dsn(DATABASE), autocommit=True, prepare_threshold=None) as connection:
                return _turns(connection, "SET {}", ["RESET ALL"], server, shop, repeats)
    with PrivateMariaDB({"innodb-buffer-pool-size": "64M"}) as mariadb:
        shop.load(mariadb)
        names = dict.fromkeys(setting.partition(" ")[0] for setting in SETTINGS[server])
        session = mariadb.connect(DATABASE)
        try:
            back = [f"SET SESSION {name} = DEFAULT" for name in names]
            return _turns(session, "SET SESSION {}", back, server, shop, repeats)
        finally:
            session.close()


def _turns(
    connection: Any, change: str, back: Sequence[str], server: str, shop: Shop, repeats: int
) -> dict[str, dict[str, float]]:
    known = transactions("postgresql" if server == "postgresql" else "mariadb")
    best: dict[str, dict[str, float]] = {name: {} for name in TRANSACTIONS}
    for name in TRANSACTIONS:
        for turn in range(repeats):
            for setting in ("", *SETTINGS[server]):
                with connection.cursor() as cursor:
                    for statement in (*back, *([change.format(setting)] if setting else [])):
                        cursor.execute(statement)
                    began = time.perf_counter()
                    known[name](cursor, Draw(random.Random(turn), shop))
                    seconds = time.perf_counter() - began
                best[name][setting] = min(seconds, best[name].get(setting, seconds))
    return best


if __name__ == "__main__":
    main()
