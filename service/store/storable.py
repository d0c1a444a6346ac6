"""What users' programs say, as every store can keep it and give it back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from json import dumps
from typing import Any

from tunewright._text import writable


def json(value: Any) -> Any:
    """The value with null for NaN and infinities, which JSON does not have, and with texts as `writable` makes them."""
    try:
        written = dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return _mended(value)
    # Nearly all is as it should be, and to see that costs less than to take it apart. Escapes may stand for the rest.
    return _mended(value) if "\\u0000" in written or "\\ud" in written else value


def _mended(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {writable(key): _mended(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mended(item) for item in value]
    if isinstance(value, str):
        return writable(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
