"""PaSca: accuracy and speed of its designs, the search of its space, and the propagation beneath.

    python -m benchmarks.pasca [--part accuracy|search|scale|propagation|workers] [--quick] [--json FILE]

accuracy     V1 to V3 and eight baselines on Cora (a drawn split), Citeseer and Pubmed (the public split), 10 seeds
search       multi-objective Bayesian optimisation (expected hypervolume improvement over Gaussian processes) of the
             whole space, against random search and NSGA-II with the same trials
scale        V3 and JK-Net on an RMAT graph of 10^6 nodes and 10^7 edges, up to one accuracy
propagation  the sparse product beside scipy, torch and a copy of memory; 10^8 edges with features on disk
workers      propagation shared out to two and four Ray workers on this machine, beside one thread

The accuracy part takes more than 17 minutes of processor time, each other about ten, all of --quick two. Times are the
processor's, except those of workers, on one thread unless NUMBA_NUM_THREADS says more. Data sets that cannot be fetched
end the part with a message.

v3_minus_jknet_points         mean test accuracy over the data sets, difference in points
gcn_*_minus_literature        points above the figures of Kipf and Welling on the same split
hypervolume_ratio_vs_*        dominated volume of ours by theirs, geometric mean of the seeds
front_dominates_named         how many of V1 to V3 a found configuration dominates, median of the seeds
speedup_v3_vs_jknet           processor time to one validation accuracy, V3's propagation included
propagation_*                 GB/s at 64 features
workers_speedup               seconds of a step on one thread by those on two workers of one thread

low and high of a figure are its 95% interval over the seeds, by Student's t.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from benchmarks import _pasca_accuracy, _pasca_propagation, _pasca_scale, _pasca_search, _pasca_workers
from benchmarks._harness import Cell, Result, arguments, publish
from models.data.graphs import load, sbm

NAME = "pasca"

Found = tuple[list[dict[str, Cell]], dict[str, float]]


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        methods: of the accuracy part; None: all.
        search_graph: what is learned while searching.
        scale: nodes, edges, and seconds for JK-Net.
        product, mapped: nodes and edges of the propagation's graphs.
        workers, repeats: how many share a graph, and how often each number is timed.
    """

    seeds: int
    epochs: int
    methods: Sequence[str] | None
    cora_splits: int
    trials: int
    search_seeds: int
    search_epochs: int
    real_search: bool
    scale: tuple[int, int, float]
    product: tuple[int, int]
    mapped: tuple[int, int]
    workers: Sequence[int]
    repeats: int


FULL = Scale(10, 200, None, 10, 40, 5, 30, True, (10**6, 10**7, 240.0), (10**6, 10**7), (4 * 10**6, 10**8), (2, 4), 5)
QUICK = Scale(
    *(1, 100, ("gcn", "jknet", "v3"), 2),
    *(24, 3, 15, False),
    *((60_000, 600_000, 10.0), (200_000, 2_000_000), (500_000, 10**7)),
    *((2,), 1),
)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--part", choices=list(PARTS))
    own, rest = parser.parse_known_args(argv)
    asked = arguments(NAME, "PaSca's designs, the search of its space, and propagation.", rest)
    result = Result(NAME, asked.command + (f" --part {own.part}" if own.part else ""))
    for name, part in PARTS.items():
        if own.part in (None, name):
            rows, headline = part(scale or (QUICK if asked.quick else FULL))
            result.rows += rows
            result.headline |= headline
    publish(result, asked.json)


def _accuracy(scale: Scale) -> Found:
    methods = scale.methods or list(_pasca_accuracy.METHODS)
    rows, headline = _pasca_accuracy.compare(methods, scale.seeds, scale.epochs)
    return [*rows, _pasca_accuracy.cora_spread(scale.cora_splits, scale.epochs)], headline


def _search(scale: Scale) -> Found:
    graph = load("cora") if scale.real_search else sbm(1500, 5, 6.0, features=48, noise=3.0, seed=1)
    return _pasca_search.compare(graph, scale.trials, scale.search_epochs, scale.search_seeds)


def _scale(scale: Scale) -> Found:
    return _pasca_scale.compare(*scale.scale)


def _propagation(scale: Scale) -> Found:
    rows = _pasca_propagation.speeds(*scale.product, threads=int(os.environ.get("NUMBA_NUM_THREADS", 1)))
    headline = {
        f"propagation_{name}_gb_per_second": float(row[f"{name} GB/s"] or 0)
        for row in rows
        if row["features"] == _HEADLINE_FEATURES
        for name in ("ours", "scipy", "torch", "copy")
    }
    mapped = _pasca_propagation.out_of_core(*scale.mapped, features=16, steps=2)
    headline["out_of_core_million_edges_per_second"] = float(
        float(mapped["edges"] or 0) * float(mapped["steps"] or 0) / float(mapped["propagate s"] or 1) / 1e6
    )
    return [*rows, mapped], headline


def _workers(scale: Scale) -> Found:
    # Ray reads its token once in a process, and this one may have had another cluster.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        rows = pool.submit(_pasca_workers.compare, *scale.product, counts=scale.workers, repeats=scale.repeats).result()
    return rows, {"workers_speedup": float(rows[1]["speed-up of a step"] or 0)}


_HEADLINE_FEATURES = 64
PARTS: Mapping[str, Callable[[Scale], Found]] = {
    "accuracy": _accuracy,
    "search": _search,
    "scale": _scale,
    "propagation": _propagation,
    "workers": _workers,
}


if __name__ == "__main__":
    main()
