"""The data options that all graph workloads take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.data.graphs import GRAPHS, Graph, load
from tunewright.errors import WorkloadError

DEFAULT_DATASET = "cora"
MAX_THREADS = 1_024

DATA_OPTIONS = {
    "dataset": f"which graph to learn: {', '.join(GRAPHS)}, or file:/path/graph.npz (default {DEFAULT_DATASET})",
    "threads": "processor threads that one trial uses, a whole number (default 1)",
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
    threads = data.get("threads", 1)
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise WorkloadError(f"data.threads: {threads!r} must be a whole number from 1 to {MAX_THREADS}")
    return GraphOptions(graph=load(data.get("dataset", DEFAULT_DATASET)), threads=threads)
