"""Click tables: codes without looking ahead, converters, planted structure."""

from __future__ import annotations

import numpy as np
import pytest

from models.data import _click_table
from models.data._click_planted import bayes_auc, generate
from models.data.clicks import FIELDS, encode, load
from models.recsys.ctr.measures import auc, log_loss
from tunewright.errors import WorkloadError


def columns(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return {"a": rng.integers(5, size=n), "b": rng.integers(90, size=n)}, rng.integers(2, size=n).astype(np.float32)


def test_codes_of_training_rows_do_not_depend_on_later_rows():
    values, labels = columns()
    changed = {name: np.r_[column[:160], column[160:] + 1_000] for name, column in values.items()}

    table, other = encode(values, labels), encode(changed, labels)

    assert (table.codes[:160] == other.codes[:160]).all()
    assert table.sizes == other.sizes


def test_unseen_and_rare_categories_share_the_first_codes():
    values, labels = columns()
    values["a"][-3:] = 77
    values["a"][0] = 99

    table = encode(values, labels)

    assert (table.codes[-3:, 0] == 0).all()
    assert table.codes[0, 0] == 0
    assert table.sizes[0] == 6


def test_many_rare_categories_are_spread_over_the_shared_codes():
    n = 4_000
    values = {"a": np.r_[np.arange(1_600) % 80, np.arange(n - 1_600) + 1_000]}
    labels = (np.arange(n) % 2).astype(np.float32)

    table = encode(values, labels)

    rare = table.codes[1_600:, 0]
    assert set(rare.tolist()) == set(range(_click_table._SHARED))


def test_every_code_lies_within_its_field():
    table = generate(2_000, seed=3)

    assert table.fields == FIELDS
    for field, size in enumerate(table.sizes):
        assert table.codes[:, field].min() >= 0
        assert table.codes[:, field].max() < size


def test_parts_cover_all_rows_in_order():
    table = generate(1_000)

    parts = [table.rows(part) for part in ("train", "valid", "test")]

    assert [part.start for part in parts] == [0, parts[0].stop, parts[1].stop]
    assert parts[2].stop == len(table)


def test_true_probabilities_reach_the_best_possible_auc():
    table = generate(60_000, seed=1)

    expected = bayes_auc(table.truth)

    assert auc(table.truth, table.labels) == pytest.approx(expected, abs=0.005)
    assert 0.85 < expected < 0.95


def test_best_auc_of_two_probabilities_in_closed_form():
    # Of the ordered pairs of different rows: 0.2 * 0.2 of the wrong order against 0.8 * 0.8 of the right one.
    assert bayes_auc(np.array([0.2, 0.8])) == pytest.approx(0.64 / 0.68)


def test_auc_counts_ties_half():
    labels = np.array([0, 1, 0, 1], np.float32)

    assert auc(np.array([1.0, 2.0, 2.0, 3.0]), labels) == pytest.approx(3.5 / 4)
    assert auc(np.zeros(4), labels) == 0.5
    assert np.isnan(auc(np.array([0.0, np.nan, 1.0, 2.0]), labels))


def test_log_loss_of_even_odds_is_log_two_and_large_odds_do_not_overflow():
    assert log_loss(np.zeros(3), np.array([0, 1, 1])) == pytest.approx(np.log(2))
    assert log_loss(np.array([1e4, -1e4]), np.array([1, 0])) == pytest.approx(0.0)


def test_a_table_of_ones_own_is_sorted_by_time_and_cut_at_quantiles(tmp_path):
    n = 300
    rng = np.random.default_rng(0)
    time = rng.permutation(n)
    rows = [f"{i},{time[i]},{'xyz'[i % 3]},{rng.random():.6f},{(i * 7) % 2}" for i in range(n)]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["id,timestamp,letter,price,label", *rows]) + "\n")

    table = load("table", path=str(path))

    assert table.fields == ("id", "letter", "price")
    assert table.sizes[2] <= 22
    labels = np.array([(i * 7) % 2 for i in range(n)])[np.argsort(time)]
    assert (table.labels == labels).all()


def test_parquet_reads_as_csv_does(tmp_path):
    import pyarrow as pa
    from pyarrow import csv, parquet

    n = 120
    own = pa.table({"label": [i % 2 for i in range(n)], "city": [f"c{i % 7}" for i in range(n)]})
    csv.write_csv(own, tmp_path / "own.csv")
    parquet.write_table(own, tmp_path / "own.parquet")

    first, second = (load("table", path=str(tmp_path / f"own.{kind}")) for kind in ("csv", "parquet"))

    assert (first.codes == second.codes).all()
    assert (first.labels == second.labels).all()


def test_criteo_counts_become_steps_and_hashes_stay_texts(tmp_path):
    numbers = ["", "0", "1", "2", "3", "50", "5000"]
    rows = [
        "\t".join([str(i // 3 % 2), *[numbers[(i + k) % 7] for k in range(13)], *["1e5", "00ab"][i % 2 :][:1] * 26])
        for i in range(140)
    ]
    path = tmp_path / "train.txt"
    path.write_text("\n".join(rows) + "\n")

    table = load("criteo", path=str(path))

    assert len(table.fields) == 39
    assert table.sizes[0] == 1 + 7
    assert table.sizes[13] == 1 + 2
    assert len(load("criteo", path=str(path), rows=70)) == 70


def test_avazu_hours_become_hour_and_weekday(tmp_path):
    header = "id,click,hour,C1,site_id,device_model"
    rows = [
        f"{i},{i // 2 % 2},1410{21 + i % 4}{i % 24:02d},1005,{'1e9' if i % 2 else 'ff'},m{i % 3}" for i in range(240)
    ]
    path = tmp_path / "train.csv"
    path.write_text("\n".join([header, *rows]) + "\n")

    table = load("avazu", path=str(path))

    assert table.fields == ("hour", "weekday", "C1", "site_id", "device_model")
    assert table.sizes == (1 + 24, 1 + 4, 1 + 1, 1 + 2, 1 + 3)


def test_an_avazu_hour_that_is_no_day_is_named(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("id,click,hour,C1\n" + "1,0,14102100,x\n2,1,14139901,x\n" * 40)

    with pytest.raises(WorkloadError, match=r"column 'hour' must hold YYMMDDHH, but 141399 is no day"):
        load("avazu", path=str(path))


@pytest.mark.parametrize("when", ["7", "2024-02-01 00:00:00"])
@pytest.mark.parametrize("rows", [None, 40])
def test_a_row_without_a_timestamp_is_refused_and_put_nowhere(tmp_path, when, rows):
    path = tmp_path / "own.csv"
    path.write_text("label,timestamp,b\n" + f"0,{when},1\n1,,2\n" * 40)

    with pytest.raises(WorkloadError, match=r"column 'timestamp' is empty in a row: fill it or drop"):
        load("table", path=str(path), rows=rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "nope"}, r"data\.dataset: 'nope' is unknown; known: movielens-100k, generated"),
        ({"name": None}, r"data\.dataset: None is unknown"),
        ({"name": "criteo"}, r"data\.path: criteo is not shipped .* name the file"),
        ({"name": "avazu", "path": "/nowhere/train.csv"}, r"data\.path: /nowhere/train\.csv is not there"),
        ({"name": "movielens-100k", "path": "mine.csv"}, r"data\.path: movielens-100k is no file; give data\.dataset"),
        ({"name": "generated", "rows": 5}, r"data\.rows: 5 must be a whole number from 30"),
        ({"name": "generated", "rows": True}, r"data\.rows: True must be"),
        ({"name": "generated", "seed": -1}, r"data\.seed: -1 must be"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(WorkloadError, match=message):
        load(**options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n" + "1,2\n" * 50, "has no column 'label'"),
        ("label,b\n" + "7,2\n" * 50, "column 'label' must hold 0"),
        ("label,b\n" + "yes,2\n" * 50, "column 'label' must hold 0"),
        ("label,b\n" + "1,2\n" * 50, "needs clicks and rows without one"),
        ("label,b\n" + "1,2\n0,3\n" * 5, "10 rows are too few"),
        ("label\n" + "1\n0\n" * 50, "one field at least"),
        ("label,b\n1,2,3\n", "does not read as a table"),
    ],
)
def test_wrong_files_are_refused_with_the_reason(tmp_path, text, message):
    path = tmp_path / "own.csv"
    path.write_text(text)

    with pytest.raises(WorkloadError, match=message):
        load("table", path=str(path))


@pytest.mark.slow
def test_movielens_is_split_by_each_users_time_without_a_shared_row():
    try:
        table = load("movielens-100k")
    except WorkloadError as error:
        pytest.skip(f"MovieLens-100k is neither in the cache nor to be fetched: {error}")

    assert table.fields == FIELDS
    assert len(table) == 100_000
    assert 0.5 < table.labels.mean() < 0.6
    pairs = set(map(tuple, table.codes[table.rows("train")][:, :2].tolist()))
    tested = table.codes[table.rows("test")][:, :2]
    known = tested[(tested >= 8).all(axis=1)]
    assert not pairs & set(map(tuple, known.tolist()))
