"""The workloads that studies can name, asked of a child process once and kept."""

from __future__ import annotations

import threading
from pathlib import Path

from tunewright.views import Workloads
from tunewright.workload import WorkloadInfo
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
                self._registered = describe(None, self._import_paths)
            return self._registered

    def get(self, reference: str) -> WorkloadInfo:
        """The declaration of one workload.

        Raises:
            WorkloadError: it is unknown, or cannot be imported.
        """
        if ":" not in reference:
            for info in self.all().items:
                if info.reference == reference:
                    return info
        return describe_one(reference, self._import_paths)
