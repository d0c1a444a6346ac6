"""`tunewright graph propagate` on a cluster of two nodes: what it makes, and what it says where it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from models.data.graphs import load
from models.gnn.operators import normalised, propagate
from tests.e2e.ray_head import RayNode, running_node

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NODES, EDGES, WIDTH = 400, 3000, 30


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A graph of one's own, with features in a file."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("graph")
    np.savez(
        folder / "graph.npz",
        edges=rng.integers(NODES, size=(2, EDGES)),
        features=rng.standard_normal((NODES, WIDTH), dtype=np.float32),
        labels=np.arange(NODES) % 2,
    )
    return f"file:{folder / 'graph.npz'}"


@pytest.fixture(scope="module")
def cluster(head: RayNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNode]:
    with running_node(head, tmp_path_factory.mktemp("node") / "log"):
        yield head


def command(cluster: RayNode, cache: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tunewright.cli", "graph", "propagate", *arguments],
        env={**os.environ, **cluster.environment, "TUNEWRIGHT_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def part_workers() -> list[int]:
    """Ray names an actor's process by its class."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"]
        if words and "_PartWorker" in words[0]:
            found.append(process.pid)
    return found


def test_what_a_cluster_puts_into_the_cache_is_what_one_machine_makes(
    cluster: RayNode, dataset: str, tmp_path: Path
) -> None:
    # Some columns at a time: a worker of three has at most the whole graph as its own and its halo.
    process = command(cluster, tmp_path, dataset, "--operator=ppr_0.1", "--parts=3", "--memory=32kB")
    told, problem = process.communicate(timeout=120)

    assert process.returncode == 0, problem
    home = Path(told.split("cache")[1].strip().replace("\n", ""))
    graph = load(dataset)
    wanted = propagate(normalised(graph, "ppr", alpha=0.1), graph.features, 3)
    assert f"{NODES} x {WIDTH}, 3 steps" in told
    assert sorted(path.name for path in home.iterdir()) == ["1.npy", "2.npy", "3.npy"]
    for step in (1, 2, 3):
        assert np.array_equal(np.load(home / f"{step}.npy"), wanted[step])


def test_more_parts_than_the_cluster_has_processors_are_refused(cluster: RayNode, dataset: str, tmp_path: Path) -> None:
    process = command(cluster, tmp_path, dataset, "--operator=symmetric", "--parts=4", "--threads=2")
    _, problem = process.communicate(timeout=120)

    assert process.returncode == 1
    assert "parts: they need 8 processors together, the cluster has 4" in problem
    assert not list(tmp_path.glob("propagated/*/*/*.npy"))


def test_a_lost_worker_is_named_and_nothing_half_written_is_kept(
    cluster: RayNode, dataset: str, tmp_path: Path
) -> None:
    # One column at a time, and many steps: it lasts until the worker is found.
    process = command(cluster, tmp_path, dataset, "--operator=symmetric", "--steps=300", "--parts=2", "--memory=7kB")
    deadline = time.monotonic() + 60
    while not (pids := part_workers()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(pids[0], signal.SIGKILL)
    _, problem = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "was lost in step" in problem
    assert not list(tmp_path.glob("propagated/*/*/*"))
