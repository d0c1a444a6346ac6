"""`TunewrightSampler`: our optimizers as a sampler of Optuna's, in this process and without a service.

    study = optuna.create_study(sampler=TunewrightSampler())

Needs Optuna 5, and the server's packages (`pip install optuna tunewright[server]`), which hold the optimizers.
"""

from __future__ import annotations

try:
    from workers.inprocess.optuna_sampler import TunewrightSampler
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"tunewright.integrations.optuna lacks a package ({missing.name}): pip install optuna 'tunewright[server]'",
        name=missing.name,
    ) from None

__all__ = ["TunewrightSampler"]
