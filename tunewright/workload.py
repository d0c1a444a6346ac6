"""The workload contract: something that can be trained under a configuration and reports as it goes.

A workload of one's own:

    class Quadratic(Workload):
        name = "quadratic"
        space = SearchSpace(Float("x", -5, 5))
        objectives = (Objective(metric="loss"),)
        fidelity = Fidelity(name="steps", max=10)

        def run(self, config, leg, *, data, checkpoint, report):
            for step in leg.steps(checkpoint):
                report(step, {"loss": config["x"] ** 2 + 1 / step})

It is submitted as `module:Quadratic`, or under its name once an installed package declares it in the
entry-point group `tunewright.workloads`.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from tunewright.errors import SpecError, WorkloadError
from tunewright.space import Config, SearchSpace
from tunewright.study import Fidelity, Objective, Resources, StudySpec

ENTRY_POINT_GROUP = "tunewright.workloads"


@dataclass(frozen=True)
class Leg:
    """The stretch of a trial to run now: train from resource `start` until resource `end`.

    Attributes:
        start: resource already spent when the leg was planned; 0 for a new trial.
        end: resource at which to stop.
        seed: the trial's seed, the same in all its legs.
    """

    start: float
    end: float
    seed: int = 0

    def steps(self, checkpoint: Checkpoint) -> Iterator[int]:
        """Whole resources still to run, after what the checkpoint holds: for epochs, rounds and steps."""
        yield from range(int(checkpoint.resource) + 1, int(self.end) + 1)


class Report(Protocol):
    """Tells the service a measurement."""

    def __call__(self, resource: float, metrics: Mapping[str, float]) -> None:
        """Report metrics measured at a resource.

        Args:
            resource: in the fidelity's unit; larger than in the report before.
            metrics: all objectives, finite; further numbers are kept and drawn.
        Raises:
            TrialStopped: the leg is to end before its end; let it pass, or save and return.
            ReportError: an objective is missing or not finite, or the resource does not grow.
        """


@dataclass
class Checkpoint:
    """A trial's saved state: where it stands, and how the next state is saved.

    A state is a directory. It comes to be as a whole or not at all: a crash while saving leaves the one before.

    Attributes:
        latest: directory of the newest state; None when there is none. Read only.
        resource: what that state has been trained to; 0 when there is none.
        interval: seconds that should pass between two states in the middle of a leg.
    """

    root: Path
    latest: Path | None = None
    resource: float = 0.0
    interval: float = 10.0
    on_save: Any = None
    _saved_at: float = field(default_factory=time.monotonic, repr=False)

    @property
    def due(self) -> bool:
        """Whether it is time to save a state in the middle of a leg."""
        return time.monotonic() - self._saved_at >= self.interval

    @contextmanager
    def save(self, resource: float) -> Iterator[Path]:
        """Save a state: yields an empty directory to write it to; leaving the block commits it.

        Args:
            resource: what the state has been trained to.
        """
        directory = Path(tempfile.mkdtemp(prefix="saving-", dir=self.root))
        try:
            yield directory
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        final = self.root / f"state-{resource:.12g}"
        if final == self.latest:
            # The newest state stays until the one that replaces it is whole.
            final = final.with_name(f"{final.name}-again")
        if final.exists():
            shutil.rmtree(final)
        directory.rename(final)
        if self.on_save is not None:
            self.on_save(resource, final)
        previous, self.latest, self.resource = self.latest, final, resource
        self._saved_at = time.monotonic()
        if previous is not None and previous != final:
            shutil.rmtree(previous, ignore_errors=True)


class Workload(ABC):
    """Base class of workloads: declare the class attributes, implement `run`.

    The service creates it without arguments, in a child process of its own.

    Attributes:
        name: how studies refer to it.
        description: one or two sentences.
        space, objectives, fidelity: what a study searches unless it says otherwise.
        resources: what one trial needs.
        data_options: option name -> what it means and which values it takes.
        space_follows_data: whether other data have other parameters than `space`, which is for the default data: then
            a study's own space is taken as it is. Else it may search a part of `space`, and has no other parameters.
    """

    name: ClassVar[str]
    description: ClassVar[str] = ""
    space: ClassVar[SearchSpace]
    space_follows_data: ClassVar[bool] = False
    objectives: ClassVar[tuple[Objective, ...]]
    fidelity: ClassVar[Fidelity]
    resources: ClassVar[Resources] = Resources()
    data_options: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def run(
        self,
        config: Config,
        leg: Leg,
        *,
        data: Mapping[str, Any],
        checkpoint: Checkpoint,
        report: Report,
    ) -> None:
        """Train under `config` until `leg.end`, from `checkpoint` if it holds a state.

        Promises that the service relies on:
            - the same seed gives the same reports, in one leg or in several, but for measurements of time (metrics
              named `..._seconds`, `..._ms` or `..._per_second`);
            - a state is saved at `leg.end`, after the report for it;
            - whatever is raised ends the trial as failed, with its traceback.
        """


class WorkloadInfo(BaseModel):
    """A workload's declaration as data, for the API and for completing a study."""

    model_config = ConfigDict(frozen=True)

    name: str
    reference: str
    description: str
    space: SearchSpace
    objectives: list[Objective]
    fidelity: Fidelity
    resources: Resources
    data_options: dict[str, str]
    space_follows_data: bool = False

    def complete(self, spec: StudySpec) -> StudySpec:
        """The study with everything it left to the workload filled in.

        Raises:
            SpecError: the study's data options or parameters are none of the workload's.
        """
        self._refuse_unknown("data", spec.data, self.data_options, "option")
        return spec.model_copy(
            update={
                "space": self._space(spec.space),
                "objectives": spec.objectives or list(self.objectives),
                "fidelity": spec.fidelity or self.fidelity,
                "resources": spec.resources or self.resources,
            }
        )

    def _space(self, given: SearchSpace | None) -> SearchSpace:
        if given is None:
            return self.space
        if self.space_follows_data:
            return given
        self._refuse_unknown("space", given.names, self.space.names, "parameter")
        return given.over(self.space)

    def _refuse_unknown(self, field: str, given: Iterable[str], known: Iterable[str], kind: str) -> None:
        unknown = sorted(set(given) - set(known))
        if unknown:
            names = ", ".join(known) or "none"
            raise SpecError(f'{field}.{unknown[0]}: workload "{self.name}" has no such {kind}; known: {names}')


def load(reference: str) -> Workload:
    """Create the workload that a study names.

    Args:
        reference: a name from the entry-point group `tunewright.workloads`, or `module:attribute`.
    Raises:
        WorkloadError: unknown name, failed import, or not a Workload.
    """
    if ":" in reference:
        module, _, attribute = reference.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError) as error:
            raise _not_imported(reference, error) from error
    else:
        matches = [entry for entry in entry_points(group=ENTRY_POINT_GROUP) if entry.name == reference]
        if not matches:
            raise WorkloadError(
                f'workload "{reference}": unknown; known: {", ".join(registered()) or "none"}; '
                "or name your own as module:attribute"
            )
        try:
            found = matches[0].load()
        except (ImportError, AttributeError) as error:
            raise _not_imported(reference, error) from error
    return _checked(reference, found() if isinstance(found, type) else found)


def _not_imported(reference: str, error: Exception) -> WorkloadError:
    # Trials run wherever the cluster has room, so it must be had everywhere.
    named = ", or name its directory in TUNEWRIGHT_IMPORT_PATHS" if ":" in reference else ""
    remedy = f"; install it on every node{named}"
    missing = isinstance(error, ModuleNotFoundError)
    return WorkloadError(f'workload "{reference}": cannot import it: {error}{remedy if missing else ""}')


def registered() -> list[str]:
    """Names of all workloads that installed packages declare, sorted."""
    return sorted({entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)})


def describe(reference: str) -> WorkloadInfo:
    """The declaration of a workload.

    Raises:
        WorkloadError: as `load`.
    """
    workload = load(reference)
    return WorkloadInfo(
        name=workload.name,
        reference=reference,
        description=workload.description,
        space=workload.space,
        objectives=list(workload.objectives),
        fidelity=workload.fidelity,
        resources=workload.resources,
        data_options=dict(workload.data_options),
        space_follows_data=workload.space_follows_data,
    )


def _checked(reference: str, workload: Any) -> Workload:
    if not isinstance(workload, Workload):
        raise WorkloadError(f'workload "{reference}": {type(workload).__name__} is not a tunewright.Workload')
    for attribute, kind in (("name", str), ("space", SearchSpace), ("objectives", tuple), ("fidelity", Fidelity)):
        if not isinstance(getattr(workload, attribute, None), kind):
            raise WorkloadError(f'workload "{reference}": declare {attribute} as a {kind.__name__}')
    if not workload.objectives:
        raise WorkloadError(f'workload "{reference}": declare at least one objective')
    return workload
