"""How far a running trial may still get, judged by the learning curves of those that were trained whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Whole curves from which they tell anything about another.
_CURVES_FROM = 8


@dataclass(frozen=True)
class Outlook:
    """What is expected of a trial's loss at full resource.

    Attributes:
        optimistic: if it improves from here as much as any whole trial did.
        expected: if it improves as much as the median of them.
    """

    optimistic: float
    expected: float


class Curves:
    """Learning curves of whole trials."""

    def __init__(self) -> None:
        # Resource -> what each curve still lost from there to its end.
        self._falls: dict[float, list[float]] = {}

    def add(self, losses: Mapping[float, float], final: float) -> None:
        """A whole curve, resource -> loss, and the loss at full resource."""
        for resource, loss in losses.items():
            self._falls.setdefault(resource, []).append(loss - final)

    def outlook(self, resource: float, loss: float) -> Outlook | None:
        """None while too few curves were measured at this very resource."""
        falls = self._falls.get(resource, [])
        if len(falls) < _CURVES_FROM:
            return None
        return Outlook(loss - max(falls), loss - float(np.median(falls)))
