"""Recipes: texts that submit another study like the one that they are of, run as they stand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.conftest import study_json
from tests.tunewright.live_service import LiveService

ODD = 'it\'s "odd" $HOME `id` \\ \u00e4 <b>'


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveService]:
    service = LiveService(tmp_path / "data")
    service.start()
    yield service
    service.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_recipe_submits_a_study_like_the_one_it_is_of(live: LiveService, tmp_path: Path) -> None:
    sent = study_json(name=ODD, seed=7, tags=["a=b"], notes="line\nEND_OF_STUDY\nline")
    study = live.repository.study(httpx.post(f"{live.url}/v1/studies", json=sent).raise_for_status().json()["id"])
    recipe = httpx.get(f"{live.url}/v1/studies/{study.id}/recipe").raise_for_status().json()
    shell = {name: recipe[name].replace("tunewright ", f"{sys.executable} -m tunewright.cli ", 1) for name in recipe}

    for command in (
        [sys.executable, "-c", recipe["python"]],
        ["sh", "-c", shell["cli"]],
        ["sh", "-c", recipe["curl"]],
    ):
        before = {found.id for found in live.repository.studies(limit=10).items}
        environment = {**os.environ, "HOME": str(tmp_path), "TUNEWRIGHT_TOKEN": ""}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

        assert done.returncode == 0, done.stderr
        (made,) = {found.id for found in live.repository.studies(limit=10).items} - before
        assert live.repository.study(made).spec == study.spec.model_copy(update={"notes": ""})
