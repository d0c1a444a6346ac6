"""What docs/ecosystem.md shows works as it stands there; what needs a library that is not installed is skipped."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.main import get_command

from tunewright.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "ecosystem.md").read_text()


def block(about: str) -> str:
    (found,) = (text for text in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL) if about in text)
    return str(found)


@pytest.mark.slow
def test_the_search_finds_a_good_classifier() -> None:
    names: dict[str, object] = {}

    exec(block("HyperTuneSearchCV"), names)

    assert names["search"].best_score_ > 0.9  # type: ignore[attr-defined]


def test_the_sampler_is_optunas() -> None:
    pytest.importorskip("optuna", minversion="5.0", reason="Optuna 5 is not installed; pip install optuna")
    names: dict[str, object] = {}

    exec(block("TunewrightSampler"), names)

    assert names["study"].best_value < 1  # type: ignore[attr-defined]


def test_the_pruner_is_optunas() -> None:
    pytest.importorskip("optuna", minversion="5.0", reason="Optuna 5 is not installed; pip install optuna")
    names: dict[str, object] = {}

    exec(block("TunewrightPruner"), names)

    states = {trial.state.name for trial in names["pruned"].trials}  # type: ignore[attr-defined]
    assert states == {"COMPLETE", "PRUNED"}


def test_the_search_and_its_scheduler_are_ray_tunes() -> None:
    pytest.importorskip("ray.tune", reason="ray[tune] is not installed", exc_type=ImportError)
    names: dict[str, object] = {}

    # It is run, with the same training, in tests/workers/inprocess/test_tune_search.py.
    exec(block("TunewrightScheduler"), names)

    assert "tuner" in names


def test_the_assistants_configuration_is_a_command_of_ours() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)
    server = json.loads(text)["mcpServers"]["tunewright"]

    command = get_command(app).commands[server["args"][0]]  # type: ignore[attr-defined]

    assert server["command"] == "tunewright"
    assert set(server["args"][1:]) <= {option for parameter in command.params for option in parameter.opts}
