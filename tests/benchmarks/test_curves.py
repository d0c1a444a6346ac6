"""The recorded curves are whole, match their manifest, and answer any configuration with a curve that was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import data, record_curves
from benchmarks.data.formula import formulas
from benchmarks.record_curves import Recording, configurations
from models.tabular.mlp import MLPWorkload
from tunewright.space import Categorical, Config, Float, SearchSpace
from tunewright.workload import load as load_workload

MEGABYTE = 1_000_000


def test_the_manifest_names_the_files_that_are_there() -> None:
    files = {path.stem for path in data.DIRECTORY.glob("*.npz")}

    assert files == set(data.names())
    assert len(files) == len(data.manifest()) >= 4
    assert sum(path.stat().st_size for path in data.DIRECTORY.iterdir() if path.is_file()) < 10 * MEGABYTE


def test_at_least_four_tables_have_three_hundred_configurations() -> None:
    assert sum(len(data.load(name).configs) >= 300 for name in data.names()) >= 4


@pytest.mark.parametrize("entry", data.manifest(), ids=lambda entry: str(entry["name"]))
def test_a_table_is_whole(entry: dict[str, object]) -> None:
    table = data.load(str(entry["name"]))

    shape = (entry["rows"], int(table.fidelity.max))
    assert table.loss.shape == table.seconds.shape == shape
    assert len(table.configs) == entry["rows"]
    assert np.isfinite(table.loss).all()
    assert (table.seconds[:, 0] > 0).all()
    assert (np.diff(table.seconds, axis=1) >= 0).all()
    assert all(table.space.decode(table.space.encode(config)).keys() == config.keys() for config in table.configs)
    assert table.best < table.median


@pytest.mark.parametrize("entry", data.manifest(), ids=lambda entry: str(entry["name"]))
def test_the_first_configuration_is_the_default_which_the_tables_space_keeps_quiet_about(
    entry: dict[str, object],
) -> None:
    table = data.load(str(entry["name"]))

    assert table.configs[0] == SearchSpace(entry["space"]).default()
    assert all(parameter.default is None for parameter in table.space.parameters)


@pytest.mark.parametrize("name", data.names())
def test_a_recorded_configuration_has_its_own_curve(name: str) -> None:
    table = data.load(name)

    for row in (0, 7, 40):
        # Whole numbers on small ranges can make two rows equal; the first then stands for both.
        first = table.configs.index(table.configs[row])
        curve = table.curve(table.configs[row])
        assert curve.metrics[data.METRIC].tolist() == table.loss[first].tolist()
        assert curve.seconds.tolist() == table.seconds[first].tolist()


@pytest.mark.parametrize("name", data.names())
def test_any_other_configuration_lies_between_its_neighbours_and_never_goes_back_in_time(name: str) -> None:
    table = data.load(name)
    rng = np.random.default_rng(0)

    for _ in range(20):
        curve = table.curve(table.space.decode(rng.random(table.space.dimension)))
        assert table.best <= curve.metrics[data.METRIC][-1] <= table.loss[:, -1].max()
        assert (np.diff(curve.seconds) >= 0).all()


def test_other_choices_are_one_apart_and_what_is_inactive_in_both_does_not_count() -> None:
    space = SearchSpace(
        Categorical("kind", ["a", "b", "c"]), Float("x", 0.0, 1.0), Float("only_c", 0.0, 1.0, when={"kind": "c"})
    )
    recorded: list[Config] = [{"kind": "a", "x": 0.0}, {"kind": "b", "x": 0.5}, {"kind": "c", "x": 0.0, "only_c": 0.5}]
    metric = data._Metric(space, recorded)

    assert metric.squared_distance({"kind": "a", "x": 0.5}) == pytest.approx([0.25, 1.0, 1.25])
    assert metric.squared_distance({"kind": "c", "x": 0.0, "only_c": 0.9})[2] == pytest.approx(0.16)


def test_weights_fall_with_the_squared_distance() -> None:
    space = SearchSpace(Float("x", 0.0, 1.0))
    metric = data._Metric(space, [{"x": 0.0}, {"x": 0.3}])

    rows, weights = metric.neighbours({"x": 0.1})

    assert rows.tolist() == [0, 1]
    assert weights == pytest.approx([0.8, 0.2])


def test_the_design_grows_without_changing() -> None:
    short, long = configurations(MLPWorkload.space, 20), configurations(MLPWorkload.space, 300)

    assert long[:20] == short
    assert short[0] == MLPWorkload.space.default()


def test_recording_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_curves, "JOURNALS", tmp_path)
    recording = Recording("xgboost", "wine", 4)
    record_curves.record(recording, 2)
    before = recording.journal.read_text()
    recording.journal.write_text(before + '{"row": 2, "conf')

    record_curves.record(recording, 4)

    lines = recording.journal.read_text().splitlines()
    assert [json.loads(line)["row"] for line in lines] == [0, 1, 2, 3]
    assert "\n".join(lines[:2]) + "\n" == before
    entry = record_curves.pack(recording, tmp_path)
    assert entry is not None
    assert entry["rows"] == 4
    with np.load(tmp_path / "xgboost_wine.npz") as arrays:
        assert arrays["loss"].shape == (4, 81)


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
