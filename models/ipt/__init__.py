"""IPT, instance-wise prompt tuning: a frozen language model steered by prompts made for each text (arXiv 2206.01958).

`load` brings back an exported classifier; `TextClassifier` trains one without a service. Both load PyTorch when first
asked for, not before.
"""

from __future__ import annotations

from typing import Any

__all__ = ["TextClassifier", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from models.ipt import classifier

        return getattr(classifier, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
