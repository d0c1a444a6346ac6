"""The manifests: rendered by kustomize where it is, and held to what they must do."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.exposure import require_encryption
from service.settings import ServiceSettings
from tests.deploy.layout import DOCS, KUBERNETES, assert_valid, containers, documents, manifests, of_kind

FOLDERS = ["base", "cuda", "admin", "monitoring"]
# Made by whoever deploys; docs/deploy.md says how.
SECRETS = {
    "tunewright-secrets": {"database-url", "secret-key"},
    "tunewright-ray": {"auth_token"},
    "tunewright-tls": {"ca.crt"},
    "tunewright-metrics": {"token"},
}


def rendered(folder: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    command = {"kubectl": ["kubectl", "kustomize"], "kustomize": ["kustomize", "build"]}
    found = next((words for name, words in command.items() if shutil.which(name)), None)
    if found is None:
        pytest.skip("neither kubectl nor kustomize is installed; the manifests themselves are tested without")
    done = subprocess.run([*found, str(KUBERNETES / folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def named(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [each for each in objects if each["kind"] == kind]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_kustomize_renders_it_into_one_namespace_with_one_image(folder: str) -> None:
    objects = rendered(folder)

    assert len({(each["kind"], each["metadata"]["name"]) for each in objects}) == len(objects)
    assert {each["metadata"].get("namespace", "tunewright") for each in objects} == {"tunewright"}
    tag = "cuda" if folder == "cuda" else "cpu"
    images = {container["image"] for each in objects for container in containers(each)}
    assert images <= {f"registry.example.com/tunewright:{tag}"}


def test_every_object_is_as_kubernetes_schemas_have_it() -> None:
    assert_valid(manifests())


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_kustomize_renders_is_so_too(folder: str) -> None:
    assert_valid(rendered(folder))


@pytest.mark.parametrize("wrong", [{"replicas": "two"}, {"replica": 2}])
def test_a_wrong_type_or_an_unknown_field_would_be_seen(wrong: dict[str, Any]) -> None:
    (deployment,) = of_kind("Deployment")
    deployment["spec"] |= wrong

    with pytest.raises(kubernetes_validate.ValidationError):
        assert_valid([deployment])


def test_the_folders_are_all_that_there_are() -> None:
    assert sorted(path.parent.name for path in KUBERNETES.glob("*/kustomization.yaml")) == sorted(FOLDERS)
    for folder in FOLDERS:
        (found,) = documents(KUBERNETES / folder / "kustomization.yaml")
        for name in found["resources"]:
            assert (KUBERNETES / folder / name).exists()


def test_the_settings_are_rolled_out_when_they_change() -> None:
    objects = rendered("base")
    (service,) = containers(named(objects, "Deployment"))

    name = named(objects, "ConfigMap")["metadata"]["name"]

    assert name.startswith("tunewright-settings-")
    assert service["envFrom"] == [{"configMapRef": {"name": name}}]


def test_the_service_would_start_with_these_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = documents(KUBERNETES / "base" / "kustomization.yaml")
    for line in found["configMapGenerator"][0]["literals"]:
        monkeypatch.setenv(*line.split("=", 1))

    settings = ServiceSettings()

    require_encryption(settings)
    assert settings.exposed
    (cluster,) = of_kind("RayCluster")
    assert settings.ray_address == f"{cluster['metadata']['name']}-head-svc:6379"
    (served,) = [container for each in of_kind("Deployment") for container in containers(each)]
    mounted = {mount["mountPath"] for mount in served["volumeMounts"]}
    assert settings.tls_certificate is not None
    assert {str(settings.tls_certificate.parent), "/checkpoints", "/tmp", "/var/lib/tunewright"} <= mounted


def test_gpus_are_asked_for_by_each_worker() -> None:
    cluster = named(rendered("cuda"), "RayCluster")
    (worker,) = containers(cluster["spec"]["workerGroupSpecs"])

    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_replicas_are_safe_and_one_stays_while_nodes_are_drained() -> None:
    (deployment,), (budget,) = of_kind("Deployment"), of_kind("PodDisruptionBudget")
    labels = deployment["spec"]["template"]["metadata"]["labels"]

    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert budget["spec"]["minAvailable"] == 1
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        budget["spec"]["selector"]["matchLabels"],
        of_kind("Service")[0]["spec"]["selector"],
        of_kind("PodMonitor")[0]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()


def test_secrets_are_referred_to_and_the_handbook_says_how_to_make_them() -> None:
    keys: dict[str, set[str]] = {}

    def collect(tree: Any) -> None:
        if isinstance(tree, list):
            for part in tree:
                collect(part)
        elif isinstance(tree, dict):
            if {"name", "key"} == set(tree):
                keys.setdefault(tree["name"], set()).add(tree["key"])
            for part in tree.values():
                collect(part)

    collect(manifests())
    collect(
        [{"name": each["spec"]["authOptions"]["secretName"], "key": "auth_token"} for each in of_kind("RayCluster")]
    )

    assert keys == SECRETS
    for name, contents in SECRETS.items():
        assert name in DOCS.read_text()
        assert all(key in DOCS.read_text() for key in contents)


def test_whoever_is_not_named_reaches_nothing() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind("NetworkPolicy")}
    members = policies["cluster"]["podSelector"]["matchLabels"]

    assert policies["nobody-else"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    assert policies["cluster"]["ingress"] == [{"from": [{"podSelector": {"matchLabels": members}}]}]
    assert policies["clients"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8080}]}]
    assert all("Egress" in policies[name]["policyTypes"] for name in ("cluster", "admin"))
    (cluster,), (deployment,) = of_kind("RayCluster"), of_kind("Deployment")
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"], deployment["spec"]]
    assert all(members.items() <= group["template"]["metadata"]["labels"].items() for group in groups)


def test_no_pod_is_root_or_may_speak_with_kubernetes() -> None:
    pods = [each["spec"]["template"]["spec"] for each in of_kind("Deployment")]
    pods += [each["spec"] for each in of_kind("Pod")]
    for cluster in of_kind("RayCluster"):
        pods += [cluster["spec"]["headGroupSpec"]["template"]["spec"]]
        pods += [group["template"]["spec"] for group in cluster["spec"]["workerGroupSpecs"]]

    assert len(pods) == 4
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False, "the Service tunewright would become a setting TUNEWRIGHT_PORT"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            used = {mount["name"] for mount in container.get("volumeMounts", ())}
            assert used == {volume["name"] for volume in pod.get("volumes", ())}
