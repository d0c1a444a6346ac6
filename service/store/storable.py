"""What users' programs say, as every store can keep it and give it back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def text(said: str) -> str:
    """The text with ? for NUL and for half of a surrogate pair."""
    return said.encode(errors="replace").decode().replace("\0", "?")


def json(value: Any) -> Any:
    """The value with null for NaN and infinities, which JSON does not have, and with texts as `text` makes them."""
    if isinstance(value, Mapping):
        return {text(key): json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json(item) for item in value]
    if isinstance(value, str):
        return text(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
