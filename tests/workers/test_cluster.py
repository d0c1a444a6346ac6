"""What is said where a cluster cannot be joined; what works is tested with real ones in `tests/e2e`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.utils import check_version_info

from workers.cluster import TOKEN_VARIABLES, Cluster, ClusterSettings, OtherVersion


@pytest.mark.parametrize(
    ("ray_version", "python"), [("2.9.0", sys.version.split()[0]), (ray.__version__, "3.9.1"), ("2.9.0", "3.9.1")]
)
def test_a_cluster_of_another_version_is_told_with_both(
    monkeypatch: pytest.MonkeyPatch, ray_version: str, python: str
) -> None:
    def init(**_: Any) -> None:
        # As Ray does once it has asked the cluster.
        check_version_info({"ray_version": ray_version, "python_version": python}, "node 10.0.0.1")

    monkeypatch.setattr(ray, "init", init)
    cluster = Cluster(ClusterSettings("auto", None, Path("/tmp/tw"), Path("/nowhere")))

    with pytest.raises(OtherVersion) as told:
        cluster.connect()

    assert f"Ray at auto runs Ray {ray_version} and Python {python}, this service Ray {ray.__version__}" in str(
        told.value
    )
    assert f"install ray=={ray.__version__} on every node" in str(told.value)


def test_a_token_that_a_full_disk_has_left_empty_is_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in TOKEN_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    # Put back at the end, whatever is set meanwhile.
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setattr(ray, "init", lambda **_: None)
    token = tmp_path / "token"
    token.touch()
    cluster = Cluster(ClusterSettings(None, 1, tmp_path / "ray", token))

    cluster.connect()
    made = token.read_text()
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    cluster.connect()

    assert len(made) == 64
    assert token.read_text() == made
    assert token.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ray", "token"]
