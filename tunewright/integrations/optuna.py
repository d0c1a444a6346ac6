"""`TunewrightSampler` and `TunewrightPruner`: our decisions in Optuna, in this process and without a service.

    study = optuna.create_study(sampler=TunewrightSampler(), pruner=TunewrightPruner(max_resource=27))

Needs Optuna 5, and the server's packages (`pip install optuna tunewright[server]`), which hold the optimizers.
"""

from __future__ import annotations

try:
    from workers.inprocess.optuna_pruner import TunewrightPruner
    from workers.inprocess.optuna_sampler import TunewrightSampler
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"tunewright.integrations.optuna lacks a package ({missing.name}): pip install optuna 'tunewright[server]'",
        name=missing.name,
    ) from None

__all__ = ["TunewrightPruner", "TunewrightSampler"]
