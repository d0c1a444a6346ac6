"""Errors of the optimizers.

TunewrightError
└── OptimizerError       the contract was broken, or a setting does not fit the problem
"""

from __future__ import annotations

from tunewright.errors import TunewrightError


class OptimizerError(TunewrightError, ValueError):
    """The message names the job, trial or setting, and the way out."""
