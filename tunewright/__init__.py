"""What users import: the vocabulary of tuning, and the way to the service.

Spaces, objectives, studies and the workload contract are plain data and one base class; the client and the
command line talk to a running service over REST. This package imports no other room of Tunewright and nothing
heavier than NumPy, so that a training project can depend on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunewright.errors import (
    ApiError,
    ConnectionFailed,
    ReportError,
    SpaceError,
    SpecError,
    StudyOver,
    TrialStopped,
    TunewrightError,
    WorkloadError,
)
from tunewright.space import Categorical, Config, Float, Int, Ordinal, SearchSpace
from tunewright.study import (
    Budget,
    Fidelity,
    Objective,
    OptimizerSpec,
    Resources,
    StudySpec,
    StudyState,
    TrialLimits,
    TrialState,
)
from tunewright.workload import Checkpoint, Leg, Report, Workload

if TYPE_CHECKING:
    from tunewright.client import AsyncClient, Client

__version__ = "0.1.0"

__all__ = [
    "ApiError",
    "AsyncClient",
    "Budget",
    "Categorical",
    "Checkpoint",
    "Client",
    "Config",
    "ConnectionFailed",
    "Fidelity",
    "Float",
    "Int",
    "Leg",
    "Objective",
    "OptimizerSpec",
    "Ordinal",
    "Report",
    "ReportError",
    "Resources",
    "SearchSpace",
    "SpaceError",
    "SpecError",
    "StudyOver",
    "StudySpec",
    "StudyState",
    "TrialLimits",
    "TrialState",
    "TrialStopped",
    "TunewrightError",
    "Workload",
    "WorkloadError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # Trials import this package in a process of their own, which should not wait for an HTTP library.
    if name in ("AsyncClient", "Client"):
        from tunewright import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
