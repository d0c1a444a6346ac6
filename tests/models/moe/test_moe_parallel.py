"""Experts over ranks: exchanges of both kinds, the choice between them, and ranks that die."""

from __future__ import annotations

import time
from functools import cache
from tempfile import TemporaryDirectory

import pytest
import torch
import torch.distributed as dist

from models.moe.exchange import Exchange, Topology
from models.moe.link_model import LinkModel, measure
from models.moe.parallel import ParallelExperts
from tests.models.moe.moe_ranks import KILL, STOP, Ranks, equals_one_process, exchanged, trains, way_of_rows
from tunewright.errors import WorkloadError

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="this PyTorch has no gloo")


@pytest.mark.parametrize("way", ["flat", "hierarchical", "auto"])
@pytest.mark.parametrize("topology", [Topology(2, 2), Topology(3, 1), Topology(1, 3)], ids=str)
def test_rows_arrive_in_order_of_their_ranks_and_gradients_go_back(way, topology):
    found = Ranks(exchanged, topology, way, 7).results()

    assert set(found.values()) == {(True, True)}


@pytest.mark.parametrize(
    ("seconds", "size", "went"),
    [
        ({"flat": (2.0, 1.0), "hierarchical": (1.0, 2.0)}, 64, "hierarchical"),
        ({"flat": (2.0, 1.0), "hierarchical": (1.0, 2.0)}, 4096, "flat"),
        ({"flat": (1.0, 2.0), "hierarchical": (2.0, 1.0)}, 4096, "flat"),
    ],
    ids=["small", "large", "counts went flat"],
)
def test_a_timed_exchange_tells_the_way_that_its_rows_went(seconds, size, went):
    found = Ranks(way_of_rows, Topology(2, 1), seconds, size).results()

    assert set(found.values()) == {went}


@pytest.mark.parametrize("way", ["flat", "hierarchical"])
def test_parallel_experts_compute_what_one_process_computes(way):
    found = Ranks(equals_one_process, Topology(2, 2), way).results()

    assert max(found.values()) < 1e-5


@cache
def trained_whole(way):
    """rank -> what training that nothing interrupts comes to."""
    with TemporaryDirectory() as checkpoints:
        return Ranks(trains, Topology(2, 2), way, checkpoints, 4).results()


@pytest.mark.parametrize(("way", "victim", "signal"), [("flat", 3, KILL), ("hierarchical", 2, KILL), ("flat", 1, STOP)])
def test_a_rank_that_dies_in_an_exchange_is_named_with_the_step_and_training_resumes(way, victim, signal, tmp_path):
    topology = Topology(2, 2)
    whole = trained_whole(way)

    began = time.monotonic()
    broken = Ranks(trains, topology, way, str(tmp_path), 4, (victim, 3, signal)).results(expected=3)

    assert time.monotonic() - began < 60
    assert victim not in broken
    for rank, found in broken.items():
        assert found["step"] == 3
        assert victim in found["missing"]
        assert f"failed at step 3 on rank {rank} of 4" in found["message"]
        assert "start again from the last checkpoint" in found["message"]

    assert Ranks(trains, topology, way, str(tmp_path), 4).results() == whole


def test_the_model_chooses_what_was_faster_and_says_so():
    model = LinkModel((100, 1000, 10_000), {"flat": (5e-3, 5e-3, 6e-3), "hierarchical": (1e-3, 2e-3, 9e-3)})

    assert model.faster(100) == "hierarchical"
    assert model.faster(10_000) == "flat"
    assert model.predicted("flat", 5_500) == pytest.approx(5.5e-3)
    assert model.predicted("hierarchical", 19_000) == pytest.approx(16e-3)
    assert "flat: " in str(model)
    assert "100 B hierarchical, 1000 B hierarchical, 10000 B flat" in str(model)


def test_the_line_through_exact_measurements_is_found():
    sizes = (64, 1024, 65_536)
    model = LinkModel(sizes, {"flat": tuple(2e-3 + size / 1e6 for size in sizes)})

    latency, bandwidth = model.latency_and_bandwidth("flat")

    assert latency == pytest.approx(2e-3)
    assert bandwidth == pytest.approx(1e6)


def test_measuring_leaves_the_first_turn_out_and_takes_the_median():
    turns = iter([9.0, 9.0, 1.0, 4.0, 3.0, 5.0, 2.0, 6.0])

    model = measure(lambda way, size: next(turns), lambda figures: figures, sizes=(8,), repeats=3)

    assert model.seconds == {"flat": (2.0,), "hierarchical": (5.0,)}


def test_each_turn_counts_as_its_slowest_rank():
    turns = iter([0.0, 0.0, 1.0, 9.0, 2.0, 9.0, 3.0, 9.0])
    other_rank = [0.0, 0.0, 3.0, 9.0, 2.0, 9.0, 1.0, 9.0]

    def slowest(figures):
        taken, other_rank[:] = other_rank[: len(figures)], other_rank[len(figures) :]
        return [max(pair) for pair in zip(figures, taken, strict=True)]

    model = measure(lambda way, size: next(turns), slowest, sizes=(8,), repeats=3)

    assert model.seconds["flat"] == (3.0,)  # The median of either rank alone is 2.


def test_sizes_are_added_where_the_faster_way_changes():
    def call(way, size):
        return 5e-3 if way == "flat" else 1e-3 if size < 3_000 else 20e-3

    model = measure(call, lambda figures: figures, sizes=(64, 1_024, 16_384))

    assert model.sizes == (64, 1_024, 2_048, 2_896, 4_096, 16_384)
    assert model.faster(2_800) == "hierarchical"
    assert model.faster(4_000) == "flat"


def test_close_times_are_measured_again():
    asked = []

    def call(way, size):
        asked.append((way, size))
        return {"flat": 1.0, "hierarchical": 1.1 if size == 64 else 2.0}[way]

    measure(call, lambda figures: figures, sizes=(64, 1_024), repeats=5)

    assert asked.count(("flat", 64)) == asked.count(("hierarchical", 64)) == 1 + 5 + 3 * 5
    assert asked.count(("flat", 1_024)) == 1 + 5


def test_a_topology_and_experts_that_do_not_fit_the_ranks_are_named():
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        from datetime import timedelta

        with pytest.raises(WorkloadError, match="topology: 2 hosts of 2 ranks, but 1 ranks run"):
            Exchange(Topology(2, 2), way="flat", timeout=timedelta(seconds=5))
        exchange = Exchange(Topology(1, 1), way="flat", timeout=timedelta(seconds=5))
        exchange.topology = Topology(1, 3)
        with pytest.raises(
            WorkloadError, match="experts: 8 cannot be spread evenly over 3 ranks; take a multiple of 3"
        ):
            ParallelExperts(exchange, 8)
    finally:
        dist.destroy_process_group()
    torch.set_num_threads(1)
