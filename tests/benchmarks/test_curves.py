"""The recorded curves are whole grids, match their manifest, and answer every configuration with its own curve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import data, record_curves
from benchmarks.data.formula import formulas
from benchmarks.record_curves import Recording
from models.tabular.mlp import MLPWorkload
from tunewright.space import Ordinal, SearchSpace
from tunewright.workload import load as load_workload

MEGABYTE = 1_000_000


def test_the_manifest_names_the_files_that_are_there() -> None:
    files = {path.stem for path in data.DIRECTORY.glob("*.npz")}

    assert files == set(data.names())
    assert len(files) == len(data.manifest()) >= 4
    assert sum(path.stat().st_size for path in data.DIRECTORY.iterdir() if path.is_file()) < 10 * MEGABYTE


def test_at_least_four_tables_have_three_hundred_configurations() -> None:
    assert sum(len(data.load(name).loss) >= 300 for name in data.names()) >= 4


@pytest.mark.parametrize("entry", data.manifest(), ids=lambda entry: str(entry["name"]))
def test_a_table_is_whole(entry: dict[str, object]) -> None:
    table = data.load(str(entry["name"]))

    assert table.loss.shape == table.seconds.shape == (entry["rows"], data.POINTS)
    assert len(data.grid(table.space)) == entry["rows"]
    assert np.isfinite(table.loss).all()
    assert (table.seconds[:, 0] > 0).all()
    assert (np.diff(table.seconds, axis=1) >= 0).all()
    assert table.best < table.median
    assert all(parameter.default is None for parameter in table.space.parameters)


@pytest.mark.parametrize("name", data.names())
def test_every_proposal_has_the_curve_that_was_measured_for_it(name: str) -> None:
    table = data.load(name)
    rng = np.random.default_rng(0)
    configs = data.grid(table.space)

    for _ in range(20):
        config = table.space.decode(rng.random(table.space.dimension))
        row = configs.index(config)
        assert table.curve(config).metrics[data.METRIC].tolist() == table.loss[row].tolist()
        assert table.curve(config).seconds.tolist() == table.seconds[row].tolist()


@pytest.mark.parametrize("recording", record_curves.RECORDINGS, ids=lambda recording: str(recording.name))
def test_every_configuration_of_a_grid_is_one_of_its_workload(recording: Recording) -> None:
    space = load_workload(recording.workload).space

    for config in data.grid(recording.space)[::97]:
        whole = record_curves.whole(load_workload(recording.workload), config)
        space.validate_config(whole)
        assert whole.items() >= config.items()


def test_recording_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_curves, "JOURNALS", tmp_path)
    space = SearchSpace(Ordinal("max_depth", [1, 2]), Ordinal("learning_rate", [0.1, 0.5]))
    recording = Recording("xgboost", "wine", space)
    record_curves.record(recording)
    complete = recording.journal.read_text()
    before = "".join(complete.splitlines(keepends=True)[:2])
    recording.journal.write_text(before + '{"row": 2, "conf')

    record_curves.record(recording)

    lines = recording.journal.read_text().splitlines()
    assert [json.loads(line)["row"] for line in lines] == [0, 1, 2, 3]
    assert "\n".join(lines[:2]) + "\n" == before
    assert record_curves.pack(recording, tmp_path)["rows"] == 4
    with np.load(tmp_path / "xgboost_wine.npz") as arrays:
        assert arrays["loss"].shape == (4, data.POINTS)


def test_a_curve_that_stops_being_finite_is_recorded_as_such() -> None:
    class Exploding(MLPWorkload):
        def run(self, config, leg, *, data, checkpoint, report):  # type: ignore[no-untyped-def]
            for resource in range(1, 28):
                report(resource, {"loss": float("nan") if resource > 3 else 1.0})

    row = record_curves.record_row(Exploding(), "wine", 0, {})

    assert row["loss"][:4] == [1.0, 1.0, 1.0, None]
    assert len(row["seconds"]) == 27


@pytest.mark.parametrize("table", formulas(), ids=lambda table: table.name)
def test_a_formula_lies_between_its_optimum_and_its_median(table: object) -> None:
    from benchmarks.data.formula import FormulaTable

    assert isinstance(table, FormulaTable)
    curve = table.curve(table.space.default())
    assert table.best < table.median
    assert curve.metrics["loss"][-1] >= table.best
    assert load_workload("mlp").fidelity.max == table.fidelity.max
