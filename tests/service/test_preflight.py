"""What `tunewright doctor` finds by itself on a machine whose service does not answer."""

from __future__ import annotations

import os
import shutil
import socket
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from service import preflight
from service.app import lock_data_directory
from service.preflight import look
from service.settings import ServiceSettings
from service.store.engine import migrate, open_engine, writing
from tests.service.conftest import sqlite_only
from tunewright.views import Finding, Severity

Usage = namedtuple("Usage", "total used free")


def found(settings: ServiceSettings) -> dict[str, Finding]:
    return {finding.code: finding for finding in look(settings)}


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    data = tmp_path / "data"
    data.mkdir()
    return ServiceSettings(data_dir=data, port=0, ray_temp_dir=Path("/tmp/tw"))


def test_a_machine_on_which_a_service_could_start_has_no_findings(settings: ServiceSettings) -> None:
    engine = open_engine(settings.store_url)
    migrate(engine)
    engine.dispose()

    assert found(settings) == {}


def test_a_data_directory_that_does_not_exist_is_a_note_and_stays_so(settings: ServiceSettings) -> None:
    settings.data_dir.rmdir()

    findings = found(settings)

    assert findings["no-data-directory"].severity is Severity.NOTE
    assert not settings.data_dir.exists()


def test_a_data_directory_in_use_names_who_uses_it(settings: ServiceSettings) -> None:
    with lock_data_directory(settings.data_dir):
        finding = found(settings)["data-directory-in-use"]

    assert str(os.getpid()) in finding.seen
    assert "data-directory-in-use" not in found(settings)


def test_a_data_directory_of_somebody_else_is_told(settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)

    assert "data-directory-not-ours" in found(settings)


def test_a_full_disk_is_told(settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**10, 10**10 - 2**20, 2**20))

    assert found(settings)["disk-full"].seen.startswith("1 MiB are free")


@pytest.mark.parametrize("name", ["ray-token", "secrets.key", "tls.pem"])
def test_a_key_that_others_can_read_is_told_with_the_command_to_mend_it(settings: ServiceSettings, name: str) -> None:
    file = settings.data_dir / name
    file.write_text("hunter2")
    file.chmod(0o644)

    finding = found(settings)["key-file-open"]
    file.chmod(0o600)

    assert finding.remedy == f"chmod 600 {file}"
    assert "hunter2" not in str(finding)
    assert "key-file-open" not in found(settings)


@sqlite_only
def test_a_store_of_a_newer_release_is_told(settings: ServiceSettings, store_url: str) -> None:
    newer = settings.model_copy(update={"database_url": ServiceSettings(database_url=store_url).database_url})
    engine = open_engine(store_url)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    assert "9999" in found(newer)["schema-newer"].seen


@sqlite_only
def test_a_store_of_an_older_release_is_told_with_the_command_that_brings_it_up_to_date(
    settings: ServiceSettings, store_url: str
) -> None:
    older = settings.model_copy(update={"database_url": ServiceSettings(database_url=store_url).database_url})
    engine = open_engine(store_url)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    engine.dispose()

    finding = found(older)["schema-older"]

    assert finding.severity is Severity.PROBLEM
    assert "tunewright migrate" in finding.remedy


def test_a_file_that_is_no_store_is_told(settings: ServiceSettings) -> None:
    (settings.data_dir / "tunewright.db").write_bytes(b"no database" * 1000)

    assert "not a database" in found(settings)["store-unreachable"].seen


def test_a_database_that_does_not_answer_is_told_without_its_password(settings: ServiceSettings) -> None:
    away: Any = ServiceSettings(
        data_dir=settings.data_dir, port=0, database_url="postgresql://user:hunter2@127.0.0.1:1/store"
    )

    finding = found(away)["store-unreachable"]

    assert "hunter2" not in str(finding)


def test_a_port_that_is_taken_is_told(settings: ServiceSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert str(port) in found(settings.model_copy(update={"port": port}))["port-taken"].seen


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_a_host_that_is_not_this_machine_is_not_taken_for_a_port(settings: ServiceSettings, host: str) -> None:
    findings = found(settings.model_copy(update={"host": host, "port": 8400}))

    assert findings.keys() == {"host-not-here"}
    assert host in findings["host-not-here"].seen
    assert "Unknown error" not in findings["host-not-here"].seen
    assert "--host" in findings["host-not-here"].remedy


def test_a_directory_too_long_for_rays_sockets_is_told(settings: ServiceSettings) -> None:
    deep = settings.model_copy(update={"ray_temp_dir": Path("/tmp/" + 60 * "r")})

    assert "--ray-temp-dir" in found(deep)["ray-path-too-long"].remedy


def test_rays_directory_must_be_there_when_a_cluster_is_joined(settings: ServiceSettings, tmp_path: Path) -> None:
    joining = settings.model_copy(update={"ray_address": "auto", "ray_temp_dir": tmp_path / "ray"})

    assert f"mkdir -p {tmp_path / 'ray'}" in found(joining)["ray-directory-missing"].remedy
    (tmp_path / "ray").mkdir()
    assert "ray-directory-missing" not in found(joining)
    assert "ray-directory-missing" not in found(settings.model_copy(update={"ray_temp_dir": tmp_path / "new"}))


def test_rays_directory_must_be_ours_to_write(
    settings: ServiceSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)

    assert (
        str(tmp_path)
        in found(settings.model_copy(update={"ray_temp_dir": tmp_path / "ray"}))["ray-directory-not-ours"].seen
    )


def test_a_cluster_that_does_not_answer_is_told(settings: ServiceSettings) -> None:
    away = settings.model_copy(update={"ray_address": "127.0.0.1:1"})

    assert "127.0.0.1:1" in found(away)["ray-unreachable"].seen
    assert "ray-unreachable" not in found(settings.model_copy(update={"ray_address": "auto"}))


def test_a_clock_from_another_time_is_told(settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.time, "time", lambda: 0.0)

    assert "1970" in found(settings)["clock-wrong"].seen
