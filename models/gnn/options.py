"""The data options that all graph workloads take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.data.graphs import GRAPHS, Graph, load
from models.options import THREADS_OPTION, threads

DEFAULT_DATASET = "cora"

DATA_OPTIONS = {
    "dataset": f"which graph to learn: {', '.join(GRAPHS)}, or file:/path/graph.npz (default {DEFAULT_DATASET})",
    "threads": THREADS_OPTION,
}


@dataclass(frozen=True)
class GraphOptions:
    """A study's data options, read and checked."""

    graph: Graph
    threads: int


def read_options(data: Mapping[str, Any]) -> GraphOptions:
    """Check the options and load the graph.

    Raises:
        WorkloadError: an option's value is wrong; names the option.
    """
    return GraphOptions(threads=threads(data), graph=load(data.get("dataset", DEFAULT_DATASET)))
