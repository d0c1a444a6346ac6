"""The workloads that studies can name, asked of a child process once and kept."""

from __future__ import annotations

import threading
from pathlib import Path

from tunewright.errors import WorkloadError
from tunewright.views import Workloads
from tunewright.workload import WorkloadInfo, registered
from workers.declarations import describe, describe_one


class WorkloadCatalog:
    """Declarations of registered workloads; those named `module:attribute` are read anew each time."""

    def __init__(self, import_paths: list[Path]) -> None:
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
