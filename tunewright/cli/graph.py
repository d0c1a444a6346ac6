"""`tunewright graph`: graphs larger than memory, walks on them, what is made of the walks, and features propagated for
graph learning; needs no service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tunewright.cli import output
from tunewright.cli.problems import Refused
from tunewright.cli.quantities import memory as bytes_of

app = typer.Typer(no_args_is_help=True, help="Random walks on graphs larger than memory; features propagated.")

GraphPath = Annotated[Path, typer.Argument(metavar="GRAPH", help="A graph's directory, from `tunewright graph build`.")]
Memory = Annotated[str, typer.Option(help="What lists and walks may take, such as 256MB.")]
P = Annotated[float, typer.Option("--p", help="Return parameter: below 1, walks go back more often.")]
Q = Annotated[float, typer.Option("--q", help="In-out parameter: below 1, walks go further away.")]
Seed = Annotated[int, typer.Option(help="Of all randomness.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads that walk.")]


@app.command()
def build(
    edges: Annotated[Path, typer.Argument(help="Edges: text, .csv, .npy or .parquet; source, target[, weight].")],
    graph: Annotated[Path, typer.Argument(help="Directory to make.")],
    memory: Memory = "256MB",
    directed: Annotated[bool, typer.Option("--directed", help="Edges lead one way only.")] = False,
    weighted: Annotated[bool, typer.Option("--weighted", help="The third column is the edge's weight.")] = False,
    ids: Annotated[
        str, typer.Option(help="numbers: vertices from 0; relabel: any numbers; names: any words.")
    ] = "numbers",
) -> None:
    """Sort an edge list into a graph on disk, in bounded memory."""
    from models.walks.build import build_graph

    if ids not in ("numbers", "relabel", "names"):
        raise Refused(f'--ids "{ids}": must be numbers, relabel or names')
    with _bar("reading") as show:
        made = build_graph(
            edges,
            graph,
            memory_budget=bytes_of(memory, "--memory"),
            directed=directed,
            weighted=weighted,
            ids=ids,  # type: ignore[arg-type]
            progress=lambda stage, done: show(f"{stage}: {done:,} edges", 0, 0),
        )
    _print_graph(made)


@app.command()
def info(
    graph: GraphPath,
    verify: Annotated[bool, typer.Option("--verify", help="Read everything and compare with its checksums.")] = False,
) -> None:
    """Show what a graph holds, and the least memory that walks on it need."""
    from models.walks.format import Graph

    found = Graph.open(graph)
    if verify:
        found.load()
    _print_graph(found)


@app.command()
def walk(
    graph: GraphPath,
    walks: Annotated[
        Path, typer.Argument(metavar="WALKS", help="Directory to write the walks to; resumed if unfinished.")
    ],
    p: P = 1.0,
    q: Q = 1.0,
    length: Annotated[int, typer.Option(help="Steps of a walk.")] = 80,
    per_vertex: Annotated[int, typer.Option(help="Walks from every vertex.")] = 1,
    memory: Memory = "256MB",
    threads: Threads = 1,
    seed: Seed = 0,
) -> None:
    """Walk from every vertex; the same arguments after an interruption resume, and any memory gives the same walks."""
    from models.walks.engine import walk as run
    from models.walks.format import Graph
    from models.walks.rule import Rule

    budget = bytes_of(memory, "--memory")
    with _bar("walking") as show:
        outcome = run(
            Graph.open(graph),
            walks,
            Rule(p, q, length, seed),
            walks_per_vertex=per_vertex,
            memory_budget=budget,
            threads=threads,
            progress=lambda at: show(f"round {at.round + 1}", at.steps, at.total),
        )
    _print_outcome(outcome)


@app.command()
def pagerank(
    graph: GraphPath,
    queries: Annotated[list[int], typer.Argument(metavar="VERTEX...", help="Vertices to ask about.")],
    p: P = 0.5,
    q: Q = 2.0,
    decay: Annotated[float, typer.Option(help="Probability that a walk goes on.")] = 0.85,
    walks: Annotated[int, typer.Option(help="Walks per vertex asked about.")] = 10_000,
    top: Annotated[int, typer.Option(help="Lines per vertex asked about.")] = 10,
    memory: Memory = "256MB",
    threads: Threads = 1,
    seed: Seed = 0,
) -> None:
    """Second-order PageRank: which vertices are closest to those asked about."""
    from models.walks.format import Graph
    from models.walks.pagerank import pagerank2

    budget = bytes_of(memory, "--memory")
    with _bar("walking") as show:
        answers, _ = pagerank2(
            Graph.open(graph),
            queries,
            p=p,
            q=q,
            decay=decay,
            walks=walks,
            seed=seed,
            memory_budget=budget,
            threads=threads,
            progress=lambda at: show(f"round {at.round + 1}", at.steps, at.total),
        )
    rows = [
        (str(answer.query), str(vertex), f"{score:.6f}", f"{error:.6f}")
        for answer in answers
        for vertex, score, error in list(zip(answer.vertices, answer.scores, answer.errors, strict=True))[:top]
    ]
    output.table(("Query", "Vertex", "Score", "Error"), rows, right=("Query", "Vertex", "Score", "Error"))


@app.command()
def embed(
    graph: GraphPath,
    walks: Annotated[Path, typer.Argument(metavar="WALKS", help="Finished walks, from `tunewright graph walk`.")],
    vectors: Annotated[Path, typer.Argument(metavar="VECTORS", help="File to write: .npy, a float32 row per vertex.")],
    dimensions: Annotated[int, typer.Option(help="Numbers per vertex, a multiple of 8.")] = 64,
    window: Annotated[int, typer.Option(min=1, help="How far contexts reach.")] = 5,
    negatives: Annotated[int, typer.Option(min=1, help="Negative samples per pair.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Times that all walks are learnt.")] = 1,
    rate: Annotated[float, typer.Option(min=1e-6, max=1.0, help="Step size; falls to a hundredth of it.")] = 0.025,
    seed: Seed = 0,
) -> None:
    """Learn vertex vectors from walks: skip-gram with negative sampling (node2vec)."""
    from models.walks.embed import embed as run

    with _bar("learning") as show:
        run(
            graph,
            walks,
            vectors,
            dimensions=dimensions,
            window=window,
            negatives=negatives,
            epochs=epochs,
            rate=rate,
            seed=seed,
            progress=lambda done, total: show("walks", done, total),
        )
    output.fields([("vectors", str(vectors))])


@app.command()
def propagate(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="As in a study's data.dataset, such as file:/path/folder.")
    ],
    operator: Annotated[str, typer.Option(help="As in the space of gnn.sgap, such as symmetric or ppr_0.1.")],
    steps: Annotated[int, typer.Option(min=1, help="How many times.")] = 3,
    memory: Annotated[str, typer.Option(help="What features may take, on each worker of a cluster.")] = "4GB",
    threads: Annotated[int, typer.Option(min=1, help="Processor threads, of each worker of a cluster.")] = 1,
    ray_address: Annotated[
        str | None, typer.Option(envvar="TUNEWRIGHT_RAY_ADDRESS", help="A running Ray cluster to do it on.")
    ] = None,
    parts: Annotated[
        int | None, typer.Option(min=1, help="Workers that share the graph on a cluster; one per node by default.")
    ] = None,
) -> None:
    """Propagate a graph's features into the cache, where trials of gnn.sgap look first."""
    from models.data.graphs import load
    from models.gnn.cache import directory, propagated
    from models.gnn.designs import OPERATORS

    if operator not in OPERATORS:
        raise Refused(f'--operator "{operator}": must be one of {", ".join(OPERATORS)}')
    if parts is not None and ray_address is None:
        raise Refused("--parts: a graph is shared out on a cluster only; give --ray-address too")
    budget = bytes_of(memory, "--memory")
    graph, chosen = load(dataset), OPERATORS[operator]
    if ray_address is None:
        from models.gnn._kernels import threads_at_most

        threads_at_most(threads)
        propagated(graph, chosen, steps, memory=budget)
    else:
        from workers.propagation import Workers, joined

        with joined(ray_address) as nodes, _bar("propagating") as show:
            workers = Workers(parts or nodes, threads, budget, lambda done, total: show("steps", done, total))
            propagated(graph, chosen, steps, make=workers)
    shape = " x ".join(str(size) for size in graph.features.shape)
    output.fields([("features", f"{shape}, {steps} steps"), ("cache", str(directory(graph, chosen)))])


def _print_graph(graph: Any) -> None:
    from models.walks.partition import minimum_budget

    output.fields(
        [
            ("vertices", f"{graph.vertices}"),
            ("edges", f"{graph.edges if graph.directed else graph.edges // 2}"),
            ("directed", "yes" if graph.directed else "no"),
            ("weighted", "yes" if graph.weighted else "no"),
            ("left out", f"{graph.self_loops} self loops, {graph.duplicates} duplicates"),
            ("bytes", f"{graph.size}"),
            ("least memory", f"{minimum_budget(graph)}"),
        ]
    )


def _print_outcome(outcome: Any) -> None:
    output.fields(
        [
            ("walks", f"{outcome.corpus.rows} in {len(outcome.corpus.shards)} files"),
            ("steps", f"{outcome.steps}"),
            ("ended early", f"{outcome.ended_early}"),
            ("seconds", f"{outcome.seconds:.1f}"),
            ("graph read", f"{outcome.traffic['bytes_read']} bytes in {outcome.traffic['reads']} reads"),
            ("walks spilled", f"{outcome.spilled['written']} bytes"),
        ]
    )


@contextmanager
def _bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar with the time left, on stderr where that is a terminal; show it what is done, how much, and of how much."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda text, done, total: bar.update(
            task, description=f"{title} {text}", completed=done, total=total or None
        )
