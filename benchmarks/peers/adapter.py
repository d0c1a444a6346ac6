"""What an adapter of a peer does, and what it is told about the study. Runs in the peers' environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Study:
    """A study as the peers are told it.

    Attributes:
        space: parameters as `tunewright.space` writes them to JSON.
        min_resource, max_resource: whole numbers.
        eta: one in eta goes on to the next rung.
        workers: jobs that run at a time.
    """

    space: list[dict[str, Any]]
    min_resource: int
    max_resource: int
    eta: int
    seed: int
    workers: int


@dataclass(frozen=True)
class Task:
    """Train trial `trial` up to resource `end`; one it has been trained before continues from its checkpoint.

    Attributes:
        trial: the peer's own name for it.
        config: values by parameter, inactive ones left in or out; empty with `point`.
        point: a point of the unit cube in place of a configuration.
    """

    trial: str
    end: int
    config: dict[str, Any]
    point: list[float] | None = None


class Adapter(Protocol):
    """The four verbs, in a peer's words.

    Attributes:
        every_report: whether the peer wants each report, or only those at the ends of its jobs.
    """

    every_report: bool

    def next(self) -> Task | None:
        """The next job; None until another ends."""

    def observe(self, trial: str, resource: int, loss: float) -> bool:
        """Take a report; True stops the trial."""

    def finish(self, trial: str, resource: int, loss: float) -> None:
        """A job ended: completed, or stopped by `observe`, with its last report."""


def active(parameter: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether a parameter's condition holds in a configuration that has all earlier parameters."""
    for parent, wanted in (parameter.get("when") or {}).items():
        if parent not in config or config[parent] not in (wanted if isinstance(wanted, list) else [wanted]):
            return False
    return True
