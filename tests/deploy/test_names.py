"""Every setting, port, path, command and metric that deploy/ names exists in the code."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter

from service import metrics
from service.app import create_app
from service.conducting import ClusterSeen, Conducting
from service.events import EventFeed
from service.settings import ServiceSettings
from service.store.engine import migrate, open_engine
from service.store.repository import Repository
from tests.deploy.layout import (
    COMPOSE,
    DEPLOY,
    DOCS,
    IMAGE,
    KUBERNETES,
    ROOT,
    SYSTEMD,
    compose,
    containers,
    documents,
    files,
    manifests,
    named_settings,
    of_kind,
    settings,
)
from tunewright._credentials import FILE_VARIABLE, VARIABLE
from tunewright.cli import app as command_line

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Variables of the container's own script: a setting's name, and this.
FILE_SUFFIX = "_FILE"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of all samples that a service can tell Prometheus."""
    home = tmp_path_factory.mktemp("store")
    engine = open_engine(f"sqlite:///{home / 'store.db'}")
    migrate(engine)
    conducting = Conducting(cluster=ClusterSeen(4, 1, 2, 0), tick_seconds=0.1)
    text = metrics.render(engine, conducting, EventFeed(Repository(engine)), home).decode()
    engine.dispose()
    # A histogram or counter with labels has no sample before its first observation; one that had none is told by name.
    names = set()
    for family in text_string_to_metric_families(text):
        ends = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",)}.get(family.type, ("",))
        names |= {family.name + end for end in ends}
    return names


def test_every_setting_is_one_of_the_services() -> None:
    known = {f"TUNEWRIGHT_{name.upper()}" for name in ServiceSettings.model_fields} | {VARIABLE, FILE_VARIABLE}

    unknown = {name for name in named_settings() if name.removesuffix(FILE_SUFFIX) not in known | {"TUNEWRIGHT"}}

    assert unknown == set()


def test_every_value_is_one_that_its_setting_takes() -> None:
    checked = 0
    for name, places in settings().items():
        field = ServiceSettings.model_fields.get(name.removeprefix("TUNEWRIGHT_").lower())
        if field is None:
            continue
        form: Any = field.annotation
        adapter: TypeAdapter[Any] = TypeAdapter(form)
        for path, text in places:
            value = text.strip("'\"") if not text.startswith("'[") else text.strip("'")
            value = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value)
            if value.startswith("$"):
                continue
            try:
                parsed = json.loads(value) if value.startswith("[") else value
                adapter.validate_python(parsed)
            except ValueError as error:
                pytest.fail(f"{path.relative_to(ROOT)}: {name}={text}: {error}")
            checked += 1
    assert checked > 15


def test_secrets_given_as_files_are_those_that_the_containers_script_reads() -> None:
    script = (IMAGE / "tunewright-container").read_text()
    (read,) = re.findall(r"^for name in (.*); do$", script, flags=re.MULTILINE)

    named = {name.removesuffix(FILE_SUFFIX) for name in settings() if name.endswith(FILE_SUFFIX)}

    assert named == set(read.split())


def test_every_probe_and_scrape_asks_a_path_that_answers() -> None:
    paths = set(create_app(ServiceSettings()).openapi()["paths"])
    text = "\n".join(path.read_text() for path in files())
    asked = set(re.findall(r"(?:health_uri |metrics_path: |127\.0\.0\.1:8080)(/\w+)", text))
    asked |= {probe["httpGet"]["path"] for probe in _probes() if "httpGet" in probe}
    asked |= {end["path"] for found in of_kind("PodMonitor") for end in found["spec"]["podMetricsEndpoints"]}

    assert asked == {"/healthz", "/readyz", "/metrics"}
    assert asked <= paths


def test_probes_name_a_host_that_the_service_answers_to() -> None:
    known = ServiceSettings().hosts
    for probe in _probes():
        if "httpGet" in probe:
            hosts = [header["value"] for header in probe["httpGet"]["httpHeaders"] if header["name"] == "Host"]
            assert hosts
            assert set(hosts) <= set(known)
            assert probe["httpGet"]["scheme"] == "HTTPS"


def test_every_port_is_the_one_that_is_listened_on() -> None:
    given = {value.strip('"') for _, value in settings()["TUNEWRIGHT_PORT"]}
    (exposed,) = re.findall(r"^EXPOSE (.*)$", (IMAGE / "Dockerfile").read_text(), flags=re.MULTILINE)
    (served,) = [c for d in of_kind("Deployment") for c in containers(d)]
    addresses = {value.rpartition(":")[2] for _, value in settings()["TUNEWRIGHT_RAY_ADDRESS"]}
    script = (IMAGE / "tunewright-container").read_text()

    assert given == {"8080"} == {str(ServiceSettings.model_fields["port"].default)}
    assert exposed.split() == ["8080", "6379"]
    assert [port["containerPort"] for port in served["ports"]] == [8080]
    assert addresses == {"6379"}
    assert "--port=6379" in script
    assert "--port=6379" in (SYSTEMD / "tunewright-ray-head.service").read_text()
    assert set(re.findall(r"service-[12]:(\d+)", (COMPOSE / "Caddyfile").read_text())) == {"8080"}
    scraped = documents(DEPLOY / "prometheus" / "prometheus.yml")[0]["scrape_configs"][0]["static_configs"][0]
    assert scraped["targets"] == ["service-1:8080", "service-2:8080"]


def test_every_ray_port_lies_outside_of_those_that_ray_gives_to_its_workers() -> None:
    ports = {
        6379,
        *(int(p) for p in re.findall(r'node-manager-port: "(\d+)"', (KUBERNETES / "base" / "ray.yaml").read_text())),
    }

    assert all(not 10002 <= port <= 19999 for port in {*ports, 8080})


def test_every_command_exists_and_takes_what_it_is_given() -> None:
    group = typer.main.get_command(command_line)
    text = "\n".join(path.read_text() for path in [*files(), DOCS])
    lines = re.findall(
        r"(?:/opt/tunewright/bin/tunewright|exec tunewright|^ *tunewright|-- tunewright|\badmin) "
        r"((?:serve|token|doctor|submit|restore)\b[^\n>&|`;\"]*)",
        text,
        flags=re.MULTILINE,
    )

    assert len(lines) > 5
    for line in lines:
        _understood(group, line.split())


def _understood(group: Any, words: list[str]) -> None:
    command = group
    while hasattr(command, "commands"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, words


@pytest.mark.parametrize(
    "file", ["grafana/tunewright.json", "prometheus/alerts.yml", "kubernetes/monitoring/monitor.yaml"]
)
def test_every_metric_is_one_that_the_service_tells(file: str, exported: set[str]) -> None:
    text = (DEPLOY / file).read_text()
    queries = [line for line in text.splitlines() if '"expr"' in line or "expr:" in line]
    named = {name for line in queries for name in re.findall(r"\btunewright_\w+", line)}

    assert len(named) > 5
    assert named - exported == set()


def test_the_image_copies_what_there_is_and_pins_what_the_code_pins() -> None:
    text = (IMAGE / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*)$", text, flags=re.M) for word in line.split()[:-1]}
    kept = {line[1:] for line in (IMAGE / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    rooms = {name.rstrip("*") for name in PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    (torch,) = re.findall(r"^ARG TORCH=(.*)$", text, flags=re.M)
    (extras,) = re.findall(r'"\.\[(.*?)\]"', text)
    (python,) = re.findall(r"^ARG PYTHON=(.*)$", text, flags=re.M)

    assert copied == kept
    assert rooms <= copied
    assert all((ROOT / path).exists() for path in copied)
    assert f"torch=={torch}" in (ROOT / "scripts" / "install").read_text()
    assert set(extras.split(",")) <= set(PYPROJECT["project"]["optional-dependencies"])
    assert PYPROJECT["project"]["requires-python"] == f">={python}"
    assert PYPROJECT["project"]["scripts"]["tunewright"] == "tunewright.cli:main"


def test_image_and_plain_host_have_what_pages_load_and_the_same_pytorch() -> None:
    image = (IMAGE / "Dockerfile").read_text()
    (host,) = re.findall(r"^## A plain host\n(.*?)^## ", DOCS.read_text(), flags=re.M | re.S)
    (torch,) = re.findall(r"^ARG TORCH=(.*)$", image, flags=re.M)
    (cpu,) = re.findall(r"--index-url (\S+)", image)

    assert f"pip install torch=={torch} --index-url {cpu}\n" in host
    for text in (image, host):
        # The package that is installed takes along what lies in its tree by then; PyTorch that is there stays.
        places = [
            re.search(pattern, text) for pattern in (r"pip install .*torch==", r"python scripts/assets", r"\.\[server")
        ]
        begins = [place.start() for place in places if place is not None]
        assert len(begins) == 3
        assert begins == sorted(begins)


def test_ray_on_kubernetes_and_on_the_page_is_the_release_that_is_installed() -> None:
    (cluster,) = of_kind("RayCluster")
    (told,) = re.findall(r"the Ray \(([\d.]+)\)", DOCS.read_text())

    for release in (cluster["spec"]["rayVersion"], told):
        assert f"ray=={release}" in PYPROJECT["project"]["optional-dependencies"]["server"]


def test_every_path_that_the_handbook_names_is_there() -> None:
    named = set(re.findall(r"\bdeploy/[\w./-]*\w", DOCS.read_text())) | {
        found for path in files() for found in re.findall(r"\b(?:deploy|docs)/[\w./-]*\w", path.read_text())
    }

    assert {path for path in named if not (ROOT / path).exists()} == set()


def _probes() -> list[dict[str, Any]]:
    return [
        container[name]
        for manifest in manifests()
        for container in containers(manifest)
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
        if name in container
    ]


def test_alerts_are_those_of_the_handbook() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", page, flags=re.DOTALL)
    (rules,) = of_kind("PrometheusRule")

    assert (DEPLOY / "prometheus" / "alerts.yml").read_text().endswith(block)
    assert {"groups": rules["spec"]["groups"]} == documents(DEPLOY / "prometheus" / "alerts.yml")[0]


def test_nothing_in_deploy_is_a_secret(tmp_path: Path) -> None:
    text = "\n".join(path.read_text() for path in files())

    assert not re.search(r"-----BEGIN|\btw_[0-9a-z]{12}_|://[\w.-]+:[^@%$\s]+@", text)
    assert [found["kind"] for found in manifests() if found["kind"] == "Secret"] == []
    assert all(set(secret) == {"file"} for secret in compose()["secrets"].values())
