"""Services of benchmarks and tests take no settings from the environment, where another service's may stand."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks._service import running_service
from tests.e2e.service_process import ServiceProcess

GIVEN = {"TUNEWRIGHT_RATE_LIMIT": "7"}


class Started(Exception):
    """A process would be started now, with this environment."""


def _of_a_benchmark(home: Path) -> None:
    with running_service(environment=GIVEN):
        pass


def _of_a_test(home: Path) -> None:
    ServiceProcess(home / "data", GIVEN).start()


@pytest.mark.parametrize("start", [_of_a_benchmark, _of_a_test])
def test_a_service_takes_no_settings_of_another_one(
    start: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def popen(*_: object, env: dict[str, str], **__: Any) -> None:
        raise Started(env)

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(psutil, "Popen", popen)
    monkeypatch.setenv("TUNEWRIGHT_DATABASE_URL", "postgresql+psycopg://tunewright@production/tunewright")
    monkeypatch.setenv("TUNEWRIGHT_RAY_ADDRESS", "production:6379")
    monkeypatch.setenv("TUNEWRIGHT_CACHE_DIR", "/cache")

    with pytest.raises(Started) as started:
        start(tmp_path)

    (environment,) = started.value.args
    settings = {name for name in environment if name.startswith("TUNEWRIGHT_")}
    assert settings == {
        *GIVEN,
        "TUNEWRIGHT_CACHE_DIR",
        "TUNEWRIGHT_IMPORT_PATHS",
        "TUNEWRIGHT_RAY_TEMP_DIR",
    }
    assert "PATH" in environment
