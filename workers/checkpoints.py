"""Where trials' states are kept between legs: a directory or an object store, through fsspec.

    <root>/<study>/<trial>/<state>/...     the files of one state, as the workload wrote them
    <root>/<study>/<trial>/latest.json     which state is the newest, its resource, and which older ones are kept

A state counts once `latest.json` names it, and that file is replaced as a whole: a crash in the middle of a
transfer leaves the state before. A trial's files are written by one leg at a time, and pruned only between its legs.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import fsspec

log = logging.getLogger(__name__)

PIECE = 1 << 20


@dataclass(frozen=True)
class SavedState:
    """A state that was fetched: its local directory, and the resource it has been trained to."""

    directory: Path
    resource: float


@dataclass(frozen=True)
class StoredFile:
    """One file of a state: its name within it, its size in bytes, and where it is."""

    name: str
    size: int
    path: str


@dataclass(frozen=True)
class StoredState:
    """A state where it is kept, and the resource it has been trained to."""

    resource: float
    files: list[StoredFile]


@dataclass(frozen=True)
class _Entry:
    """A state that counts: the name of its directory, and its resource."""

    state: str
    resource: float


@dataclass(frozen=True)
class _Index:
    """What `latest.json` says of a trial's states."""

    newest: _Entry
    kept: list[_Entry] = field(default_factory=list)

    @classmethod
    def read(cls, text: bytes) -> _Index:
        found = json.loads(text)
        kept = [_Entry(**entry) for entry in found.get("kept", [])]
        return cls(_Entry(found["state"], found["resource"]), kept)

    def text(self) -> bytes:
        return json.dumps({**asdict(self.newest), "kept": [asdict(entry) for entry in self.kept]}).encode()

    def at(self, resource: float) -> _Entry | None:
        return next((entry for entry in [self.newest, *self.kept] if entry.resource == resource), None)


class CheckpointStore:
    """States of all trials under one fsspec URL, such as `file:///var/lib/tunewright/checkpoints` or `s3://bucket/x`."""

    def __init__(self, url: str) -> None:
        self._fs: Any
        self._fs, self._root = fsspec.core.url_to_fs(url)

    def put(
        self,
        study: str,
        trial: int,
        resource: float,
        directory: Path,
        *,
        keep: Set[float] = frozenset(),
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Store a state and make it the trial's newest; older ones are removed, but not those at resources to keep.

        Args:
            wanted: asked once it is there and before it counts; where it says no, all stays as it was.
        Raises:
            OSError: it could not be written, for example because the disk is full; the one before still stands.
        """
        home = self._home(study, trial)
        name = f"{resource:.12g}-{secrets.token_hex(4)}"
        target = f"{home}/{name}"
        self._fs.makedirs(target, exist_ok=True)
        try:
            # What a link points to need not be there when the state is fetched.
            for parent, folders, files in os.walk(str(directory), onerror=_raised, followlinks=True):
                remote = target + parent.removeprefix(str(directory))
                # But no end would be found to what lies within itself.
                folders[:] = [name for name in folders if not _within(parent, os.path.join(parent, name))]
                for folder in folders:
                    self._fs.makedirs(f"{remote}/{folder}", exist_ok=True)
                for file in files:
                    self._fs.put_file(os.path.join(parent, file), f"{remote}/{file}")
            if not wanted():
                self._remove(target)
                return
            # Only now: the transfer may have taken so long that another attempt has stored states meanwhile.
            before = self._index(home)
            older = [] if before is None else [before.newest, *before.kept]
            kept = [entry for entry in older if entry.resource in keep]
            self._replace(f"{home}/latest.json", _Index(_Entry(name, resource), kept).text())
        except BaseException:
            self._remove(target)
            raise
        self._drop(home, older, kept)

    def get(self, study: str, trial: int, directory: Path, *, at: float | None = None) -> SavedState | None:
        """Fetch a trial's newest state, or the one at a resource, into a new directory under `directory`.

        Returns:
            None when it has none.
        """
        found = self.look(study, trial, at=at)
        if found is None:
            return None
        local = directory / f"state-{found.resource:.12g}"
        local.mkdir()
        for file in found.files:
            path = local / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fs.get_file(file.path, str(path))
        return SavedState(local, found.resource)

    def look(self, study: str, trial: int, *, at: float | None = None) -> StoredState | None:
        """What a trial's newest state consists of, or the one at a resource; None when it has none."""
        home = self._home(study, trial)
        index = self._index(home)
        found = None if index is None else index.newest if at is None else index.at(at)
        if found is None:
            return None
        source = f"{home}/{found.state}"
        files = sorted(self._fs.find(source, detail=True).items())
        return StoredState(
            found.resource,
            [StoredFile(path[len(source) :].lstrip("/"), int(info["size"]), path) for path, info in files],
        )

    def read(self, file: StoredFile) -> Iterator[bytes]:
        """A file of a state, piece by piece.

        Raises:
            OSError: it cannot be read, for example because a later state has replaced it.
        """
        with self._fs.open(file.path, "rb") as source:
            while piece := source.read(PIECE):
                yield piece

    def kept(self, study: str, trial: int) -> list[float]:
        """Resources of a trial's states that can be fetched, the newest first."""
        index = self._index(self._home(study, trial))
        return [] if index is None else [entry.resource for entry in [index.newest, *index.kept]]

    def prune(self, study: str, trial: int, keep: Set[float], *, newest: bool) -> None:
        """Remove a trial's states, but not those at resources to keep, nor the newest where that is asked for.

        Only while no leg of the trial runs.
        """
        home = self._home(study, trial)
        index = self._index(home)
        if index is None:
            return
        states = [index.newest, *index.kept]
        kept = [entry for entry in states if entry.resource in keep or (newest and entry is index.newest)]
        self._leave(home, states, kept)

    def rewind(self, study: str, trial: int, most: float) -> bool:
        """Remove a trial's states that were trained beyond a resource; whether any are left.

        Only while no leg of the trial runs.
        """
        home = self._home(study, trial)
        index = self._index(home)
        if index is None:
            return False
        states = [index.newest, *index.kept]
        kept = [entry for entry in states if entry.resource <= most]
        if kept != states:
            log.warning("study %s: trial %d: states beyond %g, of which its journal does not know", study, trial, most)
            self._leave(home, states, kept)
        return bool(kept)

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

    def _index(self, home: str) -> _Index | None:
        try:
            return _Index.read(self._fs.cat_file(f"{home}/latest.json"))
        except FileNotFoundError:
            return None

    def _leave(self, home: str, states: Sequence[_Entry], kept: Sequence[_Entry]) -> None:
        if not kept:
            self._remove(home)
        elif kept != states:
            self._replace(f"{home}/latest.json", _Index(kept[0], [*kept[1:]]).text())
            self._drop(home, states, kept)

    def _drop(self, home: str, states: Sequence[_Entry], kept: Sequence[_Entry]) -> None:
        for entry in states:
            if entry not in kept:
                self._remove(f"{home}/{entry.state}")

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


def _raised(error: OSError) -> None:
    raise error


def _within(path: str, link: str) -> bool:
    """Whether a path lies in what a link points to, or is that itself."""
    return os.path.islink(link) and Path(path).resolve().is_relative_to(Path(link).resolve())
