"""Writes the handbook's reference from the code: `conf.py` calls `write` before every build.

REST comes from the OpenAPI document, the command line from its own help, settings from `ServiceSettings`. Python's
names are left to autodoc; only the list of them is written here.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.main import get_command

import tunewright
from service.app import create_app
from service.scopes import needed, needs_every_project
from service.settings import ServiceSettings
from tunewright import plots
from tunewright.cli import app

HEADING = re.compile(r"^\w+:$", re.MULTILINE)
# `Attributes:` of a docstring, by its own indentation; `first, second: text`, with further lines indented deeper.
ATTRIBUTES = re.compile(r"^Attributes:\n((?:[ ]+.*\n?|\n)+)", re.MULTILINE)
ENTRY = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?P<text>.*(?:\n\s+.*)*)", re.MULTILINE)
# Defaults that depend on who builds the handbook, in words.
DEFAULTS = {
    "data_dir": "`~/.tunewright`",
    "ray_temp_dir": "`tunewright-USER` in the system's temporary directory",
    "import_paths": "the current directory",
}


def write(directory: Path) -> None:
    """Write the pages `rest.md`, `cli.md`, `settings.md` and `python.md`; leaves alone what has not changed."""
    directory.mkdir(exist_ok=True)
    pages = {"rest.md": rest(), "cli.md": cli(), "settings.md": settings(), "python.md": python()}
    for name, lines in pages.items():
        path, text = directory / name, "\n".join(lines) + "\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def cell(text: str) -> str:
    """Text for a cell of a table, or a paragraph: on one line, and no HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")


def code(text: str) -> str:
    """The same as code, in which nothing but a cell's border needs an escape."""
    return "`" + text.replace("|", "\\|") + "`"


def table(*names: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A Markdown table and an empty line; nothing when there are no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if lines:
        yield from (f"| {' | '.join(names)} |", "|" + " --- |" * len(names), *lines, "")


def attributes(docstring: str) -> dict[str, str]:
    """What a docstring says of each attribute."""
    found = ATTRIBUTES.search(inspect.cleandoc(docstring) + "\n")
    entries = ENTRY.finditer(inspect.cleandoc(found[1])) if found else ()
    return {name: entry["text"] for entry in entries for name in entry["names"].split(", ")}


def summary(docstring: str) -> str:
    """A docstring without its sections."""
    return cell(HEADING.split(inspect.cleandoc(docstring))[0])


def settings() -> Iterator[str]:
    """Every setting of the service."""
    yield "# Settings of the service\n"
    yield "As variables of the environment. `tunewright serve` takes the common ones as options, too, which go first;"
    yield "lists are written as JSON.\n"
    said = attributes(ServiceSettings.__doc__ or "")
    yield from table(
        *("variable", "default", ""),
        rows=(
            (f"`TUNEWRIGHT_{name.upper()}`", DEFAULTS.get(name) or default(field), cell(said.get(name, "")))
            for name, field in ServiceSettings.model_fields.items()
        ),
    )


def default(field: FieldInfo) -> str:
    """The default of a field, for people."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined or value == []:
        return ""
    return f"`{json.dumps(value) if isinstance(value, list) else value}`"


def cli() -> Iterator[str]:
    """Every command, as its `--help` tells."""
    yield "# Command line\n"
    root = get_command(app)
    context = root.make_context("tunewright", [], resilient_parsing=True)
    yield from options(root, context)
    yield from commands(root, context, 2)


def commands(group: Any, parent: Any, level: int) -> Iterator[str]:
    """The commands of a group, and those of the groups in it."""
    for name in sorted(group.commands):
        command = group.commands[name]
        context = command.make_context(name, [], parent=parent, resilient_parsing=True)
        yield f"{'#' * level} {context.command_path}\n"
        yield "```text\n" + " ".join([context.command_path, *command.collect_usage_pieces(context)]) + "\n```\n"
        yield cell(command.help or "") + "\n"
        yield from options(command, context)
        if hasattr(command, "commands"):
            yield from commands(command, context, level + 1)


def options(command: Any, context: Any) -> Iterator[str]:
    """The arguments and options of a command, but for `--help`."""
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    shown = [record for record in records if record is not None and not record[0].startswith("--help")]
    yield from table("option", "", rows=((code(names), cell(text)) for names, text in shown))


def rest() -> Iterator[str]:
    """Every route of the REST API, and the schemas that they speak."""
    with TemporaryDirectory() as directory:
        document = create_app(ServiceSettings(data_dir=Path(directory))).openapi()
    yield "# REST API\n"
    yield "A running service serves the same at `/docs`, with forms to try it, and as OpenAPI at `/openapi.json`."
    yield "Errors are problem documents ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with the fields that are"
    yield "wrong. [Who may do what](../security.md) tells of tokens.\n"
    routes: dict[str, list[tuple[str, str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = operation.get("tags", ["service"])[0]
            routes.setdefault(tag, []).append((method.upper(), path, operation))
    for tag in sorted(routes):
        yield f"## {tag.capitalize()}\n"
        for method, path, operation in routes[tag]:
            yield from route(method, path, operation)
    yield "## Schemas\n"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield from schema_section(name, schema)


def route(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    """One operation: what it does, takes and answers."""
    scope = needed(method, path)
    yield f"### `{method} {path}`\n"
    yield summary(operation.get("description", operation.get("summary", ""))) + "\n"
    every = ", of all projects" if needs_every_project(path) else ""
    yield (f"Scope: `{scope.value}`{every}." if scope else "Needs no token.") + "\n"
    yield from table(
        *("parameter", "in", "type", ""),
        rows=(
            (f"`{each['name']}`", each["in"], kind(each["schema"]), cell(each.get("description", "")))
            for each in operation.get("parameters", ())
        ),
    )
    bodies = operation.get("requestBody", {}).get("content", {})
    if bodies:
        yield "Body: " + ", ".join(f"{kind(body.get('schema', {}))} (`{media}`)" for media, body in bodies.items())
        yield ""
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            kinds = [kind(body.get("schema", {})) for body in answer.get("content", {}).values()]
            yield f"Answer {status}: {', '.join(found for found in kinds if found) or 'no body'}\n"


def schema_section(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """One schema and its fields."""
    yield f"### {name}\n"
    text = schema.get("description", "")
    said = attributes(text)
    if text:
        yield summary(text) + "\n"
    if "enum" in schema:
        yield "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".\n"
    required = schema.get("required", ())
    yield from table(
        *("field", "type", ""),
        rows=(
            (
                f"`{field}`" + (" (required)" if field in required else ""),
                kind(value),
                cell(value.get("description", said.get(field, ""))),
            )
            for field, value in schema.get("properties", {}).items()
        ),
    )


def kind(schema: Mapping[str, Any]) -> str:
    """The type of a value, with links to schemas."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(filter(None, map(kind, schema[union]))))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {})) or 'any'}"
    return str(schema.get("type", ""))


def python() -> Iterator[str]:
    """The names that users import, for autodoc to fill in."""
    yield "# Python\n"
    yield "What `from tunewright import ...` gives. Nothing in it imports the service.\n"
    yield from autodoc("tunewright", (name for name in tunewright.__all__ if not name.startswith("_")))
    yield "## Plots\n"
    found = (
        name for name, value in inspect.getmembers(plots, inspect.isfunction) if value.__module__ == plots.__name__
    )
    yield from autodoc("tunewright.plots", (name for name in found if not name.startswith("_")))
    yield "## With other tools\n"
    yield from autodoc("tunewright.integrations.sklearn", ["HyperTuneSearchCV"])


def autodoc(module: str, names: Iterable[str]) -> Iterator[str]:
    """Directives that document classes and functions of a module; names of other things have no docstring to show."""
    for name in names:
        value = getattr(importlib.import_module(module), name)
        if isinstance(value, type) and get_origin(value) is None:
            yield f"```{{eval-rst}}\n.. autoclass:: {module}.{name}\n   :members:\n```\n"
        elif inspect.isfunction(value):
            yield f"```{{eval-rst}}\n.. autofunction:: {module}.{name}\n```\n"
