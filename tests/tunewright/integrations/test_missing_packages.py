"""An integration whose library is not installed says what to install."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("integration", "library", "implementation", "remedy"),
    [
        ("optuna", "optuna", "workers.inprocess.optuna_sampler", "pip install optuna"),
        ("ray_tune", "ray.tune", "workers.inprocess.tune_scheduler", r"pip install 'ray\[tune\]'"),
        ("sklearn", "sklearn", "workers.inprocess.search_cv", r"pip install 'tunewright\[server\]'"),
        ("mlflow", "mlflow", None, "pip install mlflow-skinny"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, integration: str, library: str, implementation: str | None, remedy: str
) -> None:
    name = f"tunewright.integrations.{integration}"
    for module in (name, implementation):
        if module is not None:
            monkeypatch.delitem(sys.modules, module, raising=False)
    for module in [m for m in sys.modules if m == library or m.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(ModuleNotFoundError, match=remedy) as error:
        importlib.import_module(name)

    assert (error.value.name or library).startswith(library)
