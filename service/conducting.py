"""What a conductor tells of itself, for metrics and diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ClusterSeen:
    """The cluster as the conductor saw it last.

    Attributes:
        cpus, gpus: that there are; those that no trial occupies.
        seconds_ago: when that was.
        nodes: that are alive.
    """

    cpus: float
    gpus: float
    free_cpus: float
    free_gpus: float
    seconds_ago: float = 0.0
    nodes: int = 0

    @classmethod
    def of(cls, total: Mapping[str, float], free: Mapping[str, float]) -> ClusterSeen:
        """From Ray's own names; what is used up it leaves out."""
        return cls(
            cpus=total.get("CPU", 0.0),
            gpus=total.get("GPU", 0.0),
            free_cpus=free.get("CPU", 0.0),
            free_gpus=free.get("GPU", 0.0),
            # Each node has a resource of its own name; the head has another one beside, with an underscore.
            nodes=sum(name.startswith("node:") and not name.startswith("node:_") for name in total),
        )


@dataclass(frozen=True)
class Crashed:
    """A study's runner that died, `count` times since the study last got anywhere."""

    count: int
    problem: str
    seconds_ago: float


@dataclass(frozen=True)
class Conducting:
    """A conductor at one moment.

    Attributes:
        holder: name under which it takes leases.
        problem: why it cannot work; None when it can.
        ails: what the problem is with: `cluster`, its `versions`, `store`, or `conductor`.
        alive: its thread runs.
        leads: it is the one that acts.
        tick_seconds: since it last compared what is wanted with what is; None before the first time.
        most: studies that may run at once.
        running: studies whose runners it started.
        crashes: by study.
        crashed: runners that died since the service began.
        cluster: None before it was seen.
    """

    holder: str = ""
    problem: str | None = None
    ails: str | None = None
    alive: bool = True
    leads: bool = False
    tick_seconds: float | None = None
    most: int = 1
    running: frozenset[str] = frozenset()
    crashes: Mapping[str, Crashed] = field(default_factory=dict)
    crashed: int = 0
    cluster: ClusterSeen | None = None
