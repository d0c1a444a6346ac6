"""The workloads that studies can name, asked of a child process once and kept."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from tunewright.command import Command
from tunewright.errors import SpecError, WorkloadError
from tunewright.study import EXTERNAL, Fidelity, Resources, StudySpec
from tunewright.views import Workloads
from tunewright.workload import WorkloadInfo, registered
from workers.declarations import describe, describe_one

# Of a trial that is measured once, at its end.
ONE_STEP = Fidelity(name="step", max=1)


class WorkloadCatalog:
    """Declarations of registered workloads; those named `module:attribute` are read anew each time.

    Args:
        local: trials run on this machine alone, so that a command which does not exist here exists nowhere.
    """

    def __init__(self, import_paths: list[Path], *, local: bool = False) -> None:
        self._local = local
        self._import_paths = [str(path.absolute()) for path in import_paths]
        self._lock = threading.Lock()
        self._registered: Workloads | None = None

    def all(self) -> Workloads:
        """All registered workloads; the first call takes a second or two."""
        with self._lock:
            if self._registered is None:
                self._registered = self._ask()
            return self._registered

    def get(self, reference: str) -> WorkloadInfo:
        """The declaration of one workload.

        Raises:
            WorkloadError: it is unknown, or cannot be imported.
        """
        if ":" in reference:
            return describe_one(reference, self._import_paths)
        known = self.all()
        for info in known.items:
            if info.reference == reference:
                return info
        if reference in known.problems:
            raise WorkloadError(known.problems[reference])
        names = ", ".join(info.reference for info in known.items) or "none"
        raise WorkloadError(f'workload "{reference}": unknown; known: {names}; or name your own as module:attribute')

    def complete(self, spec: StudySpec) -> StudySpec:
        """The study with everything filled in that it left to its workload.

        Raises:
            WorkloadError: as `get`.
            SpecError: the study does not fit its workload, or its command cannot be started.
        """
        if spec.workload == EXTERNAL:
            return spec.model_copy(update={"fidelity": spec.fidelity or ONE_STEP})
        if spec.command is None:
            return self.get(spec.workload).complete(spec)
        if self._local:
            _require_program(spec.command)
        return spec.model_copy(update={"resources": spec.resources or Resources()})

    def _ask(self) -> Workloads:
        try:
            return describe(None, self._import_paths)
        except WorkloadError:
            # One of them ends the process that imports it; the others are asked each in its own.
            return self._ask_one_by_one()

    def _ask_one_by_one(self) -> Workloads:
        items: list[WorkloadInfo] = []
        problems: dict[str, str] = {}
        for name in registered():
            try:
                items.append(describe_one(name, self._import_paths))
            except WorkloadError as error:
                problems[name] = str(error)
        return Workloads(items=items, problems=problems)


def _require_program(command: Command) -> None:
    if not os.path.isdir(command.directory):
        raise SpecError(f"command.directory: {command.directory} does not exist")
    if shutil.which(command.program, path=command.environment.get("PATH")) is None:
        place = f"is no program in {command.directory}" if "/" in command.argv[0] else "is not in the service's PATH"
        raise SpecError(f'command.argv.0: "{command.argv[0]}" {place}; give the path of a file that may be executed')
