"""Where trials' states are kept between legs: a directory or an object store, through fsspec.

    <root>/<study>/<trial>/<state>/...     the files of one state, as the workload wrote them
    <root>/<study>/<trial>/latest.json     which state is the newest, and its resource

A state counts once `latest.json` names it, and that file is replaced as a whole: a crash in the middle of a
transfer leaves the state before.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec


@dataclass(frozen=True)
class SavedState:
    """A state that was fetched: its local directory, and the resource it has been trained to."""

    directory: Path
    resource: float


class CheckpointStore:
    """States of all trials under one fsspec URL, such as `file:///var/lib/tunewright/checkpoints` or `s3://bucket/x`."""

    def __init__(self, url: str) -> None:
        self._fs: Any
        self._fs, self._root = fsspec.core.url_to_fs(url)

    def put(self, study: str, trial: int, resource: float, directory: Path) -> None:
        """Store a state and make it the trial's newest; the one before is removed.

        Raises:
            OSError: it could not be written, for example because the disk is full; the one before still stands.
        """
        home = self._home(study, trial)
        before = self._latest(home)
        name = f"{resource:.12g}-{secrets.token_hex(4)}"
        target = f"{home}/{name}"
        self._fs.makedirs(target, exist_ok=True)
        try:
            for path in sorted(directory.rglob("*")):
                remote = f"{target}/{path.relative_to(directory).as_posix()}"
                if path.is_dir():
                    self._fs.makedirs(remote, exist_ok=True)
                else:
                    self._fs.put_file(str(path), remote)
            self._replace(f"{home}/latest.json", json.dumps({"state": name, "resource": resource}).encode())
        except BaseException:
            self._remove(target)
            raise
        if before is not None:
            self._remove(f"{home}/{before['state']}")

    def get(self, study: str, trial: int, directory: Path) -> SavedState | None:
        """Fetch a trial's newest state into a new directory under `directory`; None when it has none."""
        home = self._home(study, trial)
        latest = self._latest(home)
        if latest is None:
            return None
        local = directory / f"state-{latest['resource']:.12g}"
        local.mkdir()
        source = f"{home}/{latest['state']}"
        for remote in self._fs.find(source):
            path = local / remote[len(source) :].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fs.get_file(remote, str(path))
        return SavedState(local, latest["resource"])

    def remove(self, study: str, *, keep: frozenset[int] = frozenset()) -> None:
        """Remove the states of a study's trials, but not those of the trials to keep."""
        home = f"{self._root}/{study}"
        if not keep:
            self._remove(home)
        elif self._fs.exists(home):
            for path in self._fs.ls(home, detail=False):
                if path.rstrip("/").rsplit("/", 1)[-1] not in {str(trial) for trial in keep}:
                    self._remove(path)

    def _home(self, study: str, trial: int) -> str:
        return f"{self._root}/{study}/{trial}"

    def _latest(self, home: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._fs.cat_file(f"{home}/latest.json"))
        except FileNotFoundError:
            return None
        return found

    def _replace(self, path: str, content: bytes) -> None:
        # Object stores write a file as a whole; on a disk only a rename does.
        if "file" not in self._fs.protocol:
            self._fs.pipe_file(path, content)
            return
        draft = Path(f"{path}.{secrets.token_hex(4)}")
        draft.write_bytes(content)
        draft.replace(path)

    def _remove(self, path: str) -> None:
        try:
            self._fs.rm(path, recursive=True)
        except FileNotFoundError:
            pass
