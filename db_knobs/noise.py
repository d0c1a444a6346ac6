"""What makes intervals of a live server unlike each other, whatever its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from db_knobs.address import Kind
from tunewright.space import Value

_NEEDED: Mapping[Kind, Sequence[str]] = {"postgresql": ["checkpoint_timeout", "checkpoint_completion_target"]}


def needed(kind: Kind) -> Sequence[str]:
    """Settings that `of_checkpoints` asks for."""
    return _NEEDED.get(kind, [])


def of_checkpoints(standing: Mapping[str, Value], interval: float) -> str | None:
    """Why intervals are too short for a server's checkpoints; None where they are not.

    PostgreSQL spreads a checkpoint's writes over a share of the time to the next one and is quiet for the rest. An
    interval that fits into the rest may see nothing of a checkpoint, and the next one nothing else.

    Args:
        standing: the settings that `needed` names, as far as the server has them; `checkpoint_timeout` in seconds.
        interval: seconds.
    """
    try:
        every = float(standing["checkpoint_timeout"])
        quiet = every * (1.0 - float(standing["checkpoint_completion_target"]))
    except KeyError:
        return None
    if interval >= quiet:
        return None
    return (
        f"intervals of {interval:g} s are shorter than the {quiet:g} s without writes between two checkpoints: some see"
        " a checkpoint and others none, which looks like worse and better settings; take an `interval` of at least"
        f" {quiet:g} s, or a larger `margin`"
    )
