"""The bi-block engine: the right distribution, and the same walks whatever the memory, the threads and the kills."""

from __future__ import annotations

import contextlib
import errno
import math
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from models.walks import corpus as corpora
from models.walks import engine, kernels
from models.walks.build import build_graph
from models.walks.corpus import Corpus
from models.walks.engine import Progress, walk
from models.walks.errors import GraphError
from models.walks.format import NO_VERTEX, Graph
from models.walks.loading import Line, LoadingRule
from models.walks.memory import LoadedGraph
from models.walks.partition import minimum_budget, plan
from models.walks.rule import Rule
from models.walks.store import AppendStore
from tests.models.walks.graphs import skewed, tiny, transitions

RULE = Rule(p=0.5, q=2.0, length=20, seed=7)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return skewed(tmp_path_factory.mktemp("skewed") / "graph")


@pytest.fixture(scope="module")
def whole(graph: Graph) -> np.ndarray:
    return LoadedGraph.of(graph).walk(RULE, walks_per_vertex=2)


@pytest.mark.parametrize(("directed", "weighted"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize(("p", "q"), [(0.25, 4.0), (4.0, 0.25), (1.0, 1.0), (0.5, 0.5), (1.0, 3.0)])
def test_transitions_are_those_of_the_exact_rule(
    tmp_path: Path, directed: bool, weighted: bool, p: float, q: float
) -> None:
    graph = tiny(tmp_path / "graph", directed=directed, weighted=weighted)
    exact = transitions(graph, p, q)

    walks = LoadedGraph.of(graph).walk(Rule(p, q, 30, seed=3), walks_per_vertex=1500).astype(np.int64)

    n = graph.vertices
    seen = np.zeros((n, n, n))
    triples = np.stack([walks[:, :-2], walks[:, 1:-1], walks[:, 2:]], axis=-1).reshape(-1, 3)
    triples = triples[(triples < n).all(axis=1)]
    np.add.at(seen, tuple(triples.T), 1)
    statistic, freedom = 0.0, 0
    for t in range(n):
        for v in range(n):
            possible = exact[t, v] > 0
            if seen[t, v].sum() and possible.sum() > 1:
                expected = seen[t, v].sum() * exact[t, v][possible]
                statistic += float((((seen[t, v][possible] - expected) ** 2) / expected).sum())
                freedom += int(possible.sum()) - 1
            assert seen[t, v][~possible].sum() == 0
    assert freedom > 10
    assert 1e-4 < chi2.sf(statistic, freedom) < 1 - 1e-6


def test_the_first_step_follows_the_weights(tmp_path: Path) -> None:
    graph = build_graph(np.array([[0, 1, 1.0], [0, 2, 3.0], [0, 3, 6.0]]), tmp_path / "graph", weighted=True)

    walks = LoadedGraph.of(graph).walk(Rule(length=1, seed=1), walks_per_vertex=20_000)

    first = np.bincount(walks[walks[:, 0] == 0, 1], minlength=4)[1:] / 20_000
    assert first == pytest.approx([0.1, 0.3, 0.6], abs=0.015)


@pytest.mark.parametrize("budget", ["least", 180_000, 200_000, 1 << 26])
@pytest.mark.parametrize("threads", [1, 2])
def test_any_budget_and_threads_give_the_same_corpus(
    graph: Graph, whole: np.ndarray, tmp_path: Path, budget: int | str, threads: int
) -> None:
    memory = minimum_budget(graph) if budget == "least" else int(budget)

    outcome = walk(graph, tmp_path / "walks", RULE, walks_per_vertex=2, memory_budget=memory, threads=threads)

    assert np.array_equal(np.concatenate(list(outcome.corpus)), whole)
    assert outcome.steps == int((whole[:, 1:] != NO_VERTEX).sum())
    assert outcome.ended_early == int((whole[:, -1] == NO_VERTEX).sum()) == 10
    assert (outcome.plan["spans"] == 1) == (budget == 1 << 26)
    assert outcome.traffic["bytes_read"] >= graph.size - 16
    assert sorted(path.name for path in (tmp_path / "walks").iterdir()) == ["corpus.json", "walks-00000.npy"]


@pytest.mark.parametrize("block_bytes", [1, 6_000, 20_000])
@pytest.mark.parametrize("segment_bytes", [256, 4096])
def test_any_block_and_segment_size_gives_the_same_corpus(
    whole: np.ndarray, tmp_path: Path, block_bytes: int, segment_bytes: int
) -> None:
    graph = skewed(tmp_path / "graph", segment_bytes=segment_bytes)

    outcome = walk(graph, tmp_path / "walks", RULE, walks_per_vertex=2, memory_budget=200_000, block_bytes=block_bytes)

    assert outcome.plan["spans"] > 1
    assert np.array_equal(np.concatenate(list(outcome.corpus)), whole)


@pytest.mark.parametrize(("p", "q", "decay"), [(1, 1, 1), (0.25, 4, 1), (4, 0.25, 1), (2, 2, 0.8)])
@pytest.mark.parametrize(("directed", "weighted"), [(True, False), (True, True)])
def test_kinds_of_graphs_and_rules_walk_alike_on_disk_and_in_memory(
    tmp_path: Path, p: float, q: float, decay: float, directed: bool, weighted: bool
) -> None:
    rng = np.random.default_rng(4)
    ends = (rng.random((20_000, 2)) ** 2 * 1000).astype(int)
    rows = np.column_stack([ends, rng.random(20_000) + 0.01]) if weighted else ends
    graph = build_graph(
        rows, tmp_path / "graph", directed=directed, weighted=weighted, segment_bytes=1024, vertices=1010
    )
    rule = Rule(p, q, 25, seed=5, decay=decay)

    outcome = walk(graph, tmp_path / "walks", rule, memory_budget=minimum_budget(graph))

    assert outcome.plan["spans"] > 1
    assert np.array_equal(np.concatenate(list(outcome.corpus)), LoadedGraph.of(graph).walk(rule, threads=3))
    assert outcome.ended_early > 0


def test_many_shards_and_pieces_are_one_corpus(
    graph: Graph, whole: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpora, "SHARD_ROWS", 512)

    outcome = walk(graph, tmp_path / "walks", RULE, walks_per_vertex=2, memory_budget=180_000)

    assert len(outcome.corpus.shards) == 6
    assert np.array_equal(np.concatenate(list(Corpus.open(tmp_path / "walks"))), whole)


def test_a_triangular_round_loads_each_pair_once(graph: Graph, tmp_path: Path) -> None:
    outcome = walk(graph, tmp_path / "walks", RULE, memory_budget=200_000)

    cut = plan(graph, 200_000)
    most = sum(cut.blocks - int(cut.first_block[span]) for span in range(cut.spans))
    loads = outcome.traffic["block_loads"] + outcome.traffic["sparse_loads"]
    assert loads <= most * outcome.rounds


@pytest.mark.parametrize("stop", [1, 3, 10, 40])
def test_a_run_that_breaks_off_resumes_to_the_same_corpus(
    graph: Graph, whole: np.ndarray, tmp_path: Path, stop: int
) -> None:
    calls = 0

    def break_off(found: object) -> None:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyboardInterrupt

    arguments = {"walks_per_vertex": 2, "memory_budget": 200_000, "commit_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        walk(graph, tmp_path / "walks", RULE, **arguments, progress=break_off)

    outcome = walk(graph, tmp_path / "walks", RULE, **arguments)

    assert np.array_equal(np.concatenate(list(outcome.corpus)), whole)


def test_a_run_that_breaks_off_behind_each_commit_comes_to_the_same_corpus(
    graph: Graph, whole: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TOLD_SECONDS", math.inf)

    def break_off(found: object) -> None:
        # What is told first comes before the commit: each run gets one commit further.
        nonlocal told
        told += 1
        if told == 2:
            raise KeyboardInterrupt

    outcome, told, runs = None, 0, 0
    while outcome is None:
        told, runs = 0, runs + 1
        with contextlib.suppress(KeyboardInterrupt):
            outcome = walk(
                graph,
                tmp_path / "walks",
                RULE,
                walks_per_vertex=2,
                memory_budget=200_000,
                commit_seconds=0,
                progress=break_off,
            )

    assert runs > 100
    assert np.array_equal(np.concatenate(list(outcome.corpus)), whole)


@pytest.mark.parametrize(("begun", "resumed"), [(np.arange(0, 1505, 2), None), (None, np.arange(0, 1505, 2))])
def test_walks_from_some_vertices_are_not_resumed_as_those_from_all(
    graph: Graph, tmp_path: Path, begun: np.ndarray | None, resumed: np.ndarray | None
) -> None:
    def break_off(found: Progress) -> None:
        if found.round:
            raise KeyboardInterrupt

    arguments = {"memory_budget": 200_000, "commit_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        walk(graph, tmp_path / "walks", RULE, sources=begun, progress=break_off, **arguments)

    with pytest.raises(GraphError, match="holds unfinished walks with another sources"):
        walk(graph, tmp_path / "walks", RULE, sources=resumed, **arguments)


def test_two_at_once_are_told_apart(graph: Graph, whole: np.ndarray, tmp_path: Path) -> None:
    def second(found: object) -> None:
        nonlocal tried
        if not tried:
            tried = True
            with pytest.raises(GraphError, match="another process walks here"):
                walk(graph, tmp_path / "walks", RULE, walks_per_vertex=2, memory_budget=200_000)

    tried = False
    outcome = walk(graph, tmp_path / "walks", RULE, walks_per_vertex=2, memory_budget=200_000, progress=second)

    assert tried
    assert np.array_equal(np.concatenate(list(outcome.corpus)), whole)


def test_a_walk_that_is_refused_leaves_no_file_open(graph: Graph, tmp_path: Path) -> None:
    with AppendStore(tmp_path / "walks" / "work", 1_000).held():
        before = len(os.listdir("/proc/self/fd"))

        with pytest.raises(GraphError, match="another process walks here"):
            walk(graph, tmp_path / "walks", RULE, memory_budget=200_000)

        assert len(os.listdir("/proc/self/fd")) == before


def test_steps_that_do_not_fit_their_walks_are_refused(graph: Graph, tmp_path: Path) -> None:
    store = AppendStore(tmp_path / "store", 400)
    # A row, how many steps, the steps: three where a walk has two.
    store.append(corpora.log_name(0), np.array([1, 3, 5, 6, 7], np.uint32))

    with pytest.raises(GraphError, match="steps are damaged"):
        corpora.write(tmp_path, store, rows=2, columns=3, per_piece=2, starts=np.arange(2), made_by={})


def walk_and_tell(graph: Graph, directory: Path, commit_seconds: float, telling: Connection) -> None:
    walk(
        graph,
        directory,
        RULE,
        walks_per_vertex=2,
        memory_budget=200_000,
        commit_seconds=commit_seconds,
        progress=lambda found: telling.send("at"),
    )


@pytest.mark.slow
def test_twenty_kills_anywhere_leave_the_corpus_the_same(graph: Graph, whole: np.ndarray, tmp_path: Path) -> None:
    # Forked children find the kernels compiled: starting anew takes longer than walking.
    fork = multiprocessing.get_context("fork")
    walk(graph, tmp_path / "warm", Rule(0.5, 2.0, length=2), memory_budget=200_000, commit_seconds=0)
    chance = random.Random(1)
    kills = 0
    while kills < 20:
        told, telling = fork.Pipe(duplex=False)
        child = fork.Process(
            target=walk_and_tell, args=(graph, tmp_path / "walks", chance.choice([0, 0, 0.05]), telling)
        )
        child.start()
        telling.close()
        with contextlib.suppress(EOFError):
            for _ in range(chance.randrange(1, 12)):
                told.recv()
        time.sleep(chance.random() * 0.02)
        child.kill()
        child.join()
        told.close()
        kills += child.exitcode == -signal.SIGKILL
        if (tmp_path / "walks" / "corpus.json").exists():
            assert np.array_equal(np.concatenate(list(Corpus.open(tmp_path / "walks"))), whole)
            (tmp_path / "walks").rename(tmp_path / f"done-{kills}")

    outcome = walk(graph, tmp_path / "walks", RULE, walks_per_vertex=2, memory_budget=200_000)

    assert np.array_equal(np.concatenate(list(outcome.corpus)), whole)


def test_a_full_disk_is_told_and_the_walk_resumes(
    graph: Graph, whole: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"walks_per_vertex": 2, "memory_budget": 200_000, "commit_seconds": 0}
    write, calls = os.pwrite, 0

    def full(file: int, data: memoryview, at: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 60:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[: 1 + len(data) // 2], at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(GraphError, match=r"no space left to write .* free some and walk again .*: it resumes"):
            walk(graph, tmp_path / "walks", RULE, **arguments)

    assert np.array_equal(np.concatenate(list(walk(graph, tmp_path / "walks", RULE, **arguments).corpus)), whole)


def test_what_cannot_be_walked_says_why(graph: Graph, tmp_path: Path) -> None:
    least = minimum_budget(graph)
    with pytest.raises(GraphError, match=f"memory_budget: 1,000 bytes; this graph needs at least {least:,}"):
        walk(graph, tmp_path / "walks", RULE, memory_budget=1000)
    with pytest.raises(GraphError, match="threads: 0 must be at least 1"):
        walk(graph, tmp_path / "walks", RULE, threads=0)
    with pytest.raises(GraphError, match="walks_per_vertex: 0 must be at least 1"):
        walk(graph, tmp_path / "walks", RULE, walks_per_vertex=0)
    for field, wrong in (
        ("p", 0.0),
        ("q", float("nan")),
        ("length", 0),
        ("length", 70_000),
        ("seed", -1),
        ("decay", 0),
    ):
        with pytest.raises(GraphError, match=f"{field}: "):
            Rule(**{field: wrong})
    with pytest.raises(GraphError, match="holds no finished walks"):
        Corpus.open(tmp_path)
    walk(graph, tmp_path / "walks", Rule(length=1))
    with pytest.raises(GraphError, match="holds finished walks"):
        walk(graph, tmp_path / "walks", Rule(length=1))


def test_unfinished_walks_of_another_kind_are_not_mixed(graph: Graph, tmp_path: Path) -> None:
    def stop(found: object) -> None:
        raise KeyboardInterrupt

    arguments = {"memory_budget": 200_000, "commit_seconds": 0}
    calls = []
    with pytest.raises(KeyboardInterrupt):
        walk(
            graph,
            tmp_path / "walks",
            RULE,
            **arguments,
            progress=lambda f: calls.append(f) or (len(calls) > 1 and stop(f)),
        )

    with pytest.raises(GraphError, match="unfinished walks with another p, seed"):
        walk(graph, tmp_path / "walks", Rule(0.7, 2.0, 20, seed=8), **arguments)
    with pytest.raises(GraphError, match="begun with another memory_budget"):
        walk(graph, tmp_path / "walks", RULE, memory_budget=210_000)


def test_a_damaged_graph_stops_the_walk(tmp_path: Path) -> None:
    graph = skewed(tmp_path / "graph")
    with (graph.path / "neighbours.bin").open("r+b") as file:
        file.seek(20_001)
        file.write(b"\xff")

    with pytest.raises(GraphError, match="does not have its checksum"):
        walk(graph, tmp_path / "walks", RULE, memory_budget=200_000)


def test_the_loading_rule_learns_both_lines_and_their_crossing() -> None:
    rule = LoadingRule(block_bytes=1 << 20)
    rng = np.random.default_rng(0)
    for walks in rng.integers(1, 200, 40):
        rule.loaded_lists(int(walks), 1e-4 * walks * (1 + 0.05 * rng.standard_normal()))
        rule.loaded_whole(1 << 20, 5e-3 * (1 + 0.05 * rng.standard_normal()))

    assert rule.by_lists(30, 1 << 20)
    assert not rule.by_lists(80, 1 << 20)


def test_walks_wait_where_the_lists_they_need_meet_first() -> None:
    # Four spans of two blocks of ten vertices; span 1 (blocks 2, 3) has met blocks up to 5.
    first_vertex, span_of = np.arange(0, 90, 10), np.array([0, 0, 1, 1, 2, 2, 3, 3])
    places = [(25, 65), (65, 25), (25, 45), (5, 25), (45, 65), (65, 5)]
    states = kernels.started(np.arange(len(places)), np.zeros(len(places), np.int64))
    states[:, 0] |= np.uint64(1)
    states[:, 1] = [previous << 32 | current for previous, current in places]
    ends, codes = np.full(len(places), kernels.BLOCKED, np.uint8), np.empty(len(places), np.int32)

    def waiting(free: int, first_order: bool = False) -> list[int]:
        kernels.destinations(
            *(states, ends, first_vertex, span_of, 1, 5, first_order, np.uint64(0), np.uint64(free), codes)
        )
        return codes.tolist()

    bucket, pool = range(8), range(8, 12)
    # The lower span's bucket for the upper block if that is still to come, else its pool.
    assert waiting(0) == [bucket[6], bucket[6], pool[1], pool[0], pool[2], pool[0]]
    # The current vertex's list alone: this span's bucket, the next span, or the next round.
    assert waiting(1 << 32) == [bucket[6], pool[0], pool[2], pool[0], bucket[6], pool[0]]
    assert waiting(0, first_order=True) == [pool[3], pool[1], pool[2], pool[1], pool[3], pool[0]]
    ends[2] = kernels.FINISHED
    assert waiting(0)[2] == -1


def test_what_is_taken_comes_in_full_pieces(tmp_path: Path) -> None:
    store = AppendStore(tmp_path / "store", 400)
    for number in range(29):
        store.append("some", np.arange(10 * number, 10 * number + 10, dtype=np.uint64))

    pieces = list(store.take("some", np.uint64, 70))

    assert [len(piece) for piece in pieces] == [70, 70, 70, 70, 10]
    assert np.concatenate(pieces).tolist() == list(range(290))
    assert store.bytes_written == 8 * 240


def test_few_samples_try_lists_only_where_they_are_short() -> None:
    rule = LoadingRule(block_bytes=1 << 20)

    assert rule.by_lists(10, 1 << 20)
    assert not rule.by_lists(100, 1 << 20)


def test_a_line_with_one_x_stays_finite() -> None:
    line = Line()
    for _ in range(10_000):
        line.observe(1.0, 0.01)
    assert line.predict(1.0) == pytest.approx(0.01)
