"""The bi-block engine: second-order walks with two parts of the graph in memory (GraSorw, section 4).

A round goes through the spans in order. A span is loaded; walks that wait for it take the steps that it alone allows,
and are then put into buckets by the block that they need beside it. Blocks behind the span are streamed past it, each
met by its bucket, read ahead while the bucket before walks. A walk that needs lists outside the pair waits with the
lower of the two spans that it needs (skewed storage), so every pair of parts is loaded at most once a round
(triangular schedule). Beyond the paper, a step whose random numbers decide it without the previous vertex's list is
taken without that list.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.walks import corpus as corpora
from models.walks import kernels
from models.walks.corpus import Corpus, StepLog
from models.walks.errors import GraphError
from models.walks.format import Graph
from models.walks.loading import LoadingRule
from models.walks.partition import Plan, plan
from models.walks.reader import ANCILLARY, CURRENT, GraphReader
from models.walks.rule import MAX_WALKS, Rule
from models.walks.store import AppendStore

STATE_BYTES = 16
# A walk in work: its state twice, steps, count and end.
WALK_BYTES = 2 * STATE_BYTES + 4 * kernels.STRIDE + 16
COMMIT_SECONDS = 10.0
TOLD_SECONDS = 0.2


@dataclass
class Progress:
    """How far walking is.

    Attributes:
        steps, total: steps taken, and of all walks if none ends early.
        seconds: since the start, or the resume.
        round, span: of the schedule.
    """

    steps: int
    total: int
    seconds: float
    round: int
    span: int


@dataclass
class Outcome:
    """What walking took.

    Attributes:
        corpus: the walks.
        steps, ended_early: steps taken; walks that met a vertex without neighbours, or decayed.
        rounds: through the schedule.
        traffic: of the graph; spilled: bytes of walks and steps written and read.
    """

    corpus: Corpus
    steps: int
    ended_early: int
    rounds: int
    seconds: float
    traffic: dict[str, float]
    spilled: dict[str, int]
    plan: dict[str, int] = field(default_factory=dict)


def walk(
    graph: Graph,
    target: Path | str,
    rule: Rule,
    *,
    walks_per_vertex: int = 1,
    sources: NDArray[np.integer] | None = None,
    memory_budget: int = 256 << 20,
    threads: int = 1,
    block_bytes: int | None = None,
    commit_seconds: float = COMMIT_SECONDS,
    progress: Callable[[Progress], None] = lambda found: None,
) -> Outcome:
    """Walk from every vertex and write the corpus; called again after a kill with the same arguments, it resumes.

    Args:
        target: directory of the corpus; holds the unfinished work until then.
        sources: (k,) distinct vertices to start at, in place of all; walk i starts at the (i mod k)-th smallest.
        memory_budget: bytes for lists, walks and steps, whatever the graph's size; the interpreter comes on top.
        threads: that walk; one more reads.
        block_bytes: see `plan`.
    Raises:
        GraphError: the budget is too small, the target holds other walks, the disk is full, the graph is damaged.
    """
    target = Path(target)
    starts = None if sources is None else _checked_sources(graph, sources)
    if walks_per_vertex < 1 or graph.vertices * walks_per_vertex > MAX_WALKS:
        raise GraphError(
            f"walks_per_vertex: {walks_per_vertex} must be at least 1, and all walks at most {MAX_WALKS:,}"
        )
    if threads < 1:
        raise GraphError(f"threads: {threads} must be at least 1")
    if (target / corpora.MANIFEST).exists():
        raise GraphError(f"{target}: holds finished walks; remove it, or choose another place")
    cut = plan(graph, memory_budget, block_bytes)
    made_by = {"graph": graph.checksum, **asdict(rule), "walks_per_vertex": walks_per_vertex}
    if starts is not None:
        made_by["sources"] = starts.tolist()
    return _Engine(graph, target, rule, cut, starts, made_by, threads, commit_seconds, progress).run()


def _checked_sources(graph: Graph, sources: NDArray[np.integer]) -> NDArray[np.int64]:
    found = np.unique(sources).astype(np.int64)
    if not len(found) or len(found) != np.size(sources) or found[0] < 0 or found[-1] >= graph.vertices:
        raise GraphError(f"sources: must be distinct vertices, from 0 to {graph.vertices - 1}, at least one")
    return found


class _Engine:
    def __init__(
        self,
        graph: Graph,
        target: Path,
        rule: Rule,
        cut: Plan,
        starts: NDArray[np.int64] | None,
        made_by: dict[str, Any],
        threads: int,
        commit_seconds: float,
        progress: Callable[[Progress], None],
    ) -> None:
        self._graph, self._target, self._rule, self._plan, self._made_by = graph, target, rule, cut, made_by
        self._threads, self._commit_seconds, self._progress = threads, commit_seconds, progress
        self._walks_per_vertex = int(made_by["walks_per_vertex"])
        self._starts = starts
        self._turn = graph.vertices if starts is None else len(starts)
        self._rows = self._turn * self._walks_per_vertex
        self._per_piece = corpora.piece_rows(self._rows, rule.length + 1, cut.log_bytes)
        self._pieces = -(-self._rows // self._per_piece)
        self._chunk = max(256, cut.walk_bytes // 2 // WALK_BYTES)
        notes = cut.log_bytes // 4
        self._store = AppendStore(target / "work", cut.walk_bytes // 4 + cut.log_bytes - notes)
        self._log = StepLog(self._store, self._per_piece, self._pieces, notes)
        self._names = [_bucket(block) for block in range(cut.blocks)] + [_pool(span) for span in range(cut.spans)]
        self._reader = GraphReader(graph, cut)
        self._loading = LoadingRule(cut.block_bytes)
        self._acceptance = rule.acceptance(graph.weighted)
        self._free = self._acceptance.free(graph.directed)
        self._ahead: tuple[int, int, Future[float]] | None = None
        self._began = self._committed = self._told = time.monotonic()
        self._steps = self._round = self._span = 0
        self._done = -1

    def run(self) -> Outcome:
        try:
            # Leaving the pools waits for what is read ahead.
            with self._store.held(), ThreadPoolExecutor(1) as self._io, ThreadPoolExecutor(self._threads) as self._pool:
                self._resume()
                while self._round == 0 or self._waiting():
                    while self._span < self._plan.spans:
                        self._run_span()
                        self._span += 1
                    self._round, self._span, self._done = self._round + 1, 0, -1
                    self._maybe_commit()
                return self._finish()
        finally:
            self._reader.close()

    def _waiting(self) -> bool:
        # Between rounds all wait in pools. Where a round is resumed, the last of them may be in the span's buckets.
        return any(self._store.length(name) for name in self._names)

    def _run_span(self) -> None:
        cut, span = self._plan, self._span
        first, end = cut.first_block[[span, span + 1]].tolist()
        if self._done < first:
            if self._round and not self._store.length(_pool(span)):
                return
            self._load_span(first, end)
            self._done = end - 1
            if self._round == 0:
                self._start(first, end)
            for states in self._store.take(_pool(span), np.uint64, 2 * self._chunk):
                self._move(states.reshape(-1, 2), CURRENT)
            self._maybe_commit()
        else:
            self._load_span(first, end)
        while (block := self._next(self._done)) is not None:
            region = self._bring(block)
            self._done = block
            self._read_ahead(block, region)
            for states in self._store.take(_bucket(block), np.uint64, 2 * self._chunk):
                self._move(states.reshape(-1, 2), region)
            self._maybe_commit()
        self._done = -1

    def _load_span(self, first: int, end: int) -> None:
        self._settle()
        self._reader.load(CURRENT, first, end)

    def _start(self, first: int, end: int) -> None:
        """Begin the walks of the span's vertices."""
        begin, stop = self._plan.first_vertex[[first, end]].tolist()
        if self._starts is not None:
            begin, stop = np.searchsorted(self._starts, [begin, stop]).tolist()
        for turn in range(self._walks_per_vertex):
            for at in range(begin, stop, self._chunk):
                number = np.arange(at, min(at + self._chunk, stop))
                vertices = number if self._starts is None else self._starts[number]
                self._move(kernels.started(turn * self._turn + number, vertices), CURRENT)

    def _next(self, block: int) -> int | None:
        """The next block that walks wait for beside the current span."""
        return next((b for b in range(block + 1, self._plan.blocks) if self._store.length(self._names[b])), None)

    def _bring(self, block: int) -> int:
        """Have a block in memory; returns the region."""
        region = ANCILLARY[0]
        if self._ahead is not None:
            ahead, region, future = self._ahead
            if ahead == block:
                self._ahead = None
                self._loading.loaded_whole(self._bytes(block), future.result())
                return region
            region = _other(region)
        walks = self._store.length(_bucket(block)) // STATE_BYTES
        if self._by_lists(block):
            self._loading.loaded_lists(walks, self._reader.load_lists(region, block, self._active(block)))
        else:
            self._settle()
            self._loading.loaded_whole(self._bytes(block), self._reader.load(region, block, block + 1))
        return region

    def _read_ahead(self, block: int, region: int) -> None:
        following = self._next(block)
        if self._ahead is None and following is not None and not self._by_lists(following):
            free = _other(region)
            self._ahead = following, free, self._io.submit(self._reader.load, free, following, following + 1)

    def _settle(self) -> None:
        """Wait for what is read ahead: the reader does one thing at a time."""
        if self._ahead is not None:
            self._ahead[2].result()

    def _by_lists(self, block: int) -> bool:
        walks = self._store.length(_bucket(block)) // STATE_BYTES
        return not self._graph.weighted and self._loading.by_lists(walks, self._bytes(block))

    def _bytes(self, block: int) -> int:
        edges, vertices = (np.diff(of[block : block + 2])[0] for of in (self._plan.first_edge, self._plan.first_vertex))
        return int(self._graph.entry_bytes * edges + 8 * vertices)

    def _active(self, block: int) -> NDArray[np.int64]:
        """Vertices of a block that its bucket's walks need; the bucket is read and put back."""
        first, end = self._plan.first_vertex[[block, block + 1]].tolist()
        found: NDArray[np.int64] = np.empty(0, np.int64)
        for part in self._store.take(_bucket(block), np.uint64, 2 * self._chunk):
            ends = part[1::2]
            both = np.concatenate([ends >> np.uint64(32), ends & np.uint64(0xFFFFFFFF)]).astype(np.int64)
            found = np.union1d(found, both[(both >= first) & (both < end)])
            self._store.append(_bucket(block), part)
        return found

    def _move(self, states: NDArray[np.uint64], region: int) -> None:
        """Walk on with the span and a region, log the steps, and put each walk where it waits next."""
        states = states.copy()
        ranges = self._reader.ranges[[CURRENT]] if region == CURRENT else self._reader.ranges[[CURRENT, region]]
        while len(states):
            steps, counts, ends = self._advance(states, ranges)
            self._log.add(states, steps, counts)
            self._steps += int(counts.sum())
            full = ends == kernels.FULL
            self._route(states[~full], ends[~full])
            states = states[full]
        if time.monotonic() - self._told > TOLD_SECONDS:
            self._tell()

    def _advance(self, states: NDArray[np.uint64], ranges: NDArray[np.int64]) -> tuple[Any, Any, Any]:
        """Run the kernel on all threads: steps (k, STRIDE), how many of each walk (k,), and how each ended (k,)."""
        memory, rule, accept = self._reader, self._rule, self._acceptance
        steps = np.empty((len(states), kernels.STRIDE), np.uint32)
        counts, ends = np.empty(len(states), np.int64), np.empty(len(states), np.uint8)

        def run(part: slice) -> None:
            kernels.advance(
                *(states[part], steps[part], counts[part], ends[part]),
                *(accept.thresholds, accept.extra, self._graph.directed),
                *(np.uint64(rule.seed), np.uint64(rule.length), ranges),
                *(memory.offsets, memory.neighbours, memory.alias, memory.pages),
            )

        cuts = [len(states) * thread // self._threads for thread in range(self._threads + 1)]
        parts = [slice(a, b) for a, b in pairwise(cuts) if b > a]
        if len(parts) == 1:
            run(parts[0])
        else:
            list(self._pool.map(run, parts))
        return steps, counts, ends

    def _route(self, states: NDArray[np.uint64], ends: NDArray[np.uint8]) -> None:
        cut = self._plan
        codes = np.empty(len(states), np.int32)
        kernels.destinations(
            *(states, ends, cut.first_vertex, cut.span_of, self._span, self._done),
            *(self._rule.first_order, np.uint64(self._rule.seed), self._free, codes),
        )
        ordered, begins = kernels.grouped(states, codes, cut.blocks + cut.spans)
        self._store.append_parts(self._names, ordered, begins)

    def _maybe_commit(self) -> None:
        self._tell()
        if time.monotonic() - self._committed >= self._commit_seconds:
            self._commit()

    def _tell(self) -> None:
        self._told = time.monotonic()
        total = self._rows * self._rule.length
        self._progress(Progress(self._steps, total, self._told - self._began, self._round, self._span))

    def _commit(self) -> None:
        self._log.flush()
        self._store.commit(
            {
                "made_by": self._made_by,
                "blocks": self._plan.first_vertex[self._plan.first_block].tolist() + self._plan.first_vertex.tolist(),
                "per_piece": self._per_piece,
                "at": [self._round, self._span, self._done, self._steps],
            }
        )
        self._committed = time.monotonic()

    def _resume(self) -> None:
        state = self._store.restore()
        if state is None:
            return
        ours, theirs = self._made_by, state["made_by"]
        different = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
        if different:
            raise GraphError(
                f"{self._target}: holds unfinished walks with another {', '.join(different)}; walk with that, "
                "or remove it"
            )
        blocks = self._plan.first_vertex[self._plan.first_block].tolist() + self._plan.first_vertex.tolist()
        if state["blocks"] != blocks or state["per_piece"] != self._per_piece:
            raise GraphError(f"{self._target}: was begun with another memory_budget; resume with that, or remove it")
        self._round, self._span, self._done, self._steps = state["at"]

    def _finish(self) -> Outcome:
        self._commit()
        corpus, early = corpora.write(
            self._target,
            self._store,
            rows=self._rows,
            columns=self._rule.length + 1,
            per_piece=self._per_piece,
            starts=np.arange(self._turn) if self._starts is None else self._starts,
            made_by=self._made_by,
        )
        spilled = {"written": self._store.bytes_written, "read": self._store.bytes_read}
        self._store.remove()
        cut = self._plan
        return Outcome(
            corpus,
            steps=self._steps,
            ended_early=early,
            rounds=self._round,
            seconds=time.monotonic() - self._began,
            traffic=self._reader.traffic.as_dict(),
            spilled=spilled,
            plan={
                "blocks": cut.blocks,
                "spans": cut.spans,
                "block_bytes": cut.block_bytes,
                "span_bytes": cut.span_bytes,
            },
        )


def _bucket(block: int) -> str:
    return f"bucket-{block}"


def _pool(span: int) -> str:
    return f"pool-{span}"


def _other(region: int) -> int:
    return ANCILLARY[1] if region == ANCILLARY[0] else ANCILLARY[0]
