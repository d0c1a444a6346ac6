"""The compiled inner loop of walks over what is in memory of a graph.

A walk's state is 128 bits, two uint64: walk << 16 | hop, and previous << 32 | current. What is in memory is described
by ranges: rows of (first vertex, end vertex, offsets shift, edge shift, alias shift, sparse), where vertex v's list is
neighbours[e + edge shift], e from offsets[v + offsets shift]. Of a sparse range only the lists whose pages are marked
are there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.compiled import kernel
from models.walks.randomness import draw, mix, walk_key

# Most steps that one call writes for one walk.
STRIDE = 16
PAGE_ENTRIES = 1024
FINISHED, BLOCKED, FULL = 0, 1, 2

_HOP = np.uint64(0xFFFF)
_LOW = np.uint64(0xFFFFFFFF)
_16, _32 = np.uint64(16), np.uint64(32)
_PER_32 = 1.0 / 4294967296.0
_OTHER = np.uint64(0xD6E8FEB86659FD93)


@kernel()
def find(vertex: Any, ranges: Any, offsets: Any, pages: Any) -> Any:
    """Range, place and length of a vertex's list; range -1 if it is not in memory."""
    for r in range(len(ranges)):
        if vertex >= ranges[r, 0] and vertex < ranges[r, 1]:
            at = vertex + ranges[r, 2]
            start = offsets[at] + ranges[r, 3]
            degree = offsets[at + 1] - offsets[at]
            if ranges[r, 5] != 0 and degree > 0:
                for page in range(start // PAGE_ENTRIES, (start + degree - 1) // PAGE_ENTRIES + 1):
                    if pages[page] == 0:
                        return -1, start, degree
            return r, start, degree
    return -1, np.int64(0), np.int64(0)


@kernel()
def contains(neighbours: Any, start: Any, degree: Any, vertex: Any) -> Any:
    """Whether a sorted list holds a vertex."""
    low = start
    while degree > 1:
        half = degree >> 1
        low += half if neighbours[low + half] <= vertex else 0
        degree -= half
    return degree == 1 and neighbours[low] == vertex


@kernel()
def advance(
    states: Any,
    steps: Any,
    counts: Any,
    ends: Any,
    rule: Any,
    extra: Any,
    directed: Any,
    seed: Any,
    length: Any,
    ranges: Any,
    offsets: Any,
    neighbours: Any,
    alias: Any,
    pages: Any,
) -> Any:
    """Move each walk on as far as memory goes.

    Args:
        states: (k, 2) uint64, changed in place.
        steps: (k, STRIDE) uint32 and counts (k,): vertices reached and how many.
        ends: (k,) uint8: FINISHED, BLOCKED (a list is missing) or FULL (more steps can be taken at once).
        rule, extra: see `rule.Acceptance`; `ranges`, `offsets`, `neighbours`, `alias`, `pages`: what is in memory.
    """
    low, high = min(rule[1], rule[2]), max(rule[1], rule[2])
    lowest = min(low, rule[0])
    for i in range(len(states)):
        walk, hop = states[i, 0] >> _16, states[i, 0] & _HOP
        previous, current = np.int64(states[i, 1] >> _32), np.int64(states[i, 1] & _LOW)
        key = walk_key(seed, walk)
        here, start, degree = find(current, ranges, offsets, pages)
        known, before, before_degree = False, np.int64(0), np.int64(0)
        count, end = 0, FINISHED
        while hop < length:
            if here < 0:
                end = BLOCKED
                break
            if degree == 0:
                break
            if count == STRIDE:
                end = FULL
                break
            base = hop << _32
            if rule[3] <= _LOW and (draw(key, base | _LOW) & _LOW) >= rule[3]:
                hop = np.uint64(length)
                break
            trial, blocked, x = np.uint64(0), False, np.int64(0)
            while True:
                random = draw(key, base + trial)
                trial += np.uint64(1)
                place = np.int64(np.float64(np.int64(random >> _32)) * _PER_32 * (degree + (extra if hop > 0 else 0.0)))
                if place >= degree:
                    if directed and not contains(neighbours, start, degree, previous):
                        continue
                    x = previous
                    break
                if len(alias) > 0:
                    entry = start - ranges[here, 3] + ranges[here, 4] + place
                    threshold = alias[entry, 0]
                    if threshold != _LOW and (mix(random ^ _OTHER) >> _32) >= threshold:
                        place = np.int64(alias[entry, 1])
                x = np.int64(neighbours[start + place])
                share = random & _LOW
                if hop == 0 or share < lowest or degree == 1:
                    break
                if x == previous:
                    if share < rule[0]:
                        break
                    continue
                if share < low:
                    break
                if share >= high:
                    continue
                if not known:
                    found, before, before_degree = find(previous, ranges, offsets, pages)
                    if found < 0:
                        blocked = True
                        break
                    known = True
                if share < (rule[1] if contains(neighbours, before, before_degree, x) else rule[2]):
                    break
            if blocked:
                end = BLOCKED
                break
            steps[i, count] = x
            count += 1
            hop += np.uint64(1)
            before, before_degree, known = start, degree, True
            previous, current = current, x
            here, start, degree = find(current, ranges, offsets, pages)
        states[i, 0] = (walk << _16) | hop
        states[i, 1] = (np.uint64(previous) << _32) | np.uint64(current)
        counts[i], ends[i] = count, end


@kernel()
def destinations(
    states: Any,
    ends: Any,
    first_vertex: Any,
    span_of: Any,
    span: Any,
    done: Any,
    first_order: Any,
    seed: Any,
    free: Any,
    codes: Any,
) -> Any:
    """Where each walk waits next (triangular schedule, sections 4.2 and 4.3).

    A walk whose next number alone decides its step needs the list of its current vertex only. Any span that this list's
    block is still to be streamed past will do for it, in place of the one span that holds the lower of two lists.

    Args:
        first_vertex: (b + 1,) of blocks; span_of: (b,) the span of each block.
        span, done: the current span, and the last block that has met it in this round.
        first_order: whether no step needs the vertex before; blocks are then not streamed at all.
        free: numbers below this decide a step alone.
        codes: (k,) int32, filled: -1 finished; a block: the current span's bucket for it; b + s: span s's pool.
    """
    blocks = len(span_of)
    for i in range(len(states)):
        if ends[i] == FINISHED:
            codes[i] = -1
            continue
        there = np.searchsorted(first_vertex, np.int64(states[i, 1] & _LOW), side="right") - 1
        if first_order:
            codes[i] = blocks + span_of[there]
            continue
        number = draw(walk_key(seed, states[i, 0] >> _16), (states[i, 0] & _HOP) << _32)
        if number & _LOW < free:
            if there > done:
                codes[i] = there
            else:
                codes[i] = blocks + (span + 1 if span_of[there] > span else 0)
            continue
        back = np.searchsorted(first_vertex, np.int64(states[i, 1] >> _32), side="right") - 1
        lower, upper = min(there, back), max(there, back)
        if span_of[lower] == span and upper > done and span_of[upper] != span:
            codes[i] = upper
        else:
            codes[i] = blocks + span_of[lower]


@kernel()
def grouped(states: Any, codes: Any, groups: Any) -> Any:
    """States ordered by their code, finished ones left out, and where each group begins (groups + 1,)."""
    begins = np.zeros(groups + 1, np.int64)
    for code in codes:
        if code >= 0:
            begins[code + 1] += 1
    for group in range(groups):
        begins[group + 1] += begins[group]
    at = begins[:-1].copy()
    ordered = np.empty((begins[groups], 2), np.uint64)
    for i in range(len(codes)):
        if codes[i] >= 0:
            ordered[at[codes[i]], 0] = states[i, 0]
            ordered[at[codes[i]], 1] = states[i, 1]
            at[codes[i]] += 1
    return ordered, begins


@kernel()
def noted(states: Any, steps: Any, counts: Any, first: Any, rows: Any, notes: Any, used: Any) -> Any:
    """Note the steps of walks `first` and behind, as many as fit: piece, row in the piece, how many steps, the steps.

    Args:
        states: (k, 2) after the steps; steps, counts: of `advance`.
        rows: walks per piece.
        notes: (w,) uint32, `used` of them full; filled on.
    Returns:
        The first walk that does not fit, k if all do, and how much of `notes` is used.
    """
    for i in range(first, len(counts)):
        count = np.int64(counts[i])
        if count == 0:
            continue
        if used + 3 + count > len(notes):
            return i, used
        walk = np.int64(states[i, 0] >> _16)
        notes[used] = walk // rows
        notes[used + 1] = walk % rows
        # A walk that decayed has its hop set to the end; its steps still begin behind those before.
        notes[used + 2] = count
        for j in range(count):
            notes[used + 3 + j] = steps[i, j]
        used += 3 + count
    return len(counts), used


@kernel()
def by_piece(notes: Any, pieces: Any) -> Any:
    """Notes ordered by piece, which is left out: words (w,) uint32, and where each piece's begin (pieces + 1,)."""
    begins = np.zeros(pieces + 1, np.int64)
    at = np.int64(0)
    while at < len(notes):
        count = np.int64(notes[at + 2])
        begins[np.int64(notes[at]) + 1] += 2 + count
        at += 3 + count
    for i in range(pieces):
        begins[i + 1] += begins[i]
    to = begins[:-1].copy()
    words = np.empty(begins[pieces], np.uint32)
    at = np.int64(0)
    while at < len(notes):
        piece, count = np.int64(notes[at]), np.int64(notes[at + 2])
        words[to[piece] : to[piece] + 2 + count] = notes[at + 1 : at + 3 + count]
        to[piece] += 2 + count
        at += 3 + count
    return words, begins


@kernel()
def decode(words: Any, matrix: Any, used: Any) -> Any:
    """Write logged steps behind what each row holds; a row's records come in the order of its walk.

    Args:
        words: whole records of one piece.
        matrix: (rows, length + 1) uint32; used (rows,): how much of each row is filled, kept up to date.
    Returns:
        Whether the records fit: False, and the rest left out, if one is of no row or longer than its row.
    """
    at = np.int64(0)
    while at < len(words):
        row, count = words[at], np.int64(words[at + 1])
        if row >= len(matrix) or used[row] + count > matrix.shape[1]:
            return False
        for j in range(count):
            matrix[row, used[row] + j] = words[at + 2 + j]
        used[row] += count
        at += 2 + count
    return True


@kernel()
def whole_records(words: Any) -> Any:
    """How many words belong to whole records."""
    at = np.int64(0)
    while at + 1 < len(words) and at + 2 + np.int64(words[at + 1]) <= len(words):
        at += 2 + np.int64(words[at + 1])
    return at


@kernel()
def started(walks: Any, vertices: Any) -> Any:
    """States (k, 2) of walks before their first step, at these vertices."""
    states = np.empty((len(walks), 2), np.uint64)
    for i in range(len(walks)):
        vertex = np.uint64(vertices[i])
        states[i, 0] = np.uint64(walks[i]) << _16
        states[i, 1] = (vertex << _32) | vertex
    return states
