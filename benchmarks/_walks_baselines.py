"""Disk-based engines of other designs, on the same files, sampler and budget as ours, so that they give the same walks.

sogw     one block in memory, the one with most walks next (GraphWalker's schedule); the previous vertex's list is read
         from disk whenever a step needs it and the block does not hold it ("light vertex I/O", as GraSorw calls SOGW)
sgsc     the same with half of the memory for the lists of the vertices of highest degree
buckets  two blocks of equal size, every ordered pair of them in turn, nothing read ahead
mmap     the files mapped, page by page as they are touched; pages are dropped whenever they exceed the budget

Each is given more than its due: the offsets in memory for nothing (sogw, sgsc, mmap), steps without the previous list
where the random number alone decides, and both blocks to walk in (buckets). The first two and mmap may be stopped after
some seconds; their time for all walks is then the measured time over the share of steps done.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.walks import kernels
from models.walks.corpus import StepLog
from models.walks.format import NEIGHBOURS, OFFSETS, Graph
from models.walks.partition import MIN_WALK_BYTES, PAGE, SPAN_SHARE, Plan, plan
from models.walks.reader import ANCILLARY, CURRENT, DirectFile, GraphReader, Traffic
from models.walks.rule import Rule
from models.walks.store import AppendStore

CHUNK = 4_096
LISTS_ROOM = 0.76


@dataclass
class Measured:
    """What an engine took.

    Attributes:
        seconds: wall time for all walks; of a stopped run, scaled up.
        share: of all steps that were taken before it was stopped.
        bytes_read, loads, reads: of the graph, in that time (not scaled).
    """

    seconds: float
    share: float
    bytes_read: int
    loads: int
    reads: int
    read_seconds: float


@dataclass(frozen=True)
class Task:
    """What every engine is to do.

    Attributes:
        seconds: after so many, engines that walk one by one stop.
        steps: of all walks, less what dead ends leave out; known from a run to the end.
    """

    graph: Graph
    rule: Rule
    memory: int
    work: Path
    seconds: float
    steps: int


def blocks_of(graph: Graph, block_bytes: float, spans: bool) -> Plan:
    """Blocks of equal size; with `spans`, as spans of one block each."""
    table = graph.segments
    sizes = 8 * np.diff(table.first_vertex) + graph.entry_bytes * np.diff(table.first_edge)
    firsts, total = [0], 0
    for i, size in enumerate(sizes.tolist()):
        if total and total + size > block_bytes:
            firsts.append(i)
            total = 0
        total += size
    first = np.array([*firsts, len(sizes)])
    one_each = np.arange(len(first)) if spans else np.array([0, len(first) - 1])
    return Plan(
        *(table.first_vertex[first], table.first_edge[first], first, one_each, np.arange(len(first) - 1)),
        *(int(block_bytes), int(block_bytes), MIN_WALK_BYTES, MIN_WALK_BYTES),
    )


class _Walker:
    """What the engines share: walks by block, and moving some of them on with what is in memory."""

    def __init__(self, task: Task, cut: Plan) -> None:
        self.task, self.cut = task, cut
        self.reader = GraphReader(task.graph, cut)
        self.store = AppendStore(task.work, int(task.memory * (1 - LISTS_ROOM) / 2))
        self.accept = task.rule.acceptance(weighted=False)
        self.steps = 0
        room = int(task.memory * (1 - LISTS_ROOM) / 8)
        self.log = StepLog(AppendStore(task.work / "log", room), task.graph.vertices, 1, room)

    def start(self, block: int) -> None:
        first, end = self.cut.first_vertex[[block, block + 1]].tolist()
        self.store.append(f"pool-{block}", kernels.started(np.arange(first, end), np.arange(first, end)))

    def waiting(self, name: str) -> int:
        return self.store.length(name) // 16

    def taken(self, name: str) -> Any:
        for states in self.store.take(name, np.uint64, 2 * CHUNK):
            yield states.reshape(-1, 2).copy()

    def move(self, states: NDArray[np.uint64], ranges: NDArray[np.int64], memory: Any) -> NDArray[np.uint64]:
        """Move walks on; returns those that are not finished, where they are blocked."""
        blocked = []
        while len(states):
            steps, counts = np.empty((len(states), kernels.STRIDE), np.uint32), np.empty(len(states), np.int64)
            ends = np.empty(len(states), np.uint8)
            rule = self.task.rule
            kernels.advance(
                *(states, steps, counts, ends, self.accept.thresholds, self.accept.extra, False),
                *(np.uint64(rule.seed), np.uint64(rule.length), ranges, *memory),
            )
            self.log.add(states, steps, counts)
            self.steps += int(counts.sum())
            blocked.append(states[ends == kernels.BLOCKED])
            states = states[ends == kernels.FULL]
        return np.concatenate(blocked) if blocked else states

    def block_of(self, vertices: NDArray[np.uint64]) -> NDArray[np.int64]:
        return np.searchsorted(self.cut.first_vertex, vertices.astype(np.int64), side="right") - 1

    def put(self, states: NDArray[np.uint64], name: Callable[[int], str], blocks: NDArray[np.int64]) -> None:
        order = np.argsort(blocks, kind="stable")
        firsts = np.searchsorted(blocks[order], np.arange(self.cut.blocks + 1))
        self.store.append_parts([name(block) for block in range(self.cut.blocks)], states[order], firsts)

    def measured(self, began: float) -> Measured:
        self.log.flush()
        share, traffic = self.steps / self.task.steps, self.reader.traffic
        seconds = (time.perf_counter() - began) / share
        self.reader.close()
        return Measured(seconds, share, traffic.bytes_read, traffic.loads, traffic.reads, traffic.seconds / share)


def current(states: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return states[:, 1] & np.uint64(0xFFFFFFFF)


def previous(states: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return states[:, 1] >> np.uint64(32)


def _pool(block: int) -> str:
    return f"pool-{block}"


def _bucket(block: int) -> str:
    return f"bucket-{block}"


def buckets(task: Task) -> Measured:
    """Plain buckets: pools by the current vertex's block, ancillary blocks 0 .. B - 1 for each."""
    walker = _Walker(task, blocks_of(task.graph, LISTS_ROOM / 2 * task.memory - 4 * PAGE, spans=True))
    cut, reader = walker.cut, walker.reader
    memory = (reader.offsets, reader.neighbours, reader.alias, reader.pages)
    began, first_round = time.perf_counter(), True
    while first_round or any(walker.waiting(_pool(b)) for b in range(cut.blocks)):
        for block in range(cut.blocks):
            if first_round:
                walker.start(block)
            if not walker.waiting(_pool(block)):
                continue
            reader.load(CURRENT, block, block + 1)
            for states in walker.taken(_pool(block)):
                _sort_in(walker, walker.move(states, reader.ranges[[CURRENT]], memory), block, after=-1)
            for other in range(cut.blocks):
                if not walker.waiting(_bucket(other)):
                    continue
                reader.load(ANCILLARY[0], other, other + 1)
                for states in walker.taken(_bucket(other)):
                    left = walker.move(states, reader.ranges[[CURRENT, ANCILLARY[0]]], memory)
                    _sort_in(walker, left, block, after=other)
        first_round = False
    return walker.measured(began)


def _sort_in(walker: _Walker, states: NDArray[np.uint64], block: int, after: int) -> None:
    here, back = walker.block_of(current(states)), walker.block_of(previous(states))
    now = (here == block) & (back > after) & (back != block)
    walker.put(states[now], _bucket, back[now])
    walker.put(states[~now], _pool, here[~now])


def sogw(task: Task, cached_share: float = 0.0) -> Measured:
    """One block, and the previous vertex's list from disk when it is needed and neither there nor cached."""
    room = LISTS_ROOM * task.memory
    walker = _Walker(task, blocks_of(task.graph, room * (1 - cached_share) - 4 * PAGE, spans=True))
    cut, reader = walker.cut, walker.reader
    lists = _Lists(task.graph, reader.traffic, int(room * cached_share))
    memory = (reader.offsets, reader.neighbours, reader.alias, reader.pages)
    for block in range(cut.blocks):
        walker.start(block)
    began = time.perf_counter()
    while (block := max(range(cut.blocks), key=lambda b: walker.waiting(_pool(b)))) >= 0 and walker.waiting(
        _pool(block)
    ):
        reader.load(CURRENT, block, block + 1)
        for chunk in walker.taken(_pool(block)):
            states = walker.move(chunk, reader.ranges[[CURRENT]], memory)
            here = walker.block_of(current(states))
            inside = states[here == block]
            walker.put(states[here != block], _pool, here[here != block])
            for i in range(len(inside)):
                one = inside[i : i + 1].copy()
                while len(one) and walker.block_of(current(one))[0] == block:
                    one = _with_list(walker, one, lists)
                walker.put(one, _pool, walker.block_of(current(one)))
                if time.perf_counter() - began > task.seconds:
                    return walker.measured(began)
    return walker.measured(began)


def sgsc(task: Task) -> Measured:
    """The same with half of the memory as a static cache."""
    return sogw(task, cached_share=0.5)


class _Lists:
    """Single lists, from a cache of the longest or from disk."""

    def __init__(self, graph: Graph, traffic: Traffic, cache_bytes: int) -> None:
        self.offsets = np.fromfile(graph.path / OFFSETS, np.int64)
        self._file, self._traffic = DirectFile(graph.path / NEIGHBOURS, traffic), traffic
        degrees = np.diff(self.offsets)
        longest = np.argsort(degrees)[::-1]
        cached = longest[np.cumsum(4 * degrees[longest]) <= cache_bytes]
        self._cached = {int(v): self._read(int(v)).copy() for v in cached}
        self._memory = memoryview(mmap.mmap(-1, int(4 * degrees.max()) + 3 * PAGE))

    def get(self, vertex: int) -> NDArray[np.uint32]:
        found = self._cached.get(vertex)
        return self._read(vertex) if found is None else found

    def _read(self, vertex: int) -> NDArray[np.uint32]:
        began = time.perf_counter()
        start, end = (4 * self.offsets[vertex : vertex + 2]).tolist()
        first, pages = start // PAGE, (end - 1) // PAGE + 1 - start // PAGE
        memory = self._memory if hasattr(self, "_memory") else memoryview(mmap.mmap(-1, pages * PAGE))
        self._file.read(memory[: pages * PAGE], first)
        self._traffic.seconds += time.perf_counter() - began
        return np.frombuffer(memory, np.uint32)[start // 4 - first * PAGE // 4 : end // 4 - first * PAGE // 4]


def _with_list(walker: _Walker, one: NDArray[np.uint64], lists: _Lists) -> NDArray[np.uint64]:
    """Move one walk on with the block and its previous vertex's list, put where an ancillary block would be."""
    reader, vertex = walker.reader, int(previous(one)[0])
    found = lists.get(vertex)
    base = int(reader._neighbours.first_page[ANCILLARY[0]]) * 1024
    at = int(reader._offsets.first_page[ANCILLARY[0]]) * 512
    reader.neighbours[base : base + len(found)] = found
    reader.offsets[at : at + 2] = 0, len(found)
    reader.ranges[ANCILLARY[0]] = vertex, vertex + 1, at - vertex, base, 0, 0
    memory = (reader.offsets, reader.neighbours, reader.alias, reader.pages)
    return walker.move(one, reader.ranges[[CURRENT, ANCILLARY[0]]], memory)


def mapped(task: Task) -> Measured:
    """The files mapped; walks one after another, in the order of their start."""
    graph = task.graph
    walker = _Walker(task, plan(graph, max(task.memory, int(graph.size / SPAN_SHARE) * 2)))
    began, traffic = time.perf_counter(), walker.reader.traffic
    walker.reader.load(CURRENT, 0, 1)
    walker.reader.traffic = Traffic()
    file = os.open(graph.path / NEIGHBOURS, os.O_RDONLY)
    area = mmap.mmap(file, 0, prot=mmap.PROT_READ)
    area.madvise(mmap.MADV_RANDOM)
    neighbours = np.frombuffer(area, np.uint32)
    ranges = walker.reader.ranges[[CURRENT]].copy()
    ranges[0, 3] = 0
    memory = (walker.reader.offsets, neighbours, walker.reader.alias, walker.reader.pages)
    del traffic
    drop = _dropper(area, file)
    drop()
    began = time.perf_counter()
    budget_pages, faults = int(LISTS_ROOM * task.memory) // PAGE, 0
    for vertex in range(0, graph.vertices, 16):
        these = np.arange(vertex, min(vertex + 16, graph.vertices))
        walker.move(kernels.started(these, these), ranges, memory)
        if (resident := _resident(neighbours)) > budget_pages:
            faults += resident
            drop()
        if time.perf_counter() - began > task.seconds:
            break
    faults += _resident(neighbours)
    walker.reader.traffic.bytes_read, walker.reader.traffic.reads = faults * PAGE, faults
    found = walker.measured(began)
    os.close(file)
    return found


def _dropper(area: mmap.mmap, file: int) -> Callable[[], None]:
    def drop() -> None:
        area.madvise(mmap.MADV_DONTNEED)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)

    return drop


def _resident(array: NDArray[Any]) -> int:
    """Pages of a mapping that are in memory (mincore)."""
    libc = ctypes.CDLL(None, use_errno=True)
    pages = -(-array.nbytes // PAGE)
    found = np.zeros(pages, np.uint8)
    libc.mincore(ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes), ctypes.c_void_p(found.ctypes.data))
    return int(np.count_nonzero(found & 1))
