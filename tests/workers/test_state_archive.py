"""States as tar archives, which any tool unpacks."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from workers import checkpoints, state_archive
from workers.checkpoints import CheckpointStore

FILES = {
    "empty": b"",
    "a whole block": bytes(512),
    "nested/deeper/odd": b"x" * 1_000_001,
    # Longer than a header of old has room for, and not in ASCII.
    "nested/" + "long-" * 30 + "Größe.bin": b"weights",
}


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(f"file://{tmp_path / 'states'}")
    for name, content in FILES.items():
        path = tmp_path / "written" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    store.put("study", 0, 3.0, tmp_path / "written")
    return store


def test_it_holds_every_file_and_is_as_long_as_was_said(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "PIECE", 65_536)
    state = store.look("study", 0)
    assert state is not None

    archive = b"".join(state_archive.pieces(store, state.files))

    assert len(archive) == state_archive.length(state.files)
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        found = {member.name: members.extractfile(member) for member in members}
        assert {name: file.read() for name, file in found.items() if file is not None} == FILES


def test_a_file_that_changes_meanwhile_is_not_passed_off_as_whole(store: CheckpointStore, tmp_path: Path) -> None:
    state = store.look("study", 0)
    assert state is not None
    Path(state.files[0].path).write_bytes(b"shorter")

    with pytest.raises(OSError, match="changed while it was read"):
        b"".join(state_archive.pieces(store, state.files))
