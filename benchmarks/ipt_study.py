"""Does a study of all that `ipt.classify` can vary beat its default configuration, trained for as long?

    python -m benchmarks.ipt_study [--quick] [--json FILE]

A real service with two Ray workers, MiniLM, 16 texts of each class. Hyper-Tune searches the whole space, strategies,
baselines and all, by the error on held-out texts, until its trials have run for a budget of cluster seconds. Then the
default configuration is trained whole with one seed after another on the same texts, for as many cluster seconds or
more, and the training with the least error on the same held-out texts is taken. Either choice is judged on other texts,
by the classifier that `models.ipt.load` makes of its trial's checkpoint.

study_minus_default_points  accuracy of the study's choice minus the default's, in percentage points: mean over data
                            sets and draws of texts; `_low` and `_high` are Student's 95% interval
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks._equal_compute import Spending, checkpoint, service_with_states
from benchmarks._harness import Cell, Result, arguments, interval, publish
from benchmarks._ipt_runs import MAX_TOKENS, Setting
from benchmarks._service import Service
from models.ipt import load
from models.ipt.workload import IptWorkload
from workers.checkpoints import CheckpointStore

NAME = "ipt_study"


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        draws: of training texts, for each data set.
        budget: cluster seconds of a study.
        chunks: units of a whole training; after each the texts to choose by are classified, which takes longer than a
            few steps.
        chunk_steps: optimizer steps of one of them.
        select, test: held-out texts to choose by, and others to judge by.
    """

    datasets: Sequence[str]
    draws: int
    budget: float
    chunks: int
    chunk_steps: int
    select: int = 200
    test: int = 400


FULL = Scale(("tweets", "candidates", "keywords"), draws=2, budget=360.0, chunks=9, chunk_steps=9)
QUICK = Scale(("tweets",), draws=1, budget=16.0, chunks=9, chunk_steps=3, select=40, test=200)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    asked = arguments(NAME, (__doc__ or "").split("\n\n")[0], argv)
    scale = scale or (QUICK if asked.quick else FULL)
    result = Result(NAME, asked.command)
    with service_with_states() as (service, states):
        for dataset in scale.datasets:
            for draw in range(scale.draws):
                result.keep(compare(service, states, dataset, draw, scale))
    gains = [float(row["study %"] or 0) - float(row["default %"] or 0) for row in result.rows]
    mean, low, high = interval(gains)
    result.headline |= {
        "study_minus_default_points": mean,
        "study_minus_default_points_low": low,
        "study_minus_default_points_high": high,
        "comparisons": float(len(gains)),
    }
    publish(result, asked.json)


def compare(service: Service, states: CheckpointStore, dataset: str, draw: int, scale: Scale) -> dict[str, Cell]:
    """One row: both ways to spend the same compute on one draw of texts."""
    data = {
        "dataset": dataset,
        "shots": 16,
        "sample_seed": draw,
        "valid_rows": scale.select,
        "max_tokens": MAX_TOKENS,
        "chunk_steps": scale.chunk_steps,
    }
    setting = Setting(dataset, 16, 0, 0, scale.select, scale.test)
    fidelity = {"name": "chunks", "min": 1, "max": scale.chunks}
    spending = Spending(
        service, {"name": "ipt", "workload": "ipt.classify", "data": data, "fidelity": fidelity}, "error"
    )
    searched = spending.search(draw, scale.budget)
    used = float(searched["cluster_seconds"])
    plain = spending.repeat(IptWorkload.space.default(), used)
    return {
        "data set": dataset,
        "draw": draw,
        "study %": _accuracy(states, searched, setting, draw),
        "default %": _accuracy(states, spending.best(plain), setting, draw),
        "choice": str(searched["best"][0]["config"]["strategy"]),
        "trials": sum(searched["counts"].values()),
        "defaults": len(plain),
        "study s": used,
        "defaults s": sum(float(each["cluster_seconds"]) for each in plain),
    }


def _accuracy(states: CheckpointStore, study: dict[str, Any], setting: Setting, draw: int) -> float:
    """Accuracy in percent of a study's choice on the texts that nothing was chosen by."""
    texts = setting.texts(draw, choosing=False)
    labels = [texts.classes[label] for label in texts.y_valid]
    with checkpoint(states, study) as directory:
        return 100 * float(load(directory).score(texts.valid, labels))


if __name__ == "__main__":
    main()
