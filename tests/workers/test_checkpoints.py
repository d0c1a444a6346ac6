"""States of trials in a directory and in another fsspec file system."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest

from workers.checkpoints import CheckpointStore


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStore:
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()
        return CheckpointStore("memory://states")
    return CheckpointStore(f"file://{tmp_path / 'a b' / 'states'}")


def state(root: Path, text: str) -> Path:
    directory = root / f"written-{text}"
    (directory / "nested" / "deeper").mkdir(parents=True)
    (directory / "model.bin").write_text(text)
    (directory / "nested" / "deeper" / "optimizer.bin").write_text(text * 2)
    return directory


def fetched(
    store: CheckpointStore, root: Path, trial: int = 0, at: float | None = None
) -> tuple[float, str, str] | None:
    place = root / "fetched"
    place.mkdir(exist_ok=True)
    saved = store.get("study", trial, _fresh(place), at=at)
    if saved is None:
        return None
    return (
        saved.resource,
        (saved.directory / "model.bin").read_text(),
        (saved.directory / "nested" / "deeper" / "optimizer.bin").read_text(),
    )


def files(store: CheckpointStore) -> int:
    """Number of files of all trials, an index among them for each trial that has states."""
    return len(store._fs.find(store._root))


def _fresh(place: Path) -> Path:
    directory = place / str(len(list(place.iterdir())))
    directory.mkdir()
    return directory


def test_nothing_is_there_at_first(store: CheckpointStore, tmp_path: Path) -> None:
    assert fetched(store, tmp_path) is None


def test_the_newest_state_comes_back_whole(store: CheckpointStore, tmp_path: Path) -> None:
    store.put("study", 0, 3.0, state(tmp_path, "three"))
    store.put("study", 0, 9.0, state(tmp_path, "nine"))

    assert fetched(store, tmp_path) == (9.0, "nine", "ninenine")


def test_a_link_to_a_directory_is_stored_as_what_is_in_it(store: CheckpointStore, tmp_path: Path) -> None:
    directory = state(tmp_path, "nine")
    (directory / "last").symlink_to("nested", target_is_directory=True)
    (directory / "nested" / "up").symlink_to("..", target_is_directory=True)

    store.put("study", 0, 9.0, directory)

    saved = store.get("study", 0, tmp_path)
    assert saved is not None
    assert (saved.directory / "last" / "deeper" / "optimizer.bin").read_text() == "ninenine"
    assert not (saved.directory / "nested" / "up").exists(), "it has no end"


def test_a_state_that_cannot_be_read_is_not_stored_as_an_empty_one(store: CheckpointStore, tmp_path: Path) -> None:
    store.put("study", 0, 3.0, state(tmp_path, "three"))

    with pytest.raises(FileNotFoundError):
        store.put("study", 0, 9.0, tmp_path / "gone")

    assert fetched(store, tmp_path) == (3.0, "three", "threethree")


def test_trials_do_not_share_states(store: CheckpointStore, tmp_path: Path) -> None:
    store.put("study", 0, 3.0, state(tmp_path, "zero"))
    store.put("study", 1, 4.0, state(tmp_path, "one"))

    assert fetched(store, tmp_path, 0) == (3.0, "zero", "zerozero")
    assert fetched(store, tmp_path, 1) == (4.0, "one", "oneone")


def test_a_failed_transfer_leaves_the_state_before(
    store: CheckpointStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("study", 0, 3.0, state(tmp_path, "three"))

    def full(path: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_replace", full)
    with pytest.raises(OSError, match="No space"):
        store.put("study", 0, 9.0, state(tmp_path, "nine"))

    assert fetched(store, tmp_path) == (3.0, "three", "threethree")


def test_states_of_a_time_that_is_gone_are_removed(store: CheckpointStore, tmp_path: Path) -> None:
    keep = {3.0, 9.0}
    for resource in (3.0, 9.0, 27.0):
        store.put("study", 0, resource, state(tmp_path, f"s{resource:g}"), keep=keep)

    assert store.rewind("study", 0, 27.0)
    assert store.kept("study", 0) == [27.0, 9.0, 3.0]
    assert store.rewind("study", 0, 9.0)
    assert fetched(store, tmp_path) == (9.0, "s9", "s9s9")
    assert not store.rewind("study", 0, 1.0)
    assert files(store) == 0
    assert not store.rewind("study", 0, 1.0)


def test_removing_keeps_the_trials_named(store: CheckpointStore, tmp_path: Path) -> None:
    for trial in range(3):
        store.put("study", trial, 3.0, state(tmp_path, f"t{trial}"))

    store.remove("study", keep=frozenset({1}))

    assert fetched(store, tmp_path, 0) is None
    assert fetched(store, tmp_path, 1) is not None
    assert fetched(store, tmp_path, 2) is None


def test_removing_a_study_that_has_nothing_is_no_error(store: CheckpointStore) -> None:
    store.remove("unknown")
    store.remove("unknown", keep=frozenset({1}))


def test_states_to_keep_outlive_newer_ones(store: CheckpointStore, tmp_path: Path) -> None:
    store.put("study", 0, 3.0, state(tmp_path, "three"))
    store.put("study", 0, 4.0, state(tmp_path, "four"), keep={3.0})
    store.put("study", 0, 6.0, state(tmp_path, "six"), keep={3.0})

    assert fetched(store, tmp_path) == (6.0, "six", "sixsix")
    assert fetched(store, tmp_path, at=3.0) == (3.0, "three", "threethree")
    assert fetched(store, tmp_path, at=6.0) == (6.0, "six", "sixsix")
    assert fetched(store, tmp_path, at=4.0) is None
    assert files(store) == 2 * 2 + 1


def test_a_state_goes_once_it_is_not_to_be_kept_any_more(store: CheckpointStore, tmp_path: Path) -> None:
    store.put("study", 0, 3.0, state(tmp_path, "three"))
    store.put("study", 0, 6.0, state(tmp_path, "six"), keep={3.0})

    store.put("study", 0, 9.0, state(tmp_path, "nine"), keep={6.0})

    assert fetched(store, tmp_path, at=3.0) is None
    assert fetched(store, tmp_path, at=6.0) == (6.0, "six", "sixsix")
    assert files(store) == 2 * 2 + 1


@pytest.mark.parametrize(
    ("keep", "newest", "left"),
    [
        ({3.0}, True, [3.0, 6.0]),
        ({3.0}, False, [3.0]),
        (set(), True, [6.0]),
        (set(), False, []),
        ({6.0}, False, [6.0]),
        ({5.0}, False, []),
    ],
)
def test_pruning_leaves_what_is_named(
    store: CheckpointStore, tmp_path: Path, keep: set[float], newest: bool, left: list[float]
) -> None:
    store.put("study", 0, 3.0, state(tmp_path, "three"))
    store.put("study", 0, 6.0, state(tmp_path, "six"), keep={3.0})

    for _ in range(2):
        store.prune("study", 0, keep, newest=newest)

    assert [at for at in (3.0, 6.0) if fetched(store, tmp_path, at=at) is not None] == left
    assert files(store) == (2 * len(left) + 1 if left else 0)


def test_pruning_a_trial_that_has_nothing_is_no_error(store: CheckpointStore) -> None:
    store.prune("unknown", 0, frozenset(), newest=False)


def test_states_of_an_older_release_are_found(tmp_path: Path) -> None:
    store = CheckpointStore(f"file://{tmp_path / 'states'}")
    store.put("study", 0, 3.0, state(tmp_path, "three"))
    latest = tmp_path / "states" / "study" / "0" / "latest.json"
    old = json.loads(latest.read_text())
    del old["kept"]
    latest.write_text(json.dumps(old))

    assert fetched(store, tmp_path) == (3.0, "three", "threethree")
