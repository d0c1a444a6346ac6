"""What a study may say of its own program, and where its paths start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tunewright.command import LEG_PLACEHOLDERS, Command
from tunewright.study import StudySpec

YAML = """
name: mine
workload: command
command:
  argv: [python, train.py, --rate, "{rate}", --epochs, 27]
space:
  rate: {type: float, low: 0.1, high: 1.0}
objectives: [{metric: loss}]
fidelity: {name: epochs, max: 27}
budget: {trials: 3}
"""
LEG = dict.fromkeys(LEG_PLACEHOLDERS, "?")


def study(**fields: Any) -> StudySpec:
    body = {
        "name": "mine",
        "workload": "command",
        "command": command(),
        "space": {"rate": {"type": "float", "low": 0.1, "high": 1.0}, "size": {"type": "int", "low": 1, "high": 9}},
        "objectives": [{"metric": "loss"}],
        "fidelity": {"name": "epochs", "max": 27},
        "budget": {"trials": 3},
        **fields,
    }
    return StudySpec.model_validate({name: value for name, value in body.items() if value is not None})


def command(*arguments: str, **fields: Any) -> dict[str, Any]:
    return {"argv": ["python", "train.py", *arguments], "directory": "/srv", **fields}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"command": None}, 'command: stands with "workload: command"'),
        ({"workload": "mlp"}, 'command: stands with "workload: command"'),
        ({"space": None}, "space: a command declares none of its own"),
        ({"objectives": None}, "objectives: a command declares none of its own"),
        ({"fidelity": None}, "fidelity: a command declares none of its own"),
        ({"data": {"a": 1}}, "data: a command takes no data options"),
        (
            {"command": command("{rate}", "{sice}")},
            'command.argv.3: placeholder "{sice}" is unknown; known: rate, size',
        ),
        ({"command": command("{}")}, 'placeholder "{}" is unknown'),
        ({"command": command("{rate:.3f}")}, 'placeholder "{rate:.3f}" is unknown'),
        ({"command": command("{rate}")}, 'parameter "size" is searched but never passed on'),
        ({"command": command("{")}, 'command.argv.2: a lone "{"; write {{ for a brace'),
        ({"command": command("a}b")}, 'command.argv.2: a lone "}"; write }} for a brace'),
        ({"command": command({"rate": None})}, 'YAML takes {rate} for a mapping; quote it: "{rate}"'),
        ({"command": {"argv": ["{rate}"], "directory": "/srv"}}, "command.argv.0: name the program"),
        ({"command": {"argv": [], "directory": "/srv"}}, "at least 1 item"),
        ({"command": {"argv": ["python"]}}, "command.directory"),
        ({"command": command(directory="here")}, 'command.directory: "here" is relative to nothing here'),
        ({"command": command("a\0b")}, "null character"),
        ({"command": command(environment={"A=B": "1"})}, '"A=B" is no name of a variable'),
        ({"command": command(environment={"TUNEWRIGHT_END": "1"})}, "Tunewright's own"),
        ({"command": command(environment={"A": "\0"})}, "null character"),
        ({"command": command(shell=True)}, "command.shell"),
    ],
)
def test_what_cannot_be_run_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as refused:
        study(**fields)

    assert problem in str(refused.value)


def test_a_parameter_with_a_condition_is_read_from_standard_input() -> None:
    space = {
        "kind": {"type": "categorical", "choices": ["a", "b"]},
        "rate": {"type": "float", "low": 0, "high": 1, "when": {"kind": "a"}},
    }

    with pytest.raises(ValidationError, match='parameter "rate" is not always there'):
        study(space=space, command=command("{kind}", "{rate}"))

    assert study(space=space).command is not None


def test_a_parameter_named_like_a_placeholder_is_refused() -> None:
    with pytest.raises(ValidationError, match=r'parameter "leg\.end" has the name of a placeholder'):
        study(space={"leg.end": {"type": "int", "low": 1, "high": 9}})


def test_values_stand_in_arguments_as_they_stand_in_json_and_texts_as_they_are() -> None:
    wanted = Command(argv=["p", "--a={a}", "{b}{c}", "{{a}} {{", "{leg.end}", "{d}"], directory="/srv")

    arguments = wanted.arguments({"a": 1e-05, "b": True, "c": 3, "d": 'x "y" {a}'}, {**LEG, "leg.end": "9"})

    assert arguments == ["p", "--a=1e-05", "true3", "{a} {", "9", 'x "y" {a}']


def test_numbers_in_yaml_are_arguments_too(tmp_path: Path) -> None:
    spec = StudySpec.from_yaml(YAML, tmp_path)

    assert spec.command is not None
    assert spec.command.argv[-1] == "27"
    assert StudySpec.from_yaml(spec.to_yaml()) == spec
    assert StudySpec.model_validate_json(spec.model_dump_json(exclude_defaults=True)) == spec


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "{place}"),
        ("  directory: code/../src", "{place}/src"),
        ("  directory: /srv", "/srv"),
        ("  directory: ~/x", "{home}/x"),
    ],
)
def test_paths_in_a_file_start_from_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    file = Path("studies/study.yaml")
    file.write_text(YAML.replace("space:", f"{given}\nspace:", 1))

    spec = StudySpec.from_yaml(file)

    assert spec.command is not None
    place = tmp_path / "studies"
    assert spec.command.directory == expected.format(place=place, home="/home/somebody")


def test_a_text_from_nowhere_needs_an_absolute_directory() -> None:
    with pytest.raises(ValidationError, match=r"command\.directory"):
        StudySpec.from_yaml(YAML)
