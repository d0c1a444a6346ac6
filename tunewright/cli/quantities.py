"""Amounts as people type them: spans of time, memory."""

from __future__ import annotations

import re

from tunewright.cli.problems import Refused

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"kB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


def seconds(text: str, field: str) -> float:
    """A span such as 90, 90s, 30m, 2h or 1d, in seconds.

    Raises:
        Refused: it is none.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([a-z]*)", text.strip())
    if found is None or found[2] not in _SECONDS:
        raise Refused(f'{field} "{text}": give a number and s, m, h or d, such as 30m')
    return float(found[1]) * _SECONDS[found[2]]


def memory(text: str, field: str) -> int:
    """An amount such as 64GB, in bytes; units are powers of 1024, as databases have them.

    Raises:
        Refused: it is none.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([kMGT]B)", text.strip())
    if found is None:
        raise Refused(f'{field} "{text}": give a number and {", ".join(_BYTES)}, such as 64GB')
    return round(float(found[1]) * _BYTES[found[2]])
