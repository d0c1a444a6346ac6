"""What workloads declare, asked of a child process: user code is imported there and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tunewright.command import COMMAND
from tunewright.errors import WorkloadError
from tunewright.views import Workloads
from tunewright.workload import WorkloadInfo
from workers.trial_process import ProcessEnded, TrialProcess

IMPORT_SECONDS = 60.0


def paths_for(reference: str, import_paths: Sequence[str]) -> Sequence[str]:
    """Of these directories, those in which a child looks before it looks at what is installed.

    None for a registered workload: a project may have a package `models` of its own, without ours in it.
    """
    return import_paths if ":" in reference or reference == COMMAND else ()


def describe(references: Sequence[str] | None, import_paths: Sequence[str]) -> Workloads:
    """Declarations of the workloads named, or of all registered ones.

    Raises:
        WorkloadError: the process died or took too long over an import.
    """
    process = TrialProcess(import_paths if any(paths_for(each, import_paths) for each in references or ()) else ())
    deadline = time.monotonic() + IMPORT_SECONDS
    try:
        process.send({"type": "describe", "references": None if references is None else list(references)})
        while (left := deadline - time.monotonic()) > 0:
            message = process.receive(left)
            if message is not None and message["type"] == "described":
                return Workloads(items=message["workloads"], problems=message["problems"])
    except ProcessEnded as error:
        raise WorkloadError(f"workload {references}: {error}; it printed:\n{process.end()}") from error
    finally:
        process.close()
    raise WorkloadError(f"workload {references}: importing it took longer than {IMPORT_SECONDS:g} s")


def describe_one(reference: str, import_paths: Sequence[str]) -> WorkloadInfo:
    """The declaration of one workload.

    Raises:
        WorkloadError: it is unknown, or cannot be imported.
    """
    found = describe([reference], import_paths)
    if reference in found.problems:
        raise WorkloadError(found.problems[reference])
    return found.items[0]
