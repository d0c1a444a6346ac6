from __future__ import annotations

import numpy as np
import pytest

from models.data.catalog import CATALOG, load
from tunewright.errors import WorkloadError


@pytest.mark.parametrize("name", CATALOG)
def test_a_data_set_is_what_its_entry_says(name):
    entry = CATALOG[name]

    data = load(name)

    assert data.task == entry.task
    assert len(data.x_train) + len(data.x_valid) == entry.rows
    assert data.x_train.shape[1] == data.x_valid.shape[1] == entry.features
    assert data.x_train.dtype == data.x_valid.dtype == np.float32
    assert data.y_train.shape == data.x_train.shape[:1]
    assert data.y_valid.shape == data.x_valid.shape[:1]
    assert data.y_train.dtype == (np.int64 if entry.task == "classification" else np.float32)


@pytest.mark.parametrize("name", [name for name, entry in CATALOG.items() if entry.task == "classification"])
def test_both_parts_hold_the_same_share_of_every_class(name):
    data = load(name)

    train = np.bincount(data.y_train, minlength=data.n_classes) / len(data.y_train)
    valid = np.bincount(data.y_valid, minlength=data.n_classes) / len(data.y_valid)

    assert np.abs(train - valid).max() < 0.02


def test_the_split_is_the_same_every_time():
    from models.data import catalog

    first = load("wine")
    catalog._split.cache_clear()

    second = load("wine")

    np.testing.assert_array_equal(first.x_valid, second.x_valid)
    np.testing.assert_array_equal(first.y_train, second.y_train)


def test_a_shared_data_set_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        load("iris").x_train[0, 0] = 1


@pytest.mark.parametrize("name", ["mnist", "", None, 3, ["digits"]])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(WorkloadError, match=r"data\.dataset: .* is unknown; known: digits, breast_cancer"):
        load(name)
