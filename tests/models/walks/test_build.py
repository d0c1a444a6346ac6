"""Edge lists become graphs in bounded memory, and bad ones are refused with the line that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.walks.build import MIN_MEMORY, build_graph
from models.walks.errors import GraphError
from models.walks.format import Graph


def lists(graph: Graph) -> list[list[int]]:
    offsets, neighbours, _ = graph.load()
    return [neighbours[offsets[v] : offsets[v + 1]].tolist() for v in range(graph.vertices)]


def expected(edges: np.ndarray, n: int, directed: bool) -> list[list[int]]:
    found: list[set[int]] = [set() for _ in range(n)]
    for a, b in edges.tolist():
        if a != b:
            found[a].add(b)
            if not directed:
                found[b].add(a)
    return [sorted(each) for each in found]


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("kind", ["array", "text", "csv", "npy", "parquet", "pieces"])
def test_lists_are_sorted_distinct_and_without_self_loops(tmp_path: Path, kind: str, directed: bool) -> None:
    edges = np.random.default_rng(1).integers(0, 50, (400, 2))
    source: object = edges
    if kind == "text":
        source = tmp_path / "edges.txt"
        source.write_text("# a comment\n\n" + "".join(f"{a}\t{b}  \r\n" for a, b in edges))
    elif kind == "csv":
        source = tmp_path / "edges.csv"
        source.write_text("from,to\n" + "".join(f"{a}, {b}\n" for a, b in edges).rstrip())
    elif kind == "npy":
        source = tmp_path / "edges.npy"
        np.save(source, edges)
    elif kind == "parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        source = tmp_path / "edges.parquet"
        parquet.write_table(arrow.table({"a": edges[:, 0], "b": edges[:, 1]}), source)
    elif kind == "pieces":
        source = iter(np.array_split(edges, 7))

    graph = build_graph(source, tmp_path / "graph", directed=directed, segment_bytes=128)

    assert lists(graph) == expected(edges, 50, directed)
    assert graph.self_loops == int((edges[:, 0] == edges[:, 1]).sum())
    assert graph.self_loops + graph.duplicates + graph.edges // (1 if directed else 2) == 400
    assert len(graph.segments) > 5


@pytest.mark.slow
def test_a_sort_in_many_runs_and_passes_gives_the_same_graph(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    edges = rng.integers(0, 3000, (600_000, 2)) ** 2 // 3000

    small = build_graph(iter(np.array_split(edges, 40)), tmp_path / "small", memory_budget=MIN_MEMORY)
    large = build_graph(edges, tmp_path / "large", memory_budget=1 << 30)

    assert small.checksum == large.checksum
    assert small.load()[1].tolist() == large.load()[1].tolist()


def test_weights_are_summed_and_alias_tables_reproduce_them(tmp_path: Path) -> None:
    rows = np.array([[0, 1, 0.5], [1, 0, 1.5], [0, 2, 6.0], [0, 3, 1e-3], [2, 3, 1.0]])

    graph = build_graph(rows, tmp_path / "graph", weighted=True)

    offsets, neighbours, alias = graph.load()
    assert neighbours[:3].tolist() == [1, 2, 3]
    mass = np.zeros(3)
    for i, (threshold, other) in enumerate(alias[:3]):
        mass[i] += threshold / 2**32 / 3
        mass[other] += (1 - threshold / 2**32) / 3
    assert mass == pytest.approx(np.array([2.0, 6.0, 1e-3]) / 8.001, abs=1e-8)
    assert offsets.tolist() == [0, 3, 4, 6, 8]


def test_arbitrary_ids_are_numbered_in_order_and_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    ids = np.unique(rng.integers(-(2**62), 2**62, 3_000))
    numbers = rng.integers(0, len(ids), (60_000, 2))
    numbers[: len(ids), 0] = np.arange(len(ids))

    graph = build_graph(ids[numbers], tmp_path / "graph", ids="relabel", memory_budget=MIN_MEMORY)

    assert np.array_equal(graph.ids, ids)
    assert lists(graph) == expected(numbers, len(ids), directed=False)


def test_names_are_numbered_as_they_appear(tmp_path: Path) -> None:
    (tmp_path / "edges.txt").write_text("anna bert\nbert čeněk\n# no edge\nanna čeněk\n", "utf-8")

    graph = build_graph(tmp_path / "edges.txt", tmp_path / "graph", ids="names")

    assert graph.ids == ["anna", "bert", "čeněk"]
    assert lists(graph) == [[1, 2], [0, 2], [0, 1]]


def test_isolated_vertices_and_a_list_longer_than_a_segment_are_fine(tmp_path: Path) -> None:
    hub = np.stack([np.zeros(500, np.int64), np.arange(1, 501)], axis=1)

    graph = build_graph(hub, tmp_path / "graph", vertices=200_000, segment_bytes=64)

    offsets, _, _ = graph.load()
    assert graph.vertices == 200_000
    assert offsets[1] == 500
    assert offsets[501:].tolist() == [1000] * 199_500
    assert graph.segments.first_vertex[1] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1\n1 two\n", r"edges\.txt, line 2: expected a whole number"),
        ("0 1\n\n# x\n3\n", r"edges\.txt, line 4: an edge needs a source and a target"),
        ("0 1\n1 -2\n", r"edges\.txt, line 2: a vertex id is negative; pass ids='relabel'"),
        ("0 1\n#\n1 4294967295\n", r"edges\.txt, line 3: a vertex id is above 4294967294; pass ids='relabel'"),
        ("0 1\n1 99999999999999999999\n", r"edges\.txt, line 2: a number is too large"),
        ("0 1\n1 4000000000\n", r"ids reach 4,000,000,000 with 2 edges; pass ids='relabel'"),
        ("0 1.5\n", r"edges\.txt, line 1: expected a whole number"),
        ("# nothing\n", "edges: there are none"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_left(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "edges.txt").write_text(text)

    with pytest.raises(GraphError, match=message):
        build_graph(tmp_path / "edges.txt", tmp_path / "graph")

    assert [path.name for path in tmp_path.iterdir()] == ["edges.txt"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1 2\n1 2\n", r"line 2: expected a third column"),
        ("0 1 2\n1 2 x\n", r"line 2: expected a number as the edge's weight"),
        ("0 1 2\n1 2 -1\n", r"line 2: weight -1 must be a finite number above zero"),
        ("0 1 2\n1 2 0e3\n", r"line 2: weight 0 must be"),
        ("0 1 1e200\n", r"line 1: weight inf must be"),
    ],
)
def test_a_bad_weight_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "edges.txt").write_text(text)

    with pytest.raises(GraphError, match=message):
        build_graph(tmp_path / "edges.txt", tmp_path / "graph", weighted=True)


def test_what_cannot_be_built_says_how_to_do_it(tmp_path: Path) -> None:
    edges = np.array([[0, 1]])

    with pytest.raises(GraphError, match="memory_budget: 1,000 bytes; building needs at least 1,048,576"):
        build_graph(edges, tmp_path / "graph", memory_budget=1000)
    with pytest.raises(GraphError, match="no such file of edges"):
        build_graph(tmp_path / "none.txt", tmp_path / "graph")
    with pytest.raises(GraphError, match="must be whole numbers"):
        build_graph(edges.astype(float), tmp_path / "graph")
    with pytest.raises(GraphError, match=r"shape \(2,\)"):
        build_graph(np.array([0, 1]), tmp_path / "graph")
    with pytest.raises(GraphError, match="vertices: 1 is below the largest id"):
        build_graph(edges, tmp_path / "graph", vertices=1)
    build_graph(edges, tmp_path / "graph")
    with pytest.raises(GraphError, match="already exists"):
        build_graph(edges, tmp_path / "graph")


def test_a_foreign_truncated_or_damaged_graph_is_refused(tmp_path: Path) -> None:
    graph = build_graph(np.random.default_rng(4).integers(0, 90, (900, 2)), tmp_path / "graph", segment_bytes=256)
    manifest, neighbours = graph.path / "graph.json", graph.path / "neighbours.bin"
    whole, lists_ = manifest.read_text(), neighbours.read_bytes()

    with pytest.raises(GraphError, match="holds no graph"):
        Graph.open(tmp_path)
    neighbours.write_bytes(lists_[:-4])
    with pytest.raises(GraphError, match=r"neighbours\.bin: has .* bytes, not .*: cut off"):
        Graph.open(graph.path)
    neighbours.write_bytes(lists_[:40] + bytes([lists_[40] ^ 1]) + lists_[41:])
    with pytest.raises(GraphError, match=r"segment 0 .* does not have its checksum"):
        Graph.open(graph.path).load()
    neighbours.write_bytes(lists_)
    for text, message in (
        (whole[:-30], "cut off"),
        (json.dumps({"hello": 1}), "not a graph of Tunewright"),
        (whole.replace('"version": 1', '"version": 7'), "format version 7, not 1"),
        (whole.replace('"edges"', '"edgez"'), "does not have its checksum"),
    ):
        manifest.write_text(text)
        with pytest.raises(GraphError, match=message):
            Graph.open(graph.path)


def test_fuzzed_manifests_never_crash(tmp_path: Path) -> None:
    graph = build_graph(np.array([[0, 1], [1, 2]]), tmp_path / "graph")
    manifest, rng = graph.path / "graph.json", np.random.default_rng(5)
    whole = manifest.read_bytes()

    for _ in range(300):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 6)):
            damaged[at] = rng.integers(0, 256)
        manifest.write_bytes(bytes(damaged[: rng.integers(1, len(damaged) + 1)]))
        try:
            assert Graph.open(graph.path).edges == 4
        except GraphError:
            pass


def test_fuzzed_text_is_read_or_refused(tmp_path: Path) -> None:
    rng, file = np.random.default_rng(6), tmp_path / "edges.txt"
    for trial in range(200):
        file.write_bytes(bytes(rng.choice(np.frombuffer(b"0123 \t\n,-#.ex\xff", np.uint8), 40)))
        path = tmp_path / f"graph-{trial}"
        try:
            made = build_graph(file, path, weighted=bool(trial % 2))
        except GraphError:
            assert not path.exists()
        else:
            assert Graph.open(path).edges == made.edges
