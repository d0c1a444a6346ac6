"""Contexts tell workloads apart, stay where they are when settings change, and survive a restart bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from db_knobs.address import parse_dsn
from db_knobs.context import DATA, KNOWN, MIX, ContextReader
from db_knobs.database import Estimate
from db_knobs.embedding import words
from db_knobs.lab.postgres import PrivatePostgres
from db_knobs.postgres import Postgres
from db_knobs.statistics import Metrics, Statement

METRICS = Metrics(seconds=10.0, throughput=100.0, connections=8.0)
POINT = Statement("SELECT balance FROM accounts WHERE id = $1", calls=1000, seconds=1.0, rows=1000)
UPDATE = Statement("UPDATE accounts SET balance = balance + $1 WHERE id = $2", calls=500, seconds=2.0, rows=500)
REPORT = Statement(
    "SELECT region, sum(amount) FROM orders JOIN customers USING (customer) GROUP BY region", 10, 20.0, rows=500
)
NEW = Statement("SELECT title FROM books WHERE isbn LIKE $1 LIMIT $2", calls=1000, seconds=5.0, rows=10)
SHORT = {"a": POINT, "b": UPDATE}
LONG = {"c": REPORT}
EVERYTHING = {**SHORT, **LONG}
ESTIMATES = {"a": Estimate(1.0, 0.0, 1.0), "c": Estimate(1e6, 0.5, 0.0)}


def reader(learnt: Mapping[str, Statement] | None = EVERYTHING) -> ContextReader:
    made = ContextReader("postgresql", statements=True, estimates=True)
    if learnt is not None:
        made.learn(learnt)
    return made


def named(made: ContextReader, values: tuple[float, ...]) -> dict[str, float]:
    assert len(values) == len(made.features)
    assert all(math.isfinite(value) for value in values)
    return dict(zip(made.features, values, strict=True))


def distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return float(np.linalg.norm(np.array(one) - np.array(other)))


@pytest.mark.parametrize(
    ("statements", "estimates", "features"),
    [
        (True, True, ("demand", "writes", *MIX, *DATA)),
        (True, False, ("demand", "writes", *MIX)),
        (False, True, ("demand", "writes")),
    ],
)
def test_features_follow_what_the_server_tells(statements: bool, estimates: bool, features: tuple[str, ...]) -> None:
    made = ContextReader("postgresql", statements=statements, estimates=estimates)

    assert made.features == features
    named(made, made.read(METRICS, SHORT, {}))


def test_mariadb_counts_what_was_examined_itself() -> None:
    made = ContextReader("mariadb", statements=True, estimates=False)
    scan = replace(REPORT, examined=10_000.0, unindexed=5.0)

    found = named(made, made.read(METRICS, {"c": scan}, {}))

    assert found["examined"] == pytest.approx(math.log1p(1_000))
    assert found["filtered"] == pytest.approx(0.95)
    assert found["indexed"] == pytest.approx(0.5)


def test_words_leave_values_and_punctuation_out() -> None:
    assert words("SELECT a.b FROM `t` WHERE c IN (?, 'x', 5)", "mysql") == [
        "select",
        "a",
        "b",
        "from",
        "t",
        "where",
        "c",
        "in",
    ]
    assert words("SELECT `cut off", "mysql") == ["select", "cut", "off"]


def test_share_of_writes_counts_calls_that_read_or_write() -> None:
    made = reader()
    begin = Statement("BEGIN", calls=5000, seconds=0.1, rows=0)

    found = named(made, made.read(METRICS, {**SHORT, "d": begin}, {}))

    assert found["writes"] == pytest.approx(500 / 1500)


def test_demand_is_busy_connections_were_all_free_to_ask_and_no_more_than_there_are() -> None:
    made = reader()

    assert named(made, made.read(METRICS, SHORT, {}))["demand"] == pytest.approx(math.log1p(0.3 / (1 - 0.3 / 8)))
    crowd = {"c": replace(REPORT, calls=100, seconds=200.0)}
    assert named(made, made.read(METRICS, crowd, {}))["demand"] == pytest.approx(math.log1p(8))


def test_demand_of_clients_that_pause_between_requests_is_the_same_however_fast_they_are_answered() -> None:
    made, clients, pause = reader(), METRICS.connections or 0.0, 1.5

    def asked(answer: float) -> float:
        calls = METRICS.seconds * clients / (answer + pause)
        ran = {"c": replace(REPORT, calls=calls, seconds=calls * answer)}
        return named(made, made.read(replace(METRICS, throughput=calls / METRICS.seconds), ran, {}))["demand"]

    first = asked(0.5)

    assert [asked(answer) for answer in (0.25, 0.1, 0.01, 0.9)] == pytest.approx([first] * 4)


def test_demand_of_others_follows_how_often_they_ask() -> None:
    made = reader()
    rare, often = ({"c": replace(REPORT, calls=calls, seconds=0.01 * calls)} for calls in (10.0, 20.0))

    found = [math.expm1(named(made, made.read(METRICS, ran, {}))["demand"]) for ran in (rare, often)]

    assert found[1] == pytest.approx(2 * found[0], rel=0.05)


def test_without_statements_latency_tells_how_busy_the_server_is() -> None:
    made = ContextReader("postgresql", statements=False, estimates=False)
    kinds = {"SELECT": Statement("SELECT", 900, 0.0, 900), "UPDATE": Statement("UPDATE", 100, 0.0, 100)}

    found = named(made, made.read(replace(METRICS, latency_mean_ms=20.0), kinds, {}))

    assert found == {"demand": pytest.approx(math.log1p(2.0)), "writes": pytest.approx(0.1)}


def test_settings_that_make_statements_faster_do_not_change_the_context() -> None:
    made = reader()
    slow = made.read(METRICS, EVERYTHING, ESTIMATES)
    # Clients that wait for answers ask twice as often, and each answer takes a part of the time.
    fast = {name: replace(each, calls=2 * each.calls, seconds=0.1 * each.seconds) for name, each in EVERYTHING.items()}

    found = made.read(replace(METRICS, throughput=200.0), fast, ESTIMATES)

    assert found[1:] == pytest.approx(slow[1:])
    assert abs(found[0] - slow[0]) <= math.log(2) + 1e-9


def test_another_mix_is_another_place_and_half_of_it_lies_between() -> None:
    made = reader()
    short, long = made.read(METRICS, SHORT, ESTIMATES), made.read(METRICS, LONG, ESTIMATES)
    both = made.read(METRICS, {"a": POINT, "c": replace(REPORT, calls=1, seconds=2.0)}, ESTIMATES)

    assert distance(short, long) > 0.5
    assert distance(short, both) < distance(short, long)
    assert distance(both, long) < distance(short, long)


def test_statements_that_came_later_show_as_well() -> None:
    made = reader(SHORT)

    seen, new, report = (made.read(METRICS, ran, ESTIMATES)[2:7] for ran in (SHORT, {"n": NEW}, {"c": REPORT}))

    assert distance(seen, new) > 0.3
    assert distance(new, report) > 0.3


def test_what_comes_later_does_not_move_what_was_measured() -> None:
    made = reader(SHORT)
    before = made.read(METRICS, SHORT, ESTIMATES)
    for number in range(20):
        made.read(METRICS, {f"n{number}": replace(NEW, text=f"SELECT x{number} FROM t{number}")}, {})

    assert made.read(METRICS, SHORT, ESTIMATES) == before


def test_a_restarted_reader_reads_on_bit_for_bit() -> None:
    made = reader()
    made.read(METRICS, SHORT, ESTIMATES)
    again = ContextReader.from_state("postgresql", made.features, json.loads(json.dumps(made.state())))

    for ran in (SHORT, LONG, {"n": NEW}, EVERYTHING):
        assert again.read(METRICS, ran, {}) == made.read(METRICS, ran, {})
    assert again.state() == made.state()


def test_texts_are_needed_only_once() -> None:
    made = reader()
    bare = {name: replace(each, text="") for name, each in EVERYTHING.items()}

    assert made.read(METRICS, bare, ESTIMATES) == made.read(METRICS, EVERYTHING, ESTIMATES)


def test_without_estimates_in_one_interval_the_last_ones_stay() -> None:
    made = reader()
    before = named(made, made.read(METRICS, LONG, ESTIMATES))

    after = named(made, made.read(METRICS, LONG, {}))

    assert before["examined"] == pytest.approx(math.log1p(1e6))
    assert [after[name] for name in DATA] == [before[name] for name in DATA]


def test_an_idle_interval_has_a_context_too() -> None:
    made = reader(None)

    found = named(made, made.read(replace(METRICS, throughput=0.0), {}, {}))

    assert set(found.values()) == {0.0}


def test_no_more_statements_are_remembered_than_that() -> None:
    made = reader()
    made.learn({f"s{number}": replace(NEW, text="SELECT 1") for number in range(KNOWN + 5)})

    assert len(made.state()["seen"]) == KNOWN


@pytest.mark.parametrize(
    "setting",
    [
        "random_page_cost = 1.0",
        "enable_seqscan = off",
        "cpu_tuple_cost = 0.1",
        "max_parallel_workers_per_gather = 0",
        "work_mem = '64kB'",
    ],
)
def test_estimates_do_not_follow_settings_that_are_tried(postgres: PrivatePostgres, setting: str) -> None:
    name = postgres.create_database()
    postgres.execute("CREATE TABLE t AS SELECT i, i % 100 AS j FROM generate_series(1, 400000) AS i", name)
    postgres.execute("CREATE INDEX ON t (j)", name)
    postgres.execute("ANALYZE t", name)
    database = Postgres(parse_dsn(postgres.dsn(name)))
    texts = ("SELECT count(*) FROM t WHERE j < $1", "SELECT count(*) FROM t WHERE i + $1 > j")
    asked = {text: Statement(text, 1, 1.0, 1) for text in texts}
    try:
        before = database.estimate(asked)
        postgres.execute(f"ALTER DATABASE {name} SET {setting}")
        after = database.estimate(asked)
    finally:
        database.close()
        postgres.drop_database(name)

    assert before == after
    assert all(before[text].rows > 0 for text in texts)
