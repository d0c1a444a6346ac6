"""`HyperTuneSearchCV`: a search in scikit-learn's form, in this process and without a service.

It is part of the server's packages (`pip install tunewright[server]`), which hold the optimizers.
"""

from __future__ import annotations

try:
    from workers.inprocess.search_cv import HyperTuneSearchCV
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"tunewright.integrations.sklearn lacks a package ({missing.name}): pip install 'tunewright[server]'",
        name=missing.name,
    ) from None

__all__ = ["HyperTuneSearchCV"]
