"""Grafana's dashboard is what its generator writes, and holds together."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from tests.deploy.layout import DEPLOY, documents

FOLDER = DEPLOY / "grafana"


@pytest.fixture(scope="module")
def generator() -> Any:
    spec = importlib.util.spec_from_file_location("make_dashboard", FOLDER / "make_dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks for its module.
    import sys

    sys.modules["make_dashboard"] = module
    spec.loader.exec_module(module)
    return module


def test_the_file_is_what_the_generator_writes(generator: Any) -> None:
    assert (FOLDER / "tunewright.json").read_text() == generator.text()


def test_panels_have_queries_and_places_of_their_own() -> None:
    whole = json.loads((FOLDER / "tunewright.json").read_text())
    source = documents(FOLDER / "provisioning" / "datasources" / "prometheus.yaml")[0]["datasources"][0]
    panels = whole["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["targets"], panel["title"]
            assert panel["datasource"]["uid"] == source["uid"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 15
