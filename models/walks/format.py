"""A graph on disk: compressed sparse rows in plain files, cut into segments with checksums.

    graph.json       magic, version, counts, the segment table, a checksum of all that
    offsets.bin      (n + 1,) uint64: where each vertex's list begins, in edges
    neighbours.bin   (m,) uint32: the lists, each sorted
    weights.bin      (m,) float32, of weighted graphs
    alias.bin        (m, 2) uint32, of weighted graphs: threshold and other neighbour's position (Walker 1977)
    ids.bin          (n,) int64: the id that each vertex had, where they were numbered anew
    names.txt        the same for names, one a line

A segment is a run of whole lists of about `segment_bytes` of neighbours; a longer list has one of its own. Blocks of
any size are made of consecutive segments, so one graph serves every memory budget.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.walks.errors import GraphError

MAGIC, VERSION = "tunewright-graph", 1
MANIFEST, OFFSETS, NEIGHBOURS, WEIGHTS, ALIAS = (
    "graph.json",
    "offsets.bin",
    "neighbours.bin",
    "weights.bin",
    "alias.bin",
)
IDS, NAMES = "ids.bin", "names.txt"
NO_VERTEX = np.uint32(2**32 - 1)


@dataclass(frozen=True)
class Segments:
    """The segment table; segment i holds vertices first_vertex[i] to first_vertex[i + 1] - 1.

    Attributes:
        first_vertex, first_edge: (s + 1,) int64.
        checksums: (s,) uint32, CRC-32 of the segment's offsets, neighbours and alias entries, in this order.
    """

    first_vertex: NDArray[np.int64]
    first_edge: NDArray[np.int64]
    checksums: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.checksums)


@dataclass(frozen=True)
class Graph:
    """An opened graph; nothing of its lists is in memory.

    Attributes:
        vertices, edges: n and m; an undirected edge counts twice.
        checksum: of the manifest, which holds all other checksums: names the graph's content.
        self_loops, duplicates: edges of the source that were left out, or merged into their equals.
    """

    path: Path
    vertices: int
    edges: int
    directed: bool
    weighted: bool
    segments: Segments
    checksum: int
    self_loops: int = 0
    duplicates: int = 0

    @classmethod
    def open(cls, path: Path | str) -> Graph:
        """Open a graph that `build_graph` wrote.

        Raises:
            GraphError: there is none, it is another program's or version's file, or a part is cut off.
        """
        path = Path(path)
        graph = _from_manifest(path, _read_manifest(path / MANIFEST))
        for name, size in graph.sizes().items():
            file = path / name
            if not file.is_file():
                raise GraphError(f"{file}: is missing; build the graph again")
            if file.stat().st_size != size:
                raise GraphError(
                    f"{file}: has {file.stat().st_size:,} bytes, not {size:,}: cut off or changed; build it again"
                )
        return graph

    @property
    def size(self) -> int:
        """Bytes that a walk may have to read: offsets, neighbours, alias entries."""
        return 8 * (self.vertices + 1) + self.entry_bytes * self.edges

    @property
    def entry_bytes(self) -> int:
        """Bytes per edge that a walk reads."""
        return 12 if self.weighted else 4

    def sizes(self) -> dict[str, int]:
        """File name -> bytes, of the files that every graph of this kind has."""
        found = {OFFSETS: 8 * (self.vertices + 1), NEIGHBOURS: 4 * self.edges}
        return {**found, WEIGHTS: 4 * self.edges, ALIAS: 8 * self.edges} if self.weighted else found

    def load(self) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint32]]:
        """Offsets (n + 1,), neighbours (m,) and alias entries (m, 2) or (0, 2), all in memory and checked.

        Raises:
            GraphError: a checksum is wrong.
        """
        offsets = np.fromfile(self.path / OFFSETS, np.int64)
        neighbours = np.fromfile(self.path / NEIGHBOURS, np.uint32)
        alias = (
            np.fromfile(self.path / ALIAS, np.uint32).reshape(-1, 2) if self.weighted else np.empty((0, 2), np.uint32)
        )
        table = self.segments
        for segment in range(len(table)):
            v = slice(table.first_vertex[segment], table.first_vertex[segment + 1] + 1)
            e = slice(table.first_edge[segment], table.first_edge[segment + 1])
            self.check(segment, offsets[v], neighbours[e], alias[e])
        return offsets, neighbours, alias

    def check(
        self, segment: int, offsets: NDArray[Any], neighbours: NDArray[np.uint32], alias: NDArray[np.uint32]
    ) -> None:
        """Compare a segment's content with its checksum.

        Raises:
            GraphError: they differ.
        """
        if segment_checksum(offsets, neighbours, alias) != self.segments.checksums[segment]:
            first, last = self.segments.first_vertex[segment : segment + 2]
            raise GraphError(
                f"{self.path}: segment {segment} (vertices {first} to {last - 1}) does not have its checksum: the file "
                "is damaged; build the graph again"
            )

    @cached_property
    def ids(self) -> NDArray[np.int64] | list[str] | None:
        """The id that each vertex had in the source; None where they are the vertices' numbers."""
        if (self.path / IDS).exists():
            return np.fromfile(self.path / IDS, np.int64)
        if (self.path / NAMES).exists():
            return (self.path / NAMES).read_text("utf-8").split("\n")[: self.vertices]
        return None


def segment_checksum(offsets: NDArray[Any], neighbours: NDArray[np.uint32], alias: NDArray[np.uint32]) -> int:
    """CRC-32 of a segment; offsets include the end of its last list."""
    found = zlib.crc32(np.ascontiguousarray(offsets).view(np.uint8).data)
    found = zlib.crc32(np.ascontiguousarray(neighbours).view(np.uint8).data, found)
    return zlib.crc32(np.ascontiguousarray(alias).reshape(-1).view(np.uint8).data, found) if len(alias) else found


def write_manifest(graph: Graph, directory: Path) -> None:
    """Write the manifest; the graph is whole once it stands."""
    table = graph.segments
    body: dict[str, Any] = {
        "magic": MAGIC,
        "version": VERSION,
        "vertices": graph.vertices,
        "edges": graph.edges,
        "directed": graph.directed,
        "weighted": graph.weighted,
        "self_loops": graph.self_loops,
        "duplicates": graph.duplicates,
        "first_vertex": table.first_vertex.tolist(),
        "first_edge": table.first_edge.tolist(),
        "checksums": table.checksums.tolist(),
    }
    (directory / MANIFEST).write_text(json.dumps({**body, "checksum": _checksum(body)}) + "\n")


def _checksum(body: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())


def _read_manifest(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise GraphError(f"{file.parent}: holds no graph ({MANIFEST} is missing); make one by `tunewright graph build`")
    try:
        body = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise GraphError(f"{file}: is no graph's manifest or was cut off ({error}); build the graph again") from error
    if not isinstance(body, dict) or body.get("magic") != MAGIC:
        raise GraphError(f"{file}: is not a graph of Tunewright; make one by `tunewright graph build`")
    if body.get("version") != VERSION:
        raise GraphError(f"{file}: has format version {body.get('version')!r}, not {VERSION}; build the graph again")
    if body.pop("checksum", None) != _checksum(body):
        raise GraphError(f"{file}: does not have its checksum: it is damaged; build the graph again")
    return body


def _from_manifest(path: Path, body: dict[str, Any]) -> Graph:
    try:
        table = Segments(
            np.array(body["first_vertex"], np.int64),
            np.array(body["first_edge"], np.int64),
            np.array(body["checksums"], np.uint32),
        )
        counts = {name: int(body[name]) for name in ("vertices", "edges", "self_loops", "duplicates")}
        kind = {name: bool(body[name]) for name in ("directed", "weighted")}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise GraphError(f"{path / MANIFEST}: cannot be understood ({error}); build the graph again") from error
    graph = Graph(path, segments=table, checksum=_checksum(body), **counts, **kind)  # type: ignore[arg-type]
    for found, last in ((table.first_vertex, graph.vertices), (table.first_edge, graph.edges)):
        if len(found) != len(table) + 1 or found[0] != 0 or found[-1] != last or (np.diff(found) < 0).any():
            raise GraphError(f"{path / MANIFEST}: its segment table does not fit; build the graph again")
    return graph
