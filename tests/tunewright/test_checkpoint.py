from __future__ import annotations

import pytest

from tunewright.workload import Checkpoint


def write(checkpoint, resource, text):
    with checkpoint.save(resource) as directory:
        (directory / "state").write_text(text)


def test_a_new_state_replaces_the_one_before(tmp_path):
    checkpoint = Checkpoint(tmp_path)

    write(checkpoint, 1, "one")
    write(checkpoint, 2.5, "two")

    assert checkpoint.resource == 2.5
    assert (checkpoint.latest / "state").read_text() == "two"
    assert list(tmp_path.iterdir()) == [checkpoint.latest]


def test_a_failed_save_leaves_the_state_before(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    write(checkpoint, 1, "one")

    with pytest.raises(RuntimeError), checkpoint.save(2):
        raise RuntimeError

    assert checkpoint.resource == 1
    assert list(tmp_path.iterdir()) == [checkpoint.latest]


def test_the_newest_state_stays_until_another_of_the_same_resource_is_kept(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    write(checkpoint, 1, "first")
    first = checkpoint.latest
    present = []
    checkpoint.on_save = lambda resource, directory: present.append(first.exists() and directory != first)

    write(checkpoint, 1, "second")

    assert present == [True]
    assert (checkpoint.latest / "state").read_text() == "second"
    assert list(tmp_path.iterdir()) == [checkpoint.latest]


def test_a_state_is_due_after_the_interval(tmp_path):
    assert Checkpoint(tmp_path, interval=0).due
    assert not Checkpoint(tmp_path, interval=1000).due
