"""A study's own program: what is started for each leg of a trial, and what it is told.

    workload: command
    command:
      argv: [python, train.py, --rate, "{rate}", --epochs, "{leg.end}"]

`{name}` stands for a parameter's value, `{leg.…}` for what differs from leg to leg (`LEG_PLACEHOLDERS`); `{{` and `}}`
are braces. There is no shell. `script.py` runs it; docs/command-workload.md tells the program's side.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from tunewright.errors import SpecError
from tunewright.space import Config, SearchSpace

# The workload's name in a study.
COMMAND = "command"
MAX_ARGUMENTS = 1_000
MAX_TEXT = 10_000
# Variables by which the program learns of its leg begin with this.
RESERVED_PREFIX = "TUNEWRIGHT_"
LEG_PLACEHOLDERS = {
    "leg.start": "resource up to which the trial has been trained; 0 for a new one",
    "leg.end": "resource at which to end",
    "leg.seed": "the trial's seed, the same in all its legs",
    "leg.checkpoint": "directory in which to save states",
    "leg.resume": "the state to go on from; empty for a new trial",
}
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWN_NAMES = 20


def _without_null(text: str) -> str:
    if "\0" in text:
        raise SpecError("it holds a null character, which no argument or variable can; remove it")
    return text


_Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_without_null)]


class Command(BaseModel):
    """The program and its surroundings.

    Attributes:
        argv: program and arguments. If they name any parameter they must name them all; a program whose arguments name
            none reads the configuration, a JSON object, from its standard input.
        directory: absolute path in which the program is started, on every machine where trials run. A program named
            with a slash is relative to it. In a YAML file it is relative to the file, and its directory by default.
        environment: variables beside those of the worker; whoever may read the study reads them.
        secrets: variables whose values stand in files of the machine where the trial runs (variable -> absolute path),
            such as passwords: the study names the file, and only the program learns what is in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    argv: list[_Text] = Field(min_length=1, max_length=MAX_ARGUMENTS)
    directory: _Text
    environment: dict[str, _Text] = Field(default_factory=dict, max_length=MAX_ARGUMENTS)

    secrets: dict[str, _Text] = Field(default_factory=dict, max_length=MAX_ARGUMENTS)

    @field_validator("argv", mode="before")
    @classmethod
    def _quoted(cls, argv: Any) -> Any:
        for position, argument in enumerate(argv if isinstance(argv, list) else []):
            if isinstance(argument, Mapping):
                name = next(iter(argument), "name")
                raise SpecError(f'command.argv.{position}: YAML takes {{{name}}} for a mapping; quote it: "{{{name}}}"')
        return argv

    @field_validator("argv")
    @classmethod
    def _check_braces(cls, argv: list[str]) -> list[str]:
        for position, argument in enumerate(argv):
            alone = next((token for token in _TOKEN.finditer(argument) if token[0] in ("{", "}")), None)
            if alone is not None:
                raise SpecError(f'command.argv.{position}: a lone "{alone[0]}"; write {alone[0] * 2} for a brace')
        if not argv[0] or _names(argv[0]):
            raise SpecError("command.argv.0: name the program, without placeholders")
        return argv

    @field_validator("directory")
    @classmethod
    def _absolute(cls, directory: str) -> str:
        if not os.path.isabs(directory):
            raise SpecError(
                f'command.directory: "{directory}" is relative to nothing here; '
                "give an absolute path, or submit the study as a YAML file"
            )
        return os.path.normpath(directory)

    @field_validator("environment", "secrets")
    @classmethod
    def _check_names(cls, variables: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name in variables:
            if not _VARIABLE.fullmatch(name):
                raise SpecError(f'command.{info.field_name}: "{name[:100]}" is no name of a variable')
            if name.startswith(RESERVED_PREFIX):
                raise SpecError(f"command.{info.field_name}.{name}: names with {RESERVED_PREFIX} are Tunewright's own")
            if name in info.data.get("environment", {}):
                raise SpecError(f"command.secrets.{name}: stands in command.environment too; remove one")
        return variables

    @field_validator("secrets")
    @classmethod
    def _check_files(cls, secrets: dict[str, str]) -> dict[str, str]:
        for name, path in secrets.items():
            if not os.path.isabs(path):
                # Not quoted: it may be the secret itself.
                raise SpecError(f"command.secrets.{name}: give the absolute path of the file that holds it")
        return secrets

    @property
    def program(self) -> str:
        """The program as it is started: a path, or a name to look for in PATH."""
        return os.path.join(self.directory, self.argv[0]) if "/" in self.argv[0] else self.argv[0]

    def check(self, space: SearchSpace) -> None:
        """Check that the placeholders fit a search space.

        Raises:
            SpecError: one is unknown, or a parameter is left out that the program would never hear of.
        """
        parameters = {parameter.name: parameter for parameter in space.parameters}
        clash = next((name for name in parameters if name in LEG_PLACEHOLDERS), None)
        if clash is not None:
            raise SpecError(f'space: parameter "{clash}" has the name of a placeholder; rename it')
        named = {name for position in range(len(self.argv)) for name in self._known(position, parameters)}
        used = named - set(LEG_PLACEHOLDERS)
        if not used:
            return
        for name, parameter in parameters.items():
            if parameter.when:
                raise SpecError(
                    f'command.argv: parameter "{name}" is not always there (it has a condition), an argument is; '
                    "read the configuration from standard input instead, and name no parameter in argv"
                )
            if name not in used:
                raise SpecError(
                    f'command.argv: parameter "{name}" is searched but never passed on; add "{{{name}}}", take it out '
                    "of the space, or name no parameter in argv and read the configuration from standard input"
                )

    def arguments(self, config: Config, leg: Mapping[str, str]) -> list[str]:
        """The arguments for one leg, the program's name first.

        Args:
            leg: a text for each of `LEG_PLACEHOLDERS`.
        """
        values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in config.items()}
        values.update(leg)
        return [_TOKEN.sub(lambda token: token[0][0] if token[1] is None else values[token[1]], a) for a in self.argv]

    def _known(self, position: int, parameters: Mapping[str, Any]) -> list[str]:
        names = _names(self.argv[position])
        for name in names:
            if name not in parameters and name not in LEG_PLACEHOLDERS:
                known = ", ".join([*parameters, *LEG_PLACEHOLDERS][:_SHOWN_NAMES])
                raise SpecError(
                    f'command.argv.{position}: placeholder "{{{name}}}" is unknown; known: {known}; '
                    "write {{ and }} for braces"
                )
        return names


def with_directory(study: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A study as data, its command's directory taken relative to `base`, and `base` itself where it gives none."""
    command = study.get(COMMAND)
    if not isinstance(command, Mapping) or not isinstance(command.get("directory", ""), str):
        return dict(study)
    given = Path(command.get("directory", ".")).expanduser()
    return {**study, COMMAND: {**command, "directory": os.path.abspath(base / given)}}


def _names(argument: str) -> list[str]:
    return [token[1] for token in _TOKEN.finditer(argument) if token[1] is not None]
