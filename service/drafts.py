"""Drafts: a study as somebody writes it, in a form or as a text, checked as at submission but not submitted."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from optimizers.errors import OptimizerError
from service.api.dependencies import Services
from service.api.submission import complete
from service.caller import Caller, Forbidden
from service.problems import FieldProblem, field_problems
from tunewright._yaml import MAX_BYTES, dump, read_mapping
from tunewright.errors import SpaceError, SpecError, WorkloadError
from tunewright.study import StudySpec

# A parameter's error stands at its kind; whoever wrote it knows it by its place alone.
_KIND = re.compile(r"^(space\.\d+)\.(?:float|int|categorical|ordinal)\b")
# What messages begin with: the field that they are about.
_NAMED = re.compile(r"([a-z_]+(?:\.[\w-]+)*)(?=: | \()")
_IN_PARAMETER = re.compile(r'parameter ".*?": (low|high|step|default|choices|when)\b', re.DOTALL)
_OF_PARAMETER = re.compile(r'parameter "(.*?)"(?:: | stands twice)', re.DOTALL)


class Draft(BaseModel):
    """A study that may be wrong: its fields, or the YAML or JSON text in which it is written."""

    model_config = ConfigDict(extra="forbid")

    study: dict[str, Any] | None = None
    text: str | None = Field(default=None, max_length=MAX_BYTES)

    @model_validator(mode="after")
    def _one_of_them(self) -> Draft:
        if (self.study is None) is (self.text is None):
            raise SpecError("study: give either study or text")
        return self


class CheckedDraft(BaseModel):
    """What would come of a draft.

    Attributes:
        errors: what is wrong, each with the field that it is about, such as `space.2.high` or `data.rows`; none where
            the study would be accepted. One of `text` means that the text cannot be read.
        study: what was written, without what goes without saying once all fields are right; None if it cannot be read.
        yaml: the same as a text.
        complete: the study as it would be stored; None while something is wrong.
    """

    errors: list[FieldProblem] = Field(default_factory=list)
    study: dict[str, Any] | None = None
    yaml: str | None = None
    complete: StudySpec | None = None


def check(services: Services, caller: Caller, draft: Draft) -> CheckedDraft:
    """Read a draft and check it as if it were submitted; nothing is stored."""
    try:
        written = draft.study if draft.text is None else read_mapping(draft.text, "text", "name, workload and budget")
    except SpecError as error:
        return CheckedDraft(errors=[_about("text", error)])
    assert written is not None
    try:
        spec = StudySpec.model_validate(written)
    except ValidationError as error:
        errors = [_placed(problem, written) for problem in field_problems(error)]
        return CheckedDraft(errors=errors, study=written, yaml=dump(written))
    short = spec.model_dump(mode="json", exclude_defaults=True)
    found = CheckedDraft(study=short, yaml=dump(short))
    try:
        found.complete = complete(services, caller, spec)
    except (SpecError, OptimizerError, Forbidden) as error:
        found.errors = [_placed(_about(_part(error), error), written)]
    return found


def _part(error: Exception) -> str:
    """The part of a study that an error is about, unless its message says more."""
    kinds: dict[type[Exception], str] = {
        WorkloadError: "workload",
        OptimizerError: "optimizer",
        SpaceError: "space",
        Forbidden: "project",
    }
    return next((part for kind, part in kinds.items() if isinstance(error, kind)), "study")


def _about(field: str, error: Exception) -> FieldProblem:
    return FieldProblem(field=field, message=str(error))


def _placed(problem: FieldProblem, written: dict[str, Any]) -> FieldProblem:
    """A problem at the innermost field that its message names."""
    field = _KIND.sub(r"\1", problem.field)
    if field == "space" and (found := _OF_PARAMETER.match(problem.message)):
        place = _place_of(found[1], written.get("space"))
        field = field if place is None else f"space.{place}"
    if field.count(".") == 1 and (found := _IN_PARAMETER.match(problem.message)):
        field = f"{field}.{found[1]}"
    named = _NAMED.match(problem.message)
    if named and named[1].partition(".")[0] in StudySpec.model_fields and not field.startswith(f"{named[1]}."):
        field = named[1]
    return FieldProblem(field=field, message=problem.message)


def _place_of(name: str, space: Any) -> int | None:
    """The last place at which a parameter of this name stands: of two with the same name, the one to rename."""
    entries = space if isinstance(space, list) else []
    names = list(space) if isinstance(space, dict) else [isinstance(e, dict) and e.get("name") for e in entries]
    return max((place for place, other in enumerate(names) if other == name), default=None)
