"""Operators, propagation and its cache, against dense algebra."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from models.data.graphs import rmat, sbm
from models.gnn import cache
from models.gnn._kernels import threads_at_most
from models.gnn.cache import Operator, propagated
from models.gnn.operators import apply, normalised, propagate, propagate_out_of_core
from tunewright.errors import WorkloadError


def dense(csr):
    made = np.zeros((csr.n, csr.n))
    for row in range(csr.n):
        part = slice(csr.indptr[row], csr.indptr[row + 1])
        made[row, csr.indices[part]] = csr.values[part]
    return made


def adjacency(graph):
    made = np.zeros((graph.n, graph.n))
    made[np.repeat(np.arange(graph.n), graph.degrees), graph.indices] = 1
    return made


@pytest.fixture(scope="module")
def graph():
    return sbm(120, 3, 6.0, seed=2)


@pytest.mark.parametrize("r", [0.0, 0.3, 0.5, 1.0])
def test_the_symmetric_operator_is_its_formula(graph, r):
    loops = adjacency(graph) + np.eye(graph.n)
    degree = loops.sum(axis=1)

    wanted = degree[:, None] ** (r - 1) * loops * degree[None, :] ** -r
    assert dense(normalised(graph, "symmetric", r)) == pytest.approx(wanted, abs=1e-6)


def test_the_random_walk_averages(graph):
    assert dense(normalised(graph, "random_walk")).sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_the_ppr_form_keeps_a_share(graph):
    wanted = 0.7 * dense(normalised(graph, "symmetric")) + 0.3 * np.eye(graph.n)

    assert dense(normalised(graph, "ppr", alpha=0.3)) == pytest.approx(wanted, abs=1e-6)


def test_the_triangle_operator_weighs_edges_by_their_triangles(graph):
    links = adjacency(graph)
    weights = links * (links @ links) + np.eye(graph.n)
    degree = weights.sum(axis=1)

    wanted = weights / np.sqrt(degree[:, None] * degree[None, :])
    assert dense(normalised(graph, "triangle")) == pytest.approx(wanted, abs=1e-6)


def test_rows_stay_ascending_with_the_loop_in_its_place(graph):
    csr = normalised(graph, "symmetric")

    assert all((np.diff(csr.indices[csr.indptr[i] : csr.indptr[i + 1]]) > 0).all() for i in range(csr.n))


def test_the_transposed_operator_is_the_mirrored_matrix(graph):
    csr = normalised(graph, "random_walk")

    assert dense(csr.transposed()) == pytest.approx(dense(csr).T)


@pytest.mark.parametrize(("kind", "r", "alpha"), [("nope", 0.5, 0.1), ("ppr", 0.5, 1.5), ("symmetric", -1, 0.1)])
def test_unknown_operators_are_refused(graph, kind, r, alpha):
    with pytest.raises(WorkloadError, match="operator: "):
        normalised(graph, kind, r, alpha)


@pytest.mark.parametrize("d", [1, 3, 16, 65])
def test_propagation_is_the_power_of_the_matrix(graph, d):
    csr = normalised(graph, "symmetric")
    x = np.random.default_rng(d).standard_normal((graph.n, d)).astype(np.float32)

    steps = propagate(csr, x, 3)

    assert len(steps) == 4
    assert steps[0] is x
    assert steps[3] == pytest.approx(np.linalg.matrix_power(dense(csr), 3) @ x, abs=1e-4)


def test_no_steps_leave_the_features_and_fewer_are_refused(graph):
    csr = normalised(graph, "symmetric")

    assert propagate(csr, graph.features, 0) == [graph.features]
    with pytest.raises(WorkloadError, match="-1 steps; give 0 or more"):
        propagate(csr, graph.features, -1)
    with pytest.raises(WorkloadError, match=r"features of shape \(5, 2\) for a graph of 120 nodes"):
        apply(csr, np.ones((5, 2), dtype=np.float32))


def test_threads_change_no_bit():
    hubs = rmat(2000, 40_000, features=24, classes=4, per_class=5)
    csr = normalised(hubs, "symmetric")

    before = threads_at_most(1)
    alone = apply(csr, hubs.features)
    threads_at_most(2)
    together = apply(csr, hubs.features)
    threads_at_most(before)

    assert np.array_equal(alone, together)


def test_a_full_disk_is_told_before_it_can_kill(graph, tmp_path, monkeypatch):
    def full(file, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(WorkloadError, match=r"1\.npy: \d+ bytes are needed there: No space left"):
        propagate_out_of_core(normalised(graph, "symmetric"), graph.features, [tmp_path / "1.npy"], memory=1 << 20)


def test_out_of_core_gives_the_same_features_within_its_memory(graph, tmp_path):
    csr = normalised(graph, "symmetric")
    np.save(tmp_path / "x.npy", graph.features)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    files = [tmp_path / f"{step}.npy" for step in (1, 2, 3)]

    # Room for five columns of sixteen.
    steps = propagate_out_of_core(csr, mapped, files, memory=5 * 3 * graph.n * 4)

    wanted = propagate(csr, graph.features, 3)
    for step, right in zip(steps, wanted, strict=True):
        assert isinstance(step, np.memmap)
        assert np.array_equal(step, right)


def test_a_memory_smaller_than_one_block_is_refused_with_what_is_needed(graph, tmp_path):
    with pytest.raises(WorkloadError, match=f"smaller than one block; give at least {3 * graph.n * 4} for 120 nodes"):
        propagate_out_of_core(
            normalised(graph, "symmetric"), graph.features, [tmp_path / "1.npy"], memory=3 * graph.n * 4 - 1
        )


def test_the_cache_computes_each_step_once_and_goes_on_where_it_ends(graph, tmp_path, monkeypatch):
    counted = []
    monkeypatch.setattr(cache, "apply", lambda csr, x: counted.append(1) or apply(csr, x))
    operator = Operator("ppr", alpha=0.2)

    short = propagated(graph, operator, 2, root=tmp_path)
    long = propagated(graph, operator, 5, root=tmp_path)
    again = propagated(graph, operator, 4, root=tmp_path)

    assert len(counted) == 5
    wanted = propagate(normalised(graph, "ppr", alpha=0.2), graph.features, 5)
    for found in (short, long, again):
        assert all(np.array_equal(step, right) for step, right in zip(found, wanted, strict=False))


def test_operators_and_graphs_do_not_share_features(graph, tmp_path):
    for operator in (Operator("symmetric"), Operator("symmetric", r=0.2), Operator("ppr", alpha=0.1)):
        propagated(graph, operator, 1, root=tmp_path)
    propagated(sbm(120, 3, 6.0, seed=3), Operator("symmetric"), 1, root=tmp_path)

    assert len(list(tmp_path.glob("*"))) == 2
    assert len(list(tmp_path.glob("*/*"))) == 4


def test_what_is_larger_than_the_cache_may_hold_in_memory_goes_by_columns(graph, tmp_path):
    small = propagated(graph, Operator("symmetric"), 3, root=tmp_path, memory=3 * graph.n * 4 * 2)

    wanted = propagate(normalised(graph, "symmetric"), graph.features, 3)
    assert np.array_equal(small[3], wanted[3])


def test_a_failure_leaves_no_half_written_step(graph, tmp_path, monkeypatch):
    def full(path, x):
        path.write_bytes(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(cache.np, "save", full)
        with pytest.raises(OSError, match="disk full"):
            propagated(graph, Operator("symmetric"), 2, root=tmp_path)

    assert [path for _, _, names in os.walk(tmp_path) for path in names] == []
    assert len(propagated(graph, Operator("symmetric"), 2, root=tmp_path)) == 3


def test_two_trials_that_compute_the_same_steps_at_once_both_get_them(graph, tmp_path, monkeypatch):
    operator, other = Operator("random_walk"), []

    def interrupted(csr, x):
        monkeypatch.setattr(cache, "apply", apply)
        other.extend(propagated(graph, operator, 3, root=tmp_path))
        return apply(csr, x)

    monkeypatch.setattr(cache, "apply", interrupted)
    mine = propagated(graph, operator, 3, root=tmp_path)

    assert all(np.array_equal(one, two) for one, two in zip(mine, other, strict=True))
    assert sorted(path.name for path in (tmp_path / graph.key / operator.label).iterdir()) == [
        "1.npy",
        "2.npy",
        "3.npy",
    ]


def test_what_a_killed_process_left_behind_is_removed_after_a_day(graph, tmp_path):
    propagated(graph, Operator("symmetric"), 1, root=tmp_path)
    home = tmp_path / graph.key / Operator("symmetric").label
    old, new, busy = (home / f"propagating-{name}" for name in ("old", "new", "busy"))
    for directory in (old, new, busy):
        directory.mkdir()
        (directory / "1.npy").write_bytes(b"half")
    long_ago = os.stat(home).st_mtime - 2 * 86_400
    for path in (old / "1.npy", old, busy):
        os.utime(path, (long_ago, long_ago))

    # Whatever features are asked for.
    propagated(graph, Operator("random_walk"), 1, root=tmp_path)

    assert sorted(path.name for path in home.iterdir()) == ["1.npy", "propagating-busy", "propagating-new"]
