"""Records learning curves as tables, on which optimizers are compared without training anything.

    python -m benchmarks.record_curves [--only TABLE] [--rows N] [--out DIRECTORY]

Every row of a table is one configuration trained whole by a workload of ours, with what it reported at every resource
and the processor time it took to get there. The first row is the space's default, the others are a scrambled Sobol
sequence: all later rows of a table can be added without changing the earlier ones.

Time is the process's own processor time (`time.process_time`), with one thread, so that whoever else uses the machine
adds little noise. The first report of a row carries the cost of setting up its model, none the cost of imports or of
loading the data.

Recording can be stopped at any moment and goes on where it was: rows are appended to `build/curves/TABLE.jsonl` and
packed into `benchmarks/data/TABLE.npz` after each round over the tables; see `benchmarks.data` for the packed form.
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
from scipy.stats import qmc

from benchmarks.data import DIRECTORY, MANIFEST, METRIC
from models.data.catalog import CATALOG, load
from tunewright.space import Config, SearchSpace
from tunewright.workload import Checkpoint, Leg, Workload
from tunewright.workload import load as load_workload

COMMAND = "python -m benchmarks.record_curves"
JOURNALS = Path("build/curves")
DESIGN_SEED = 0
# Tables grow in turns, each by this part of its rows, so that a recording cut short has something of all of them.
TURNS = 20


@dataclass(frozen=True)
class Recording:
    """A table to record.

    Attributes:
        rows: configurations, the default included.
    """

    workload: str
    dataset: str
    rows: int

    @property
    def name(self) -> str:
        return f"{self.workload}_{self.dataset}"

    @property
    def journal(self) -> Path:
        return JOURNALS / f"{self.name}.jsonl"


# Digits take ten times as long a row as the others: one tree per class and round, three times the rows.
RECORDINGS = (
    Recording("xgboost", "digits", 300),
    Recording("mlp", "digits", 300),
    Recording("xgboost", "diabetes", 1000),
    Recording("mlp", "diabetes", 1000),
    Recording("xgboost", "breast_cancer", 1000),
    Recording("mlp", "breast_cancer", 1000),
)


def configurations(space: SearchSpace, rows: int) -> list[Config]:
    """The default, then a scrambled Sobol sequence; a longer list begins with the shorter one."""
    sobol = qmc.Sobol(space.dimension, scramble=True, rng=np.random.default_rng(DESIGN_SEED))
    points = sobol.random_base2(max(1, int(np.ceil(np.log2(rows)))))
    return [space.default(), *(space.decode(point) for point in points[: rows - 1])]


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


def record(recording: Recording, upto: int) -> None:
    """Append a table's rows before `upto` that its journal lacks."""
    done = len(_journal(recording))
    if done >= min(upto, recording.rows):
        return
    workload = load_workload(recording.workload)
    configs = configurations(workload.space, recording.rows)
    _warm_up(workload, recording.dataset)
    recording.journal.parent.mkdir(parents=True, exist_ok=True)
    with recording.journal.open("a") as out:
        for row in range(done, min(upto, recording.rows)):
            out.write(json.dumps(record_row(workload, recording.dataset, row, configs[row])) + "\n")
            out.flush()


def pack(recording: Recording, directory: Path) -> dict[str, Any] | None:
    """Write a table's packed form; its entry in the manifest, or None while it has no rows."""
    rows = _journal(recording)
    if not rows:
        return None
    workload = load_workload(recording.workload)
    unfinished = directory / f"{recording.name}.unfinished.npz"
    np.savez_compressed(
        unfinished,
        loss=np.array([row["loss"] for row in rows], dtype=np.float32),
        seconds=np.array([row["seconds"] for row in rows], dtype=np.float32),
        configs=np.array([json.dumps(row["config"]) for row in rows]),
    )
    unfinished.replace(directory / f"{recording.name}.npz")
    return {
        "name": recording.name,
        "workload": recording.workload,
        "dataset": recording.dataset,
        "source": CATALOG[recording.dataset].source,
        "rows": len(rows),
        "space": workload.space.model_dump(mode="json"),
        "fidelity": workload.fidelity.model_dump(mode="json"),
        "design": "default, then scrambled Sobol",
        "design_seed": DESIGN_SEED,
        "trial_seed": "the row's number",
        "threads": 1,
        "clock": "time.process_time",
        "versions": {name: version(name) for name in ("numpy", "scikit-learn", "torch", "xgboost")}
        | {"python": platform.python_version()},
        "machine": platform.machine(),
        "command": COMMAND,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Record what is missing, table by table in turns."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", metavar="TABLE", choices=[recording.name for recording in RECORDINGS])
    parser.add_argument("--rows", type=int, metavar="N", help="record at most N rows of each table for now")
    parser.add_argument("--out", type=Path, default=DIRECTORY, metavar="DIRECTORY")
    found = parser.parse_args(argv)
    for turn in range(1, TURNS + 1):
        for recording in RECORDINGS:
            if found.only in (None, recording.name):
                upto = recording.rows if found.rows is None else min(found.rows, recording.rows)
                record(recording, upto * turn // TURNS)
        entries = [entry for recording in RECORDINGS if (entry := pack(recording, found.out)) is not None]
        (found.out / MANIFEST).write_text(json.dumps({"tables": entries}, indent=1) + "\n")


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
