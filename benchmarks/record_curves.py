"""Records learning curves as tables, on which optimizers are compared without training anything.

    python -m benchmarks.record_curves [--only TABLE] [--out DIRECTORY]

A table is a full grid: every configuration of a finite space, trained whole by a workload of ours, with what it
reported along the way and the processor time it took to get there. Whatever an optimizer proposes has then been
measured, and nothing needs to be guessed between measurements.

Time is the process's own processor time (`time.process_time`), with one thread, so that whoever else uses the machine
adds little noise. The first report of a row carries the cost of setting up its model, none the cost of imports or of
loading the data.

Recording can be stopped at any moment and goes on where it was: rows are appended to `build/curves/TABLE.jsonl`, and
packed into `benchmarks/data/TABLE.npz` when the grid is whole; see `benchmarks.data` for the packed form.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import DIRECTORY, MANIFEST, METRIC, POINTS, grid
from models.data.catalog import CATALOG, load
from tunewright.space import Categorical, Config, Ordinal, SearchSpace
from tunewright.workload import Checkpoint, Leg, Workload
from tunewright.workload import load as load_workload

COMMAND = "python -m benchmarks.record_curves"
JOURNALS = Path("build/curves")

TREES = SearchSpace(
    Ordinal("learning_rate", [0.02, 0.05, 0.1, 0.2, 0.4, 0.8]),
    Ordinal("max_depth", [1, 2, 4, 6, 10]),
    Ordinal("min_child_weight", [0.5, 2.0, 8.0, 20.0]),
    Ordinal("subsample", [0.4, 0.7, 1.0]),
    Ordinal("colsample_bytree", [0.3, 0.6, 1.0]),
    Ordinal("reg_lambda", [0.1, 3.0, 30.0]),
)
NETWORK = SearchSpace(
    Ordinal("layers", [1, 2, 3]),
    Ordinal("width", [16, 64, 256]),
    Categorical("activation", ["relu", "tanh"]),
    Ordinal("dropout", [0.0, 0.3]),
    Categorical("optimizer", ["adamw", "sgd"]),
    Ordinal("momentum", [0.0, 0.9], when={"optimizer": "sgd"}),
    Ordinal("learning_rate", [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]),
    Ordinal("batch_size", [32, 64, 128]),
)


@dataclass(frozen=True)
class Recording:
    """A table to record.

    Attributes:
        space: finite; what it leaves out of the workload's own space has its default.
    """

    workload: str
    dataset: str
    space: SearchSpace

    @property
    def name(self) -> str:
        return f"{self.workload}_{self.dataset}"

    @property
    def journal(self) -> Path:
        return JOURNALS / f"{self.name}.jsonl"


RECORDINGS = tuple(
    Recording(workload, dataset, space)
    for workload, space in (("xgboost", TREES), ("mlp", NETWORK))
    for dataset in ("digits", "diabetes", "breast_cancer")
)


def whole(workload: Workload, config: Config) -> Config:
    """A grid's configuration with the workload's defaults for what the grid does not vary."""
    found: Config = {}
    for parameter in workload.space.parameters:
        if all(found.get(parent) in values for parent, values in parameter.when.items()):
            found[parameter.name] = config.get(parameter.name, parameter.default_value())
    return found


def record_row(workload: Workload, dataset: str, row: int, config: Config) -> dict[str, Any]:
    """Train one configuration whole: its reports, and seconds of processor time from the start to each.

    A report that is not finite ends the row's curve: None from there on.
    """
    resources = range(1, int(workload.fidelity.max) + 1)
    losses: list[float | None] = []
    seconds: list[float] = []
    begin = time.process_time()

    def report(resource: float, metrics: Mapping[str, float]) -> None:
        seconds.append(time.process_time() - begin)
        loss = metrics[METRIC]
        losses.append(loss if np.isfinite(loss) else None)

    with tempfile.TemporaryDirectory() as directory:
        checkpoint = Checkpoint(Path(directory), interval=float("inf"))
        leg = Leg(0, workload.fidelity.max, seed=row)
        workload.run(config, leg, data={"dataset": dataset, "threads": 1}, checkpoint=checkpoint, report=report)
    if len(losses) != len(resources):
        raise RuntimeError(f"row {row}: {len(losses)} reports, {len(resources)} were expected")
    return {"row": row, "config": config, "loss": losses, "seconds": seconds}


def record(recording: Recording) -> None:
    """Append a table's rows that its journal lacks."""
    workload = load_workload(recording.workload)
    configs = grid(recording.space)
    done = len(_journal(recording))
    if done == len(configs):
        return
    _warm_up(workload, recording.dataset)
    recording.journal.parent.mkdir(parents=True, exist_ok=True)
    with recording.journal.open("a") as out:
        for row in range(done, len(configs)):
            found = record_row(workload, recording.dataset, row, whole(workload, configs[row]))
            out.write(json.dumps(found | {"config": configs[row]}) + "\n")
            out.flush()


def pack(recording: Recording, directory: Path) -> dict[str, Any]:
    """Write a recorded table's packed form, and return its entry in the manifest."""
    rows = _journal(recording)
    workload = load_workload(recording.workload)
    every = int(workload.fidelity.max) // POINTS
    unfinished = directory / f"{recording.name}.unfinished.npz"
    np.savez_compressed(
        unfinished,
        loss=np.array([row["loss"][every - 1 :: every] for row in rows], dtype=np.float32),
        seconds=np.array([row["seconds"][every - 1 :: every] for row in rows], dtype=np.float32),
    )
    unfinished.replace(directory / f"{recording.name}.npz")
    return {
        "name": recording.name,
        "workload": recording.workload,
        "dataset": recording.dataset,
        "source": CATALOG[recording.dataset].source,
        "rows": len(rows),
        "space": recording.space.model_dump(mode="json"),
        "fidelity": workload.fidelity.model_dump(mode="json"),
        "trial_seed": "the row's number",
        "threads": 1,
        "clock": "time.process_time",
        "versions": {name: version(name) for name in ("numpy", "scikit-learn", "torch", "xgboost")}
        | {"python": platform.python_version()},
        "machine": platform.machine(),
        "command": COMMAND,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Record what is missing, table by table; the manifest names those that are whole."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", metavar="TABLE", choices=[recording.name for recording in RECORDINGS])
    parser.add_argument("--out", type=Path, default=DIRECTORY, metavar="DIRECTORY")
    found = parser.parse_args(argv)
    for recording in RECORDINGS:
        if found.only not in (None, recording.name):
            continue
        record(recording)
        entry = pack(recording, found.out)
        manifest = found.out / MANIFEST
        entries = json.loads(manifest.read_text())["tables"] if manifest.exists() else []
        others = {other["name"]: other for other in entries} | {recording.name: entry}
        known = [other.name for other in RECORDINGS if other.name in others]
        manifest.write_text(json.dumps({"tables": [others[name] for name in known]}, indent=1) + "\n")


def _warm_up(workload: Workload, dataset: str) -> None:
    """Imports, and the data into the catalogue's cache, so that no row pays for them."""
    load(dataset)
    with tempfile.TemporaryDirectory() as directory:
        data = {"dataset": dataset, "threads": 1}
        workload.run(
            workload.space.default(), Leg(0, 1), data=data, checkpoint=Checkpoint(Path(directory)), report=_ignore
        )


def _ignore(resource: float, metrics: Mapping[str, float]) -> None:
    pass


def _journal(recording: Recording) -> list[dict[str, Any]]:
    """The rows on record; a last line that was cut off in writing is dropped from the file."""
    if not recording.journal.exists():
        return []
    rows = list(_whole_lines(recording.journal))
    if sum(1 for _ in recording.journal.open()) > len(rows):
        recording.journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as lines:
        for line in lines:
            if not line.endswith("\n"):
                return
            yield json.loads(line)


if __name__ == "__main__":
    main()
