"""What is in deploy/, read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
IMAGE = DEPLOY / "image"
COMPOSE = DEPLOY / "compose"
SYSTEMD = DEPLOY / "systemd"
DOCS = ROOT / "docs" / "deploy.md"
RELEASES = ["1.27", "1.37"]
# Of operators, whose schemas are theirs.
OTHERS = {"ray.io", "monitoring.coreos.com"}


def files() -> list[Path]:
    """Every file of deploy/ that holds text of ours; secrets that somebody made are not."""
    return sorted(
        path
        for path in DEPLOY.rglob("*")
        if path.is_file() and not {"secrets", "__pycache__"} & set(path.relative_to(DEPLOY).parts)
    )


def documents(path: Path) -> list[Any]:
    """The documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def compose() -> dict[str, Any]:
    """The compose file."""
    (found,) = documents(COMPOSE / "compose.yaml")
    assert isinstance(found, dict)
    return found


def manifests() -> list[dict[str, Any]]:
    """Kubernetes objects as they are written, before kustomize has named images and settings."""
    return [
        document
        for path in sorted(KUBERNETES.rglob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in documents(path)
    ]


def containers(tree: Any) -> Iterator[dict[str, Any]]:
    """Containers anywhere in an object."""
    if isinstance(tree, list):
        for part in tree:
            yield from containers(part)
    elif isinstance(tree, dict):
        for name, part in tree.items():
            if name == "containers":
                yield from part
            else:
                yield from containers(part)


def pods(objects: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The pods that KubeRay makes of clusters, for which Kubernetes itself has no schema."""
    for cluster in objects:
        if cluster["kind"] == "RayCluster":
            groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
            for number, group in enumerate(groups):
                pod = group["template"]
                metadata = {"name": f"pod-{number}", **pod["metadata"]}
                yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}


def assert_valid(objects: Iterable[dict[str, Any]]) -> None:
    """Every object is as Kubernetes would take it: the oldest release that is supported, and a new one."""
    objects = list(objects)
    known = [each for each in objects if each["apiVersion"].partition("/")[0] not in OTHERS]
    for each in [*known, *pods(objects)]:
        for release in RELEASES:
            kubernetes_validate.validate(each, release, strict=True)


def of_kind(kind: str) -> list[dict[str, Any]]:
    """Kubernetes objects of a kind."""
    return [found for found in manifests() if found["kind"] == kind]


def settings() -> dict[str, list[tuple[Path, str]]]:
    """Files and values by name of every variable TUNEWRIGHT_... that is given a value, in whatever form."""
    given: dict[str, list[tuple[Path, str]]] = {}
    for path in files():
        for name, value in re.findall(r"^[\s#\-]*(?:Environment=|ENV )?(TUNEWRIGHT_[A-Z_]+)(?:=|: )(.*)$",
                                      path.read_text(), flags=re.MULTILINE):  # fmt: skip
            given.setdefault(name, []).append((path, value.removesuffix("\\").strip()))
    return given


def named_settings() -> set[str]:
    """Every TUNEWRIGHT_... that any file names."""
    return {name for path in files() for name in re.findall(r"TUNEWRIGHT_[A-Z_]*[A-Z]", path.read_text())}
