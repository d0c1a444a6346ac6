"""The workload's data options, and the data sets behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.data import edges
from models.walks.node2vec import Node2vecLearner
from models.walks.workload import Node2vecWorkload
from tunewright.errors import WorkloadError
from tunewright.workload import Checkpoint, Leg


def run(tmp_path: Path, data: dict[str, object], end: int = 1, **config: object) -> list[dict[str, float]]:
    reports: list[dict[str, float]] = []
    workload = Node2vecWorkload()
    space = {**workload.space.default(), "length": 10, "dimensions": 16, **config}
    workload.run(
        space,
        Leg(0, end, 1),
        data=data,
        checkpoint=Checkpoint(tmp_path),
        report=lambda resource, metrics: reports.append(dict(metrics)),
    )
    return reports


def test_groups_are_learnt(tmp_path: Path) -> None:
    reports = run(tmp_path, {"dataset": "communities", "task": "groups", "threads": 2}, end=5, rate=0.1)

    assert reports[-1]["loss"] == 1 - reports[-1]["micro_f1"]
    assert reports[-1]["micro_f1"] > 0.9


def test_a_file_of_ones_own_is_learnt(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("".join(f"{7 * a} {7 * b}\n" for a, b in edges.communities(60).edges))

    (report,) = run(tmp_path, {"path": str(tmp_path / "mine.txt")})

    assert 0 < report["link_auc"] <= 1


def test_a_copy_does_not_go_on_with_vectors_of_another_width(tmp_path: Path) -> None:
    graph, config = edges.communities(40), Node2vecWorkload().space.default()
    parent, copy, same = (
        Node2vecLearner({**config, "dimensions": width, "rate": rate}, graph, "links", seed=seed, threads=1)
        for width, rate, seed in ((16, 0.1, 1), (32, 0.1, 2), (16, 0.2, 3))
    )
    parent.save(tmp_path)

    with pytest.raises(WorkloadError, match=r"dimensions: the saved vectors are 40 of 16, .* learns 40 of 32; keep"):
        copy.restore(tmp_path)

    same.restore(tmp_path)
    assert np.array_equal(same.vectors, parent.vectors)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"task": "colours"}, r"data\.task: 'colours' must be one of links, groups"),
        ({"threads": 0}, r"data\.threads: 0 must be a whole number from 1"),
        ({"dataset": "nope"}, r"data\.dataset: 'nope' is unknown; known: blogcatalog, ca-astroph, communities"),
        ({"dataset": "communities", "vertices": 3}, r"data\.vertices: 3 must be a whole number from 20"),
        ({"dataset": "ca-astroph", "vertices": 30}, r"data\.vertices: is for communities"),
        ({"path": "x", "dataset": "communities"}, r"data\.path: give a path or a dataset, not both"),
        ({"path": 3}, r"data\.path: 3 must be the path"),
        ({"path": "/nowhere/edges.txt"}, "there is no such file of edges"),
        ({"dataset": "facebook", "vertices": 60}, r"data\.dataset: 'facebook' is unknown"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, data: dict[str, object], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        run(tmp_path, data)


def test_rmat_streams_the_same_skewed_edges() -> None:
    first, again = (np.concatenate(list(edges.rmat(12, 60_000, seed=3))) for _ in range(2))

    assert np.array_equal(first, again)
    assert first.shape == (60_000, 2)
    assert first.min() >= 0
    assert first.max() < 4096
    degrees = np.sort(np.bincount(first.ravel(), minlength=4096))[::-1]
    assert degrees[0] > 20 * degrees.mean()


@pytest.mark.parametrize("scale", [1, 2, 7, 13])
def test_scrambling_is_a_bijection(scale: int) -> None:
    ids = edges._scrambled(np.arange(2**scale), scale)
    assert np.array_equal(np.sort(ids), np.arange(2**scale))


def test_barabasi_albert_links_backwards_and_prefers_the_linked() -> None:
    found = np.concatenate(list(edges.barabasi_albert(20_000, 3, seed=1)))

    assert found.shape == (3 * 19_999, 2)
    assert (found[:, 1] < found[:, 0]).all()
    degrees = np.bincount(found.ravel())
    assert degrees[:20].mean() > 20 * degrees.mean()


def test_generators_refuse_what_is_no_graph() -> None:
    with pytest.raises(WorkloadError, match="rmat: scale 40"):
        next(edges.rmat(40, 10))
    with pytest.raises(WorkloadError, match="rmat: shares"):
        next(edges.rmat(4, 10, shares=(1, 1, 0, 0)))
    with pytest.raises(WorkloadError, match="barabasi_albert"):
        next(edges.barabasi_albert(1, 1))
    with pytest.raises(WorkloadError, match="communities"):
        edges.communities(5, 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "vertices", "count", "groups"), [("blogcatalog", 10_312, 333_983, 39), ("ca-astroph", 18_772, 396_160, 0)]
)
def test_real_graphs_have_their_published_size(name: str, vertices: int, count: int, groups: int) -> None:
    try:
        found = edges.load(name)
    except WorkloadError as error:
        pytest.skip(str(error))

    assert (found.vertices, len(found.edges), found.groups.shape) == (vertices, count, (vertices, groups))
