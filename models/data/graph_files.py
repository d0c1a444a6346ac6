"""Users' own graphs: one `.npz` file, or a folder of Parquet and NumPy files.

    graph.npz          arrays `edges` (2, m) or (m, 2), `features` (n, d), `labels` (n,), and `train`, `valid`, `test`
                     (node ids or boolean masks)
    folder/
      edges.parquet    columns `source`, `target`; or edges.npy (2, m)
      nodes.parquet    column `label`, `split` (train, valid, test, or empty) if there is one, all others are features
      features.npy     (n, d) float32 in place of feature columns: memory-mapped, so it may be larger than memory

Without a split one is drawn: 20 nodes of each class, 500 and 1,000 more. A graph that is still to be labelled needs no
labels at all, once it is said how many classes there are.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data.graph import UNKNOWN, Graph, from_edges
from tunewright.errors import WorkloadError

_SPLIT = ("train", "valid", "test")


def read(path: Path, classes: int | None = None) -> Graph:
    """A user's graph.

    Args:
        classes: how many there are, where labels are still to be given; see `from_edges`.
    Raises:
        WorkloadError: there is no such file, it lacks something, or it does not fit (see `from_edges`).
    """
    if path.is_dir():
        return _folder(path, classes)
    if not path.is_file():
        raise WorkloadError(f"data.dataset: {path} does not exist; give file:/path/to/graph.npz or a folder")
    if path.suffix != ".npz":
        raise WorkloadError(
            f"data.dataset: {path}: {path.suffix or 'no suffix'} is not known; give an .npz or a folder"
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            given = dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise WorkloadError(f"data.dataset: {path} cannot be read: {error}") from error
    _require(given, ("edges", "features", *(("labels",) if classes is None else ())), path)
    return _made(given["edges"], given["features"], given.get("labels"), given, path, classes)


def stamp(path: Path) -> tuple[Any, ...]:
    """What changes when a graph's files do; empty where there are none."""
    try:
        files = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
        return tuple((file.name, of.st_ino, of.st_size, of.st_mtime_ns) for file in files for of in (file.stat(),))
    except OSError:
        return ()


def _folder(path: Path, classes: int | None) -> Graph:
    if (path / "edges.npy").exists():
        edges = _mapped(path / "edges.npy")
    else:
        table = _parquet(path / "edges.parquet")
        _require(table, ("source", "target"), path / "edges.parquet")
        edges = np.stack([table["source"], table["target"]])
    nodes = _parquet(path / "nodes.parquet")
    _require(nodes, () if classes is not None else ("label",), path / "nodes.parquet")
    given = {part: np.flatnonzero(nodes["split"] == part) for part in _SPLIT} if "split" in nodes else {}
    if (path / "features.npy").exists():
        features = _mapped(path / "features.npy")
    else:
        columns = [name for name in nodes if name not in ("label", "split")]
        _require(nodes, columns or ("a feature column",), path / "nodes.parquet")
        features = np.stack([_feature(nodes[name], name, path / "nodes.parquet") for name in columns], axis=1)
    return _made(edges, features, nodes.get("label"), given, path, classes)


def _made(
    edges: NDArray[Any],
    features: NDArray[Any],
    labels: NDArray[Any] | None,
    given: Mapping[str, NDArray[Any]],
    path: Path,
    classes: int | None,
) -> Graph:
    if edges.ndim != 2 or 2 not in edges.shape:
        raise WorkloadError(f"data.dataset: {path}: edges of shape {edges.shape}; give (2, m) or (m, 2)")
    source, target = edges if edges.shape[0] == 2 else edges.T
    parts: dict[str, Any] = {part: given.get(part) for part in _SPLIT}
    if labels is None:
        labels = np.full(features.shape[:1], UNKNOWN)
    return from_edges(source, target, features, labels, name=path.name, classes=classes, **parts)


def _feature(values: NDArray[Any], name: str, path: Path) -> NDArray[np.float32]:
    try:
        return values.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise WorkloadError(
            f"data.dataset: {path}: column {name!r} must hold numbers ({error}): encode it as some, or leave it out"
        ) from error


def _mapped(path: Path) -> NDArray[Any]:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise WorkloadError(
            f"data.dataset: {path} cannot be read as .npy: {error}; save it anew with numpy.save"
        ) from error


def _parquet(path: Path) -> dict[str, NDArray[Any]]:
    if not path.exists():
        raise WorkloadError(f"data.dataset: {path} does not exist; a graph's folder has edges and nodes")
    try:
        from pyarrow import lib, parquet
    except ImportError as error:
        raise WorkloadError("data.dataset: Parquet files need pyarrow: pip install tunewright[parquet]") from error
    try:
        table = parquet.read_table(path)
    except (OSError, lib.ArrowException) as error:
        raise WorkloadError(f"data.dataset: {path} cannot be read: {error}") from error
    return {name: table[name].to_numpy() for name in table.column_names}


def _require(given: Mapping[str, Any], names: Any, path: Path) -> None:
    for name in names:
        if name not in given:
            raise WorkloadError(f"data.dataset: {path} has no {name}; it has {', '.join(given) or 'nothing'}")
