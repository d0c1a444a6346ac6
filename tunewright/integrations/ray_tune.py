"""`TunewrightSearch` and `TunewrightScheduler`: our optimizers in Ray Tune, in this process and without a service.

    tune.Tuner(
        trainable,
        param_space={"lr": tune.loguniform(1e-4, 1e-1)},
        tune_config=tune.TuneConfig(
            metric="loss", mode="min", num_samples=50,
            search_alg=TunewrightSearch(max_resource=27), scheduler=TunewrightScheduler(),
        ),
    )

Needs Ray Tune, and the server's packages (`pip install 'ray[tune]' 'tunewright[server]'`), which hold the optimizers.
"""

from __future__ import annotations

try:
    from workers.inprocess.tune_scheduler import TunewrightScheduler
    from workers.inprocess.tune_search import TunewrightSearch
except ImportError as missing:
    # Ray Tune says itself what it lacks, and is no missing module then.
    raise ModuleNotFoundError(
        f"tunewright.integrations.ray_tune lacks a package ({missing.name or 'one of those of ray[tune]'}): "
        "pip install 'ray[tune]' 'tunewright[server]'",
        name=missing.name,
    ) from None

__all__ = ["TunewrightScheduler", "TunewrightSearch"]
