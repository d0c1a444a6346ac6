"""A campaign as a `Learner`: one step is one round of income."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from models.active.campaign import Campaign, Query, exact_price
from models.active.criteria import criterion
from models.active.oracle import Oracle, SimulatedOracle
from models.active.situation import Terrain
from models.active.student import Student
from models.data.graphs import UNKNOWN, Graph, load
from models.options import require_at_least
from tunewright.errors import WorkloadError
from tunewright.space import Config

DEFAULT_DATASET, DEFAULT_ACCOUNT = "cora", "questions"
STATE_FILE = "state.npz"


@dataclass(frozen=True)
class ActiveOptions:
    """A study's data options, read and checked."""

    graph: Graph
    account: str
    oracle: Oracle


def read_options(data: Mapping[str, Any], seed: int) -> ActiveOptions:
    """Check the options and load the graph; the oracle's errors are drawn from the seed.

    Raises:
        WorkloadError: an option's value is wrong; names the option.
    """
    shares = {}
    for name in ("noise", "silence"):
        value = data.get(name, 0.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise WorkloadError(f"data.{name}: {value!r} must be a number from 0 to 1")
        shares[name] = float(value)
    account = str(data.get("account", DEFAULT_ACCOUNT))
    exact_price(account, 2)
    graph = load(data.get("dataset", DEFAULT_DATASET))
    return ActiveOptions(graph, account, SimulatedOracle(graph.labels, graph.n_classes, seed=seed, **shares))


@lru_cache(maxsize=4)
def terrain(graph: Graph, steps: int) -> Terrain:
    """The graph with its pool: nodes of known class that neither validate nor test."""
    held_out = np.concatenate([graph.valid, graph.test])
    return Terrain(graph, np.setdiff1d(np.flatnonzero(graph.labels != UNKNOWN), held_out), steps)


class ActiveLearner:
    """A campaign with a simulated oracle.

    Args:
        config: as `ActiveWorkload.space` declares it.
        seed: of choices that are drawn.
    Raises:
        WorkloadError: a value is none that the space could have; names the parameter.
    """

    def __init__(self, config: Config, options: ActiveOptions, *, seed: int) -> None:
        require_at_least(config, k=1, batch=1, penalty=0, soft_weight=0)
        if config["query"] not in get_args(Query):
            raise WorkloadError(f"query: {config['query']!r} is unknown; known: {', '.join(get_args(Query))}")
        ground = terrain(options.graph, int(config["k"]))
        self._campaign = Campaign(
            ground,
            criterion(str(config["criterion"])),
            Student(ground.features, float(config["penalty"]), float(config["soft_weight"])),
            options.oracle,
            query=cast(Query, config["query"]),
            batch=int(config["batch"]) * options.graph.n_classes,
            account=options.account,
            seed=seed,
        )

    def step(self, resource: int) -> dict[str, float]:
        """Earn as many questions' worth as there are classes, spend it, and measure on the validation nodes."""
        campaign = self._campaign
        graph = campaign.terrain.graph
        campaign.earn(graph.n_classes)
        accuracy = campaign.accuracy(graph.valid)
        return {
            "error": 1.0 - accuracy,
            "accuracy": accuracy,
            "spent": campaign.spent,
            "answers": float(campaign.answers),
            "labels": float(np.count_nonzero(campaign.knowledge.label != UNKNOWN)),
            "contradictions": float(campaign.knowledge.contradictions),
        }

    def save(self, directory: Path) -> None:
        """Write the answers and the account; the student is fitted to them again."""
        campaign = self._campaign
        account = [campaign.purse, campaign.spent, campaign.rounds, campaign.answers, campaign.unanswered]
        arrays: dict[str, Any] = {"account": np.array(account), **campaign.knowledge.state()}
        np.savez(directory / STATE_FILE, **arrays)

    def restore(self, directory: Path) -> None:
        """Continue from a saved state."""
        campaign = self._campaign
        with np.load(directory / STATE_FILE, allow_pickle=False) as state:
            arrays = dict(state)
        purse, spent, *counts = (float(value) for value in arrays.pop("account"))
        campaign.purse, campaign.spent = purse, spent
        campaign.rounds, campaign.answers, campaign.unanswered = (int(count) for count in counts)
        campaign.knowledge.load(arrays)
        campaign.learn()
