"""The compose file: whole in itself, with secrets by reference; and the script that makes them."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import make_url

from service.exposure import require_encryption
from service.settings import ServiceSettings
from tests.deploy.layout import COMPOSE, DEPLOY, ROOT, compose, documents

BUILT_IN = {"image", "build"}


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def test_two_services_share_a_store_a_cluster_and_checkpoints() -> None:
    first, second = services()["service-1"], services()["service-2"]

    assert first == second
    assert {"postgres", "ray-head"} <= set(first["depends_on"])
    mounts = {name: services()[name]["volumes"] for name in ("service-1", "ray-head", "ray-worker")}
    assert all("checkpoints:/checkpoints" in volumes for volumes in mounts.values())


def test_everything_that_is_referred_to_is_there() -> None:
    whole = compose()
    for name, service in whole["services"].items():
        assert BUILT_IN & set(service), name
        assert set(service.get("secrets", ())) <= set(whole["secrets"]), name
        assert set(service.get("depends_on", ())) <= set(whole["services"]), name
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (COMPOSE / source).exists() if source.startswith(".") else source in whole["volumes"], volume
        for value in service.get("environment", {}).values():
            for secret in re.findall(r"/run/secrets/(\w+)", value):
                assert secret in service["secrets"], (name, secret)
    build = whole["services"]["service-1"]["build"]
    assert (COMPOSE / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()


def test_services_take_their_settings_and_would_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in services()["service-1"]["environment"].items():
        if name.startswith("TUNEWRIGHT_") and not name.endswith("_FILE"):
            monkeypatch.setenv(name, value.replace("${SITE:-localhost}", "localhost"))

    settings = ServiceSettings()

    require_encryption(settings)
    assert settings.exposed
    assert {"service-1", "service-2"} <= set(settings.hosts), "the proxy's checks and Prometheus call them so"


def test_the_proxy_alone_is_believed() -> None:
    network = compose()["networks"]["default"]["ipam"]["config"][0]
    address = services()["proxy"]["networks"]["default"]["ipv4_address"]

    assert services()["service-1"]["environment"]["TUNEWRIGHT_TLS_PROXIES"] == f'["{address}"]'
    assert ip_address(address) in ip_network(network["subnet"])
    assert ip_address(address) not in ip_network(network["ip_range"])


def test_only_the_proxy_can_be_reached_from_other_machines() -> None:
    open_ports = {
        name: service["ports"]
        for name, service in services().items()
        if any(not port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    }

    assert set(open_ports) == {"proxy"}


def test_our_containers_have_no_rights_to_spare() -> None:
    ours = [service for service in services().values() if "build" in service]

    assert len(ours) == 5
    for service in ours:
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r"^USER 10001", (DEPLOY / "image" / "Dockerfile").read_text(), flags=re.MULTILINE)


def test_secrets_are_made_once_and_fit_together(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets"
    shutil.copy(COMPOSE / "make-secrets", script)
    subprocess.run(["sh", str(script)], check=True)
    made = tmp_path / "secrets"
    before = {file.name: file.read_text() for file in made.iterdir()}

    subprocess.run(["sh", str(script)], check=True)

    assert {file.name: file.read_text() for file in made.iterdir()} == before
    assert set(before) == set(compose()["secrets"])
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    Fernet(before["secret_key"])
    url = make_url(before["database_url"])
    assert (url.password, url.host) == (before["postgres_password"], "postgres")
    environment = services()["postgres"]["environment"]
    assert (url.username, url.database) == (environment["POSTGRES_USER"], environment["POSTGRES_DB"])
    assert len({before[name] for name in ("postgres_password", "ray_token", "grafana_password")}) == 3


def test_the_repository_never_takes_secrets_in() -> None:
    assert "secrets/" in (COMPOSE / ".gitignore").read_text().splitlines()


def test_grafana_finds_its_source_and_its_dashboard() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    source = documents(provisioning / "datasources" / "prometheus.yaml")[0]["datasources"][0]
    provider = documents(provisioning / "dashboards" / "tunewright.yaml")[0]["providers"][0]
    mounted = [volume.split(":")[1] for volume in services()["grafana"]["volumes"]]

    assert source["url"] == "http://prometheus:9090"
    assert f"{provider['options']['path']}/tunewright.json" in mounted
