"""Edges of files and arrays: none is lost or invented without a word, and what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.walks import text
from models.walks.build import build_graph
from models.walks.errors import GraphError
from models.walks.sources import pieces


def edges_of(source: object, ids: str = "numbers", weighted: bool = False) -> list[tuple[int, int]]:
    found = [piece.edges for piece in pieces(source, weighted, ids, {})]
    return [(a, b) for a, b in np.concatenate([*found, np.empty((0, 2), np.int64)]).tolist()]


def named_edges_of(source: Path, weighted: bool = False) -> list[tuple[str, str]]:
    names: dict[str, int] = {}
    found = [piece.edges for piece in pieces(source, weighted, "names", names)]
    called = list(names)
    return [(called[a], called[b]) for piece in found for a, b in piece.tolist()]


@pytest.mark.parametrize("suffix", ["txt", "csv"])
@pytest.mark.parametrize(
    "content",
    [
        b"1,2\n2,3\n",
        b"\xef\xbb\xbf1,2\n2,3\n",
        b"1,2\r\n2,3\r\n",
        b"1,2\r2,3\r",
        b"\xef\xbb\xbf# no edge\r1 , 2\r2\t,\t3",
    ],
    ids=["plain", "byte order mark", "crlf", "cr", "mixed"],
)
def test_every_line_is_an_edge_whatever_the_encoding_of_text_and_lines(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    file = tmp_path / f"edges.{suffix}"
    file.write_bytes(content)

    assert edges_of(file) == [(1, 2), (2, 3)]
    assert named_edges_of(file) == [("1", "2"), ("2", "3")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_are_one_where_a_piece_cuts_them(tmp_path: Path, end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edges.txt").write_bytes(end.join(b"%d %d" % (i, i + 1) for i in range(40)) + end + b"7 -1" + end)

    for size in (16, 17, 18, 19):
        monkeypatch.setattr(text, "PIECE_BYTES", size)

        assert edges_of(tmp_path / "edges.txt", "relabel") == [*((i, i + 1) for i in range(40)), (7, -1)]
        with pytest.raises(GraphError, match="line 41: a vertex id is negative"):
            edges_of(tmp_path / "edges.txt")


@pytest.mark.parametrize("header", ["from,to", '"Source", "Target",Weight', "# no edge\nid of one,id of other"])
def test_a_header_of_numbers_is_any_line_without_them(tmp_path: Path, header: str) -> None:
    (tmp_path / "edges.csv").write_text(f"{header}\n1,2,5\n2,-3,5\n")

    assert edges_of(tmp_path / "edges.csv", "relabel") == [(1, 2), (2, -3)]
    with pytest.raises(GraphError, match=rf"line {3 + header.count('#')}: a vertex id is negative"):
        edges_of(tmp_path / "edges.csv")


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("source,target", True),
        ("\ufeffSRC, Dst,weight,time", True),
        ('"from","to"', True),
        ("\n# no edge\nu,v", True),
        ("anna,bert", False),
        ("from,to,7", False),
    ],
)
def test_a_header_of_names_is_one_of_the_known(tmp_path: Path, header: str, known: bool) -> None:
    (tmp_path / "edges.csv").write_text(f"{header}\nbert,carol\n", "utf-8")

    assert named_edges_of(tmp_path / "edges.csv")[-1] == ("bert", "carol")
    assert len(named_edges_of(tmp_path / "edges.csv")) == 2 - known


def test_names_in_a_csv_hold_spaces_and_stand_in_quotes(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text(
        'New York, Boston ,1\n"Washington, D.C.","the ""Bay""",2\na\u2028b,c\x85d,3\n', "utf-8"
    )

    assert named_edges_of(tmp_path / "edges.csv", weighted=True) == [
        ("New York", "Boston"),
        ("Washington, D.C.", 'the "Bay"'),
        ("a\u2028b", "c\x85d"),
    ]


@pytest.mark.parametrize("ids", ["numbers", "names"])
@pytest.mark.parametrize(
    ("line", "weighted"), [("1,,77", False), (",1,2", False), ("1,2,,3", True), ("1 , , 77", False), (",,", False)]
)
def test_an_empty_cell_is_a_problem_of_its_line(tmp_path: Path, ids: str, line: str, weighted: bool) -> None:
    for suffix in ("csv", "txt"):
        (tmp_path / f"edges.{suffix}").write_text(f"5,6,7\n{line}\n")

        with pytest.raises(GraphError, match=rf"edges\.{suffix}, line 2: a cell is empty"):
            edges_of(tmp_path / f"edges.{suffix}", ids, weighted)


def test_an_empty_cell_of_the_first_line_is_no_header(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text(",5,6\n1,2,3\n")

    with pytest.raises(GraphError, match="line 1: a cell is empty"):
        edges_of(tmp_path / "edges.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a,b\nMüller,b\nMöller,b\n".encode("latin-1"),
            r"edges\.csv, line 2: this is not UTF-8; save the file as UTF-8",
        ),
        (b'a,b\n"c,d\n', r"edges\.csv, line 2: a name in quotes must begin and end with one"),
        (b"a,b\nc d\n", r"edges\.csv, line 2: an edge needs a source and a target"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "edges.csv").write_bytes(content)

    with pytest.raises(GraphError, match=message):
        named_edges_of(tmp_path / "edges.csv")


def test_columns_of_parquet_of_two_types_keep_large_ids_apart(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    ids = [2**60, 2**60 + 1]
    file = tmp_path / "edges.parquet"
    parquet.write_table(arrow.table({"a": np.array(ids), "b": np.array(ids[::-1], np.uint64)}), file)

    assert edges_of(file, "relabel") == [(ids[0], ids[1]), (ids[1], ids[0])]

    parquet.write_table(arrow.table({"a": np.array(ids), "b": np.array([1, 2**63], np.uint64)}), file)
    with pytest.raises(GraphError, match=r"edges\.parquet, row 1: id 9223372036854775808 is above 2\*\*63 - 1"):
        edges_of(file, "relabel")


@pytest.mark.parametrize("kind", ["array", "pieces", "npy", "parquet"])
def test_names_are_refused_where_ids_are_numbers(tmp_path: Path, kind: str) -> None:
    sources = {
        "array": np.array([[0, 2**40]]),
        "pieces": iter([np.array([[0, 2**40]])]),
        "npy": tmp_path / "edges.npy",
        "parquet": tmp_path / "edges.parquet",
    }
    for name in ("edges.npy", "edges.parquet"):
        (tmp_path / name).touch()

    with pytest.raises(GraphError, match="ids='names' reads words of a text file, not numbers; pass ids='relabel'"):
        edges_of(sources[kind], "names")


@pytest.mark.parametrize("ids", ["numbers", "relabel"])
@pytest.mark.parametrize(
    ("dtype", "wrong"),
    [("f8", np.inf), ("f8", np.nan), ("f8", 0.5), ("f8", 2.0**53 + 2), ("f4", 2.0**24 + 2), ("f2", np.inf)],
)
def test_ids_that_a_float_does_not_hold_are_named_with_their_row(ids: str, dtype: str, wrong: float) -> None:
    rows = np.array([[0, 1, 1], [1, 2, 1], [2, wrong, 1]], dtype)

    with pytest.raises(GraphError, match=r"edges, row 2: id .* must be a whole number up to \d+ where ids are float"):
        edges_of(rows, ids, weighted=True)


@pytest.mark.parametrize("ids", ["numbers", "names"])
def test_weights_that_sum_beyond_a_float32_are_named_with_their_edge(tmp_path: Path, ids: str) -> None:
    (tmp_path / "edges.txt").write_text("0 1 1\n1 2 3e38\n2 1 3e38\n")

    with pytest.raises(GraphError, match=r"weights from vertex 1 to 2 .* sum to 6e\+38, too large for a float32"):
        build_graph(tmp_path / "edges.txt", tmp_path / "graph", weighted=True, ids=ids)

    assert not (tmp_path / "graph").exists()


@pytest.mark.parametrize("name", ["edges.npy", "edges.parquet"])
@pytest.mark.parametrize("damage", ["foreign", "empty", "cut off"])
def test_a_broken_binary_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    edges, file = np.arange(8_000).reshape(-1, 2), tmp_path / name
    np.save(tmp_path / "edges.npy", edges)
    parquet.write_table(arrow.table({"a": edges[:, 0], "b": edges[:, 1]}), tmp_path / "edges.parquet")
    whole = file.read_bytes()
    file.write_bytes({"foreign": b"0 1\n" * 2_000, "empty": b"", "cut off": whole[:-1_000]}[damage])

    with pytest.raises(GraphError, match=rf"{name}: cannot be read as "):
        edges_of(file)


def test_weights_of_parquet_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"a": [0], "b": [1], "w": ["much"]}), tmp_path / "edges.parquet")

    with pytest.raises(GraphError, match=r"edges\.parquet: column 'w' must be numbers"):
        edges_of(tmp_path / "edges.parquet", weighted=True)
