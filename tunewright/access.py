"""What a token lets its holder do: its scope, and the project to which it is bound."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from tunewright.errors import SpecError

# The project of studies that name none.
DEFAULT_PROJECT = "default"
# Stands for every project, where a token is bound to none.
EVERY_PROJECT = "*"
MAX_PROJECT = 64
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*")


class Scope(StrEnum):
    """What a token may do; each scope includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def includes(self, other: Scope) -> bool:
        """Whether what needs `other` may be done with this scope."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


def project_name(name: str) -> str:
    """The name of a project, checked.

    Raises:
        SpecError: it has characters that a name must not have, or too many of them.
    """
    if not _NAME.fullmatch(name) or len(name) > MAX_PROJECT:
        raise SpecError(
            f'project: "{name[:100]}" is no name of a project; give up to {MAX_PROJECT} letters, digits, - _ and ., '
            "a letter or digit first"
        )
    return name


ProjectName = Annotated[str, Field(min_length=1, max_length=MAX_PROJECT), AfterValidator(project_name)]
