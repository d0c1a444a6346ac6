"""Every exception that users of `tunewright` can meet.

TunewrightError
├── SpecError            a study, space or workload declaration is wrong
│   ├── SpaceError       a parameter, condition or configuration
│   └── WorkloadError    a workload cannot be found or is declared wrongly
├── ReportError          a workload reported something that cannot be used
├── ScriptError          a study's own program cannot be started, failed, or said what cannot be understood
├── TrialKilled          a trial's process was killed by somebody else
├── StudyOver            a study that is over has no job to give
├── TrialStopped         raised inside `report`: the service wants this leg to end
└── ApiError             the service answered with a problem (RFC 9457)
    └── ConnectionFailed no service answered
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class TunewrightError(Exception):
    """Base of every error that Tunewright raises on purpose."""


class SpecError(TunewrightError, ValueError):
    """A declaration is wrong; the message names the field, the value and the remedy."""


class SpaceError(SpecError):
    """A parameter, a condition or a configuration does not fit its search space."""


class WorkloadError(SpecError):
    """A workload cannot be found, imported, or is declared wrongly."""


class ReportError(TunewrightError, ValueError):
    """A report has no finite value for an objective, or its resource is out of order."""


class ScriptError(TunewrightError):
    """A study's own program went wrong.

    Attributes:
        stderr: the end of what it wrote to standard error.
    """

    def __init__(self, message: str, stderr: str = "") -> None:
        super().__init__(message)
        self.stderr = stderr


class TrialKilled(TunewrightError):
    """A trial's process was killed from outside, which says nothing about the trial: its leg is run again."""


class TrialStopped(TunewrightError):
    """The service asks the running leg to end; save what is worth keeping and return or re-raise."""


class StudyOver(TunewrightError):
    """A job was asked for of a study that has no more; the message says why."""


class ApiError(TunewrightError):
    """The service answered with a problem document.

    Attributes:
        status: HTTP status code.
        title: short name of the problem.
        detail: what happened and what to do about it.
        errors: one mapping per offending field, each with `field` and `message`.
        retry_after: seconds after which the service wants to be asked again; None where it does not say.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        errors: Sequence[Mapping[str, Any]] = (),
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after = retry_after
        fields = "".join(f"\n  {error.get('field')}: {error.get('message')}" for error in self.errors)
        super().__init__(f"{title}: {detail}{fields}" if detail else f"{title}{fields}")


class ConnectionFailed(ApiError):
    """No Tunewright service answered at the address."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(0, "no service", f"{url} does not answer ({reason}); start one with `tunewright serve`")
