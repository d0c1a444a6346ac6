"""What a service, its runners and its trials import when they start: everything else waits until it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Decisions, models, and servers that are attached; the command line has its own for talking to a service.
HEAVY = (
    *("scipy", "sklearn", "torch", "botorch", "gpytorch", "xgboost", "pandas", "pyarrow", "matplotlib"),
    *("psycopg", "pymysql", "sqlglot", "httpx", "ray.serve"),
)


@pytest.mark.parametrize(
    ("start", "unwanted"),
    [
        pytest.param(
            "from service.app import create_app, open_services; from service.settings import ServiceSettings; "
            "settings = ServiceSettings(data_dir='.'); create_app(settings); open_services(settings)",
            HEAVY,
            id="service",
        ),
        # A journal brings the store along.
        pytest.param(
            "import workers.study_runner, service.store.journal", (*HEAVY, "alembic", "fastapi"), id="study runner"
        ),
        pytest.param("import workers.cluster, workers.session_settings", HEAVY, id="cluster"),
        pytest.param("import tunewright.child", (*HEAVY, "numpy", "ray", "sqlalchemy"), id="trial"),
        pytest.param("import tunewright.cli", (*set(HEAVY) - {"httpx"}, "numpy", "ray", "fastapi"), id="command line"),
    ],
)
def test_what_is_heavy_and_not_needed_to_start_is_not_imported(
    start: str, unwanted: tuple[str, ...], tmp_path: Path
) -> None:
    code = f"import sys; {start}; print([name for name in {unwanted} if name in sys.modules])"

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)

    assert run.stdout.strip() == "[]"
