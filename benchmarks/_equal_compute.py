"""Two ways to spend the same compute on a workload: a study, or its default configuration again and again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks._service import Service, running_service
from tunewright.space import Categorical, Config, SearchSpace
from workers.checkpoints import CheckpointStore

WORKERS = 2
ENDLESS = 10_000
PATIENCE_SECONDS = 3600.0


class Spending:
    """Studies of one workload on one data set.

    Args:
        shared: what all of them have: name, workload, data.
        metric: the one that is minimised.
    """

    def __init__(self, service: Service, shared: Mapping[str, Any], metric: str) -> None:
        self._service, self._shared, self._metric = service, dict(shared), metric

    def search(self, seed: int, cluster_seconds: float, space: SearchSpace | None = None) -> dict[str, Any]:
        """Hyper-Tune on the workload's space, or another; the study once its budget is spent."""
        study = {"optimizer": "hypertune", "seed": seed, "parallel": WORKERS}
        study["budget"] = {"trials": ENDLESS, "cluster_seconds": cluster_seconds}
        (over,) = self._run(study | ({"space": space.model_dump(mode="json")} if space else {}))
        return over

    def repeat(self, default: Config, cluster_seconds: float) -> list[dict[str, Any]]:
        """Whole trainings of one configuration, for so long or more, with one seed after another."""
        space = SearchSpace(*(Categorical(name, [value]) for name, value in default.items())).model_dump(mode="json")
        over: list[dict[str, Any]] = []
        while sum(each["cluster_seconds"] for each in over) < cluster_seconds:
            seeds = range(len(over), len(over) + WORKERS)
            over += self._run(
                *({"optimizer": "random", "seed": seed, "space": space, "budget": {"trials": 1}} for seed in seeds)
            )
        return over

    def best(self, studies: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The study with the best trial."""
        return min(studies, key=lambda each: float(each["best"][0]["metrics"][self._metric]))

    def best_report(self, studies: Sequence[dict[str, Any]]) -> tuple[Config, int]:
        """Configuration and resource of the best report of all trials, however far these were trained on."""
        found: tuple[float, Config, int] | None = None
        for study in studies:
            for trial in self._service.pages(f"/v1/studies/{study['id']}/trials"):
                for report in self._service.pages(f"/v1/trials/{trial['id']}/reports"):
                    value = float(report["metrics"][self._metric])
                    if found is None or value < found[0]:
                        found = value, trial["config"], int(report["resource"])
        if found is None:
            raise RuntimeError("no trial has reported")
        return found[1:]

    def _run(self, *studies: dict[str, Any]) -> list[dict[str, Any]]:
        """Studies side by side, once they are over."""
        begun = [self._service.submit(self._shared | study) for study in studies]
        return [self._service.wait_until_over(study, PATIENCE_SECONDS) for study in begun]


def held(space: SearchSpace, values: Config) -> SearchSpace:
    """A space in which these parameters can be nothing but these values."""
    return SearchSpace(
        *(Categorical(each.name, [values[each.name]]) if each.name in values else each for each in space.root)
    )


@contextmanager
def checkpoint(states: CheckpointStore, study: dict[str, Any]) -> Iterator[Path]:
    """The state that was measured as the best of a study.

    Raises:
        RuntimeError: it left nothing.
    """
    best = study["best"][0]
    with tempfile.TemporaryDirectory(prefix="tw-choice-") as name:
        state = states.get(study["id"], int(best["trial"]), Path(name), at=best["resource"])
        if state is None:
            raise RuntimeError(f"trial {best['trial']} of study {study['id']} has no state at {best['resource']}")
        yield state.directory


@contextmanager
def service_with_states() -> Iterator[tuple[Service, CheckpointStore]]:
    """A real service with `WORKERS` Ray workers, and where its trials' checkpoints are."""
    with tempfile.TemporaryDirectory(prefix="tw-states-") as name:
        states = f"file://{Path(name).resolve()}"
        with running_service(WORKERS, {"TUNEWRIGHT_CHECKPOINT_URL": states}) as service:
            yield service, CheckpointStore(states)
