"""Recipes: a study as a text that submits another one like it, in Python, in a shell, or by curl."""

from __future__ import annotations

import json
import pprint
import shlex

from pydantic import BaseModel

from tunewright.study import StudySpec

# Stands alone on no line of a study: texts of several lines are indented in YAML, and one line in JSON.
_END = "END_OF_STUDY"


class Recipe(BaseModel):
    """The texts; each sends the token in `TUNEWRIGHT_TOKEN`, if there is one."""

    python: str
    cli: str
    curl: str


def of(spec: StudySpec, url: str) -> Recipe:
    """How to submit a study like this one to the service at `url`. Notes stay with the study that they are about."""
    spec = spec.model_copy(update={"notes": ""})
    return Recipe(python=_python(spec, url), cli=_cli(spec, url), curl=_curl(spec, url))


def _fields(spec: StudySpec) -> dict[str, object]:
    return spec.model_dump(mode="json", exclude_defaults=True)


def _python(spec: StudySpec, url: str) -> str:
    study = pprint.pformat(_fields(spec), sort_dicts=False, width=100)
    return f"""\
from tunewright import Client

study = {study}

with Client({url!r}) as client:
    print(client.submit(study).id)
"""


def _cli(spec: StudySpec, url: str) -> str:
    return f"""\
tunewright submit - --url {shlex.quote(url)} <<'{_END}'
{spec.to_yaml().rstrip()}
{_END}
"""


def _curl(spec: StudySpec, url: str) -> str:
    study = json.dumps(_fields(spec), indent=2)
    return f"""\
curl --fail-with-body {shlex.quote(url + "/v1/studies")} \\
  -H 'Content-Type: application/json' \\
  -H "Authorization: Bearer $TUNEWRIGHT_TOKEN" \\
  --data-binary @- <<'{_END}'
{study}
{_END}
"""
