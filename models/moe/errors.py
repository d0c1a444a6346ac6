"""What can go wrong beside a wrong setting (which is a WorkloadError).

TunewrightError
├── RoutingError     a gate cannot route: its logits are not finite, or a token has no fixed expert
└── ExchangeError    an exchange between ranks did not end
"""

from __future__ import annotations

from collections.abc import Sequence

from tunewright.errors import TunewrightError


class RoutingError(TunewrightError, ValueError):
    """Tokens cannot be routed."""


class ExchangeError(TunewrightError):
    """An exchange failed or took longer than its time-out.

    Attributes:
        step: the training step in which it failed.
        missing: ranks that no longer answer; empty where none could be named.
    """

    def __init__(self, message: str, step: int, missing: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.step = step
        self.missing = tuple(missing)
