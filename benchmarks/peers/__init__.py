"""Other people's optimizers, driven on the same tables and seeds as ours.

They want other versions of NumPy and SciPy than we do, so they live in an environment of their own (`.venv-peers`, made
by `environment.ensure`) and in a process of their own (`driver`), which speaks JSON lines. `optimizer.PeerOptimizer` is
their face on our side: the simulator drives it like any of ours, and the peer's thinking costs no simulated time, as
ours does not.

`driver` and the adapters (`syne_tune`, `optuna`, `smac`, `dehb`) run in the peers' environment: they import their peer,
the standard library and each other, nothing of Tunewright.
"""
