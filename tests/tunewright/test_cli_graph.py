"""`tunewright graph` from an edge list to vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from models.data.edges import communities
from models.walks.skipgram import SkipGram
from tunewright.cli import app

pytest.importorskip("numba")


def run(*arguments: object, code: int = 0) -> str:
    found = CliRunner().invoke(app, ["graph", *map(str, arguments)])
    assert found.exit_code == code, found.output
    return found.output


def test_from_edges_to_walks_scores_and_vectors(tmp_path: Path) -> None:
    (tmp_path / "edges.txt").write_text("".join(f"{a} {b}\n" for a, b in communities(80).edges))
    graph, walks = tmp_path / "graph", tmp_path / "walks"

    assert "vertices\t80\n" in run("build", tmp_path / "edges.txt", graph)
    assert "least memory\t" in run("info", graph, "--verify")
    assert "walks\t160 in 1 files\n" in run("walk", graph, walks, "--p", 0.5, "--length", 5, "--per-vertex", 2)
    lines = run("pagerank", graph, 3, 7, "--walks", 50, "--top", 4).splitlines()
    assert lines[0] == "query\tvertex\tscore\terror"
    assert lines[1].startswith("3\t3\t")
    assert len(lines) == 9
    run("embed", graph, walks, tmp_path / "vectors.npy", "--dimensions", 8)
    assert np.load(tmp_path / "vectors.npy").shape == (80, 8)


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "edges.txt").write_text("0 1\n2 -3\n")

    assert "line 2: a vertex id is negative" in run("build", tmp_path / "edges.txt", tmp_path / "graph", code=1)
    assert "holds no graph" in run("info", tmp_path, code=1)
    assert "must be numbers, relabel or names" in run("build", "a", "b", "--ids", "odd", code=2)
    assert "give a number and kB, MB" in run("walk", "a", "b", "--memory", "much", code=2)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edges.txt").write_text("0 1\n1 2\n")
    run("build", tmp_path / "edges.txt", tmp_path / "graph")
    run("walk", tmp_path / "graph", tmp_path / "walks", "--length", 3)
    monkeypatch.setattr(SkipGram, "learn", lambda *_, **__: pytest.fail("it learned"))

    for command in (
        ("build", tmp_path / "edges.txt", tmp_path / "edges.txt" / "graph"),
        ("walk", tmp_path / "graph", tmp_path / "edges.txt" / "walks"),
        ("embed", tmp_path / "graph", tmp_path / "walks", tmp_path / "none" / "vectors.npy"),
    ):
        assert run(*command, code=2).startswith("Error: ")
    (tmp_path / "vectors.npy").mkdir()
    assert "is a directory" in run("embed", tmp_path / "graph", tmp_path / "walks", tmp_path / "vectors.npy", code=1)


def test_nothing_is_left_of_vectors_that_were_not_learned(tmp_path: Path) -> None:
    (tmp_path / "edges.txt").write_text("0 1\n1 2\n")
    run("build", tmp_path / "edges.txt", tmp_path / "graph")
    run("walk", tmp_path / "graph", tmp_path / "walks", "--length", 3)

    run("embed", tmp_path / "graph", tmp_path / "walks", tmp_path / "vectors.npy", "--dimensions", 7, code=1)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["edges.txt", "graph", "walks"]
