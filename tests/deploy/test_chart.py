"""The Helm chart: rendered, it is the manifests that it is made of; by Helm itself where that is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import ServiceSettings
from tests.deploy.layout import KUBERNETES, ROOT, assert_valid, containers, documents

ACTION = re.compile(r"\{\{-? (.*?) \}\}")
IMAGE = "registry.example.com/tunewright:cpu"


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("chart")
    made = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "helm-chart"), str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stderr
    with tarfile.open(made.stdout.strip()) as archive:
        archive.extractall(directory, filter="data")
    return directory / "tunewright"


def defaults(chart: Path) -> dict[str, Any]:
    (values,) = documents(chart / "values.yaml")
    assert isinstance(values, dict)
    return values


def rendered(chart: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Objects of the chart; knows just the actions that the chart uses, and fails at any other."""

    def act(match: re.Match[str]) -> str:
        path, *filters = match[1].removeprefix("toYaml ").split(" | ")
        value: Any = values
        for part in path.removeprefix(".Values.").split("."):
            value = value[part]
        if not filters:
            assert not isinstance(value, dict | list)
            return str(value)
        (name, *width) = filters[0].split()
        if name == "sha256sum":
            return "checksum"
        assert name == "nindent", match[0]
        lines = yaml.safe_dump(value, sort_keys=False).splitlines()
        return "".join(f"\n{' ' * int(width[0])}{line}" for line in lines)

    found = []
    for template in sorted((chart / "templates").glob("*.yaml")):
        found += yaml.safe_load_all(ACTION.sub(act, template.read_text()))
    return found


def by_name(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def test_with_its_defaults_it_is_what_the_manifests_are(chart: Path) -> None:
    ours = by_name(rendered(chart, defaults(chart)))
    folder = KUBERNETES / "base"
    (kustomization,) = documents(folder / "kustomization.yaml")
    written = by_name([each for name in kustomization["resources"] for each in documents(folder / name)])
    settings = ours.pop(("ConfigMap", "tunewright-settings"))
    checksum = ours[("Deployment", "tunewright")]["spec"]["template"]["metadata"].pop("annotations")

    # The release has a namespace of its own.
    written.pop(("Namespace", "tunewright"))
    for container in containers(list(written.values())):
        container["image"] = IMAGE
    assert ours == written
    assert [f"{name}={value}" for name, value in settings["data"].items()] == kustomization["configMapGenerator"][0][
        "literals"
    ]
    assert checksum == {"checksum/settings": "checksum"}


def test_what_a_cluster_wants_otherwise_is_a_value(chart: Path) -> None:
    values = defaults(chart)
    values["image"] = {"repository": "mirror/tunewright", "tag": "cuda"}
    values["worker"]["replicas"] = 5
    values["worker"]["resources"]["limits"]["nvidia.com/gpu"] = 1
    values["checkpoints"]["storageClassName"] = "files"
    values["egress"] = [{"protocol": "TCP", "port": 5433}]

    made = rendered(chart, values)
    objects = by_name(made)

    assert_valid(made)
    (workers,) = objects[("RayCluster", "tunewright")]["spec"]["workerGroupSpecs"]
    assert workers["replicas"] == 5
    assert next(containers(workers))["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {each["image"] for each in containers(list(objects.values()))} == {"mirror/tunewright:cuda"}
    assert objects[("PersistentVolumeClaim", "tunewright-checkpoints")]["spec"]["storageClassName"] == "files"
    assert objects[("NetworkPolicy", "cluster")]["spec"]["egress"][2] == {"ports": values["egress"]}


def test_every_value_is_used_told_and_every_setting_there_is(chart: Path) -> None:
    values = defaults(chart)
    templates = "".join(path.read_text() for path in (chart / "templates").iterdir())

    for name, value in values.items():
        nested = isinstance(value, dict) and name not in ("settings", "checkpoints")
        for path in [f"{name}.{key}" for key in value] if nested else [name]:
            assert f".Values.{path} " in templates, path
    known = {f"TUNEWRIGHT_{name.upper()}" for name in ServiceSettings.model_fields}
    assert set(values["settings"]) <= known
    text = (chart / "values.yaml").read_text()
    assert all(re.search(rf"^# .+\.\n{name}:", text, re.MULTILINE) for name in values)


def test_helm_itself_renders_the_same(chart: Path) -> None:
    if shutil.which("helm") is None:
        pytest.skip("Helm is not installed; the chart is rendered by this file's own renderer as well")
    subprocess.run(["helm", "lint", "--strict", str(chart)], check=True, capture_output=True, timeout=60)
    done = subprocess.run(["helm", "template", "it", str(chart)], check=True, capture_output=True, timeout=60)

    theirs = by_name([each for each in yaml.safe_load_all(done.stdout) if each])
    ours = by_name(rendered(chart, defaults(chart)))

    for objects in (theirs, ours):
        objects[("Deployment", "tunewright")]["spec"]["template"]["metadata"].pop("annotations")
    assert theirs == ours
