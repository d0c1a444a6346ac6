"""Click tables of a user's own files: whole columns decide a column's type, and `rows` are the earliest."""

from __future__ import annotations

import numpy as np
import pytest

from models.data.clicks import load
from tunewright.errors import WorkloadError

# Arrow looks at blocks of a megabyte.
BLOCK = 1 << 20


def write(path, rows, kind):
    """Rows, the first one the header, as CSV or Parquet."""
    header, *lines = (row.split(",") for row in rows)
    file = path / f"own.{kind}"
    if kind == "csv":
        file.write_text("".join(",".join(line) + "\n" for line in (header, *lines)))
    else:
        pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = [
            np.array([line[at] for line in lines], str if name == "letter" else int) for at, name in enumerate(header)
        ]
        parquet.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], header), file)
    return file


@pytest.mark.parametrize("later", ["0.5", "x", ""], ids=["decimal", "text", "empty"])
@pytest.mark.parametrize("timed", [False, True])
def test_a_column_that_changes_its_kind_late_is_read_as_what_holds_all_of_it(tmp_path, later, timed):
    wide = "w" * 10_000
    rows = [f"{i % 2},{wide},7,1" for i in range(1 + BLOCK // len(wide))]
    rows += [f"{i % 2},{wide},{later},1" for i in range(60)]
    file = write(tmp_path, [f"label,text,amount,{'timestamp' if timed else 'other'}", *rows], "csv")

    amount = load("table", path=str(file)).codes[:, 1]

    assert len(set(amount[:100])) == 1
    assert amount[0] != amount[-1]
    assert len(load("table", path=str(file), rows=150)) == 150


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_are_the_earliest_and_without_timestamps_the_first(tmp_path, kind):
    time = np.random.default_rng(0).permutation(200)
    label = {t: (t // 2) % 2 for t in range(200)}
    timed = write(tmp_path, ["label,timestamp,letter", *(f"{label[t]},{t},{'ab'[t % 2]}" for t in time)], kind)

    table = load("table", path=str(timed), rows=80)

    assert table.labels.tolist() == [label[t] for t in range(80)]

    (tmp_path / "plain").mkdir()
    plain = write(tmp_path / "plain", ["label,letter", *(f"{label[t]},{'ab'[t % 2]}" for t in time)], kind)
    assert load("table", path=str(plain), rows=80).labels.tolist() == [label[t] for t in time[:80]]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("rows", [None, 40])
def test_two_columns_of_one_name_are_refused(tmp_path, kind, rows):
    file = write(tmp_path, ["label,city,city", *(f"{i % 2},1,2" for i in range(60))], kind)

    with pytest.raises(WorkloadError, match=rf"own\.{kind} has two columns 'city': rename or drop one"):
        load("table", path=str(file), rows=rows)


@pytest.mark.parametrize("rows", [None, 40])
def test_a_timestamp_that_is_no_number_is_named(tmp_path, rows):
    file = write(tmp_path, ["label,timestamp,city", *(f"{i % 2},monday,2" for i in range(60))], "csv")

    with pytest.raises(WorkloadError, match=r"own\.csv: column 'timestamp' must hold numbers: .*monday"):
        load("table", path=str(file), rows=rows)


@pytest.mark.parametrize("late", ["0.5", "3"])
def test_counts_of_criteo_may_be_missing_for_long(tmp_path, late):
    lines = ["\t".join([str(i % 2), *[""] * 13, *["h" * 400] * 26]) for i in range(120)]
    lines += ["\t".join([str(i % 2), *[late] * 13, *["h" * 400] * 26]) for i in range(20)]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")

    assert len(load("criteo", path=str(tmp_path / "train.txt"))) == 140


def test_two_columns_of_avazu_of_one_name_are_refused(tmp_path):
    rows = [f"{i},{i // 2 % 2},141021{i % 24:02d},1,2" for i in range(60)]
    (tmp_path / "train.csv").write_text("\ufeff" + "\n".join(["id,click,hour,C1,C1", *rows]) + "\n", "utf-8")

    with pytest.raises(WorkloadError, match="has two columns 'C1'"):
        load("avazu", path=str(tmp_path / "train.csv"))


def test_an_hour_of_avazu_that_is_missing_is_named(tmp_path):
    rows = [f"{i},{i // 2 % 2},{'' if i == 50 else 14102100 + i % 24},1" for i in range(60)]
    (tmp_path / "train.csv").write_text("\n".join(["id,click,hour,C1", *rows]) + "\n")

    with pytest.raises(WorkloadError, match="column 'hour' is empty in a row"):
        load("avazu", path=str(tmp_path / "train.csv"))
