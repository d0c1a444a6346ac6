"""Who handles a signal, kept as it was while a library does as it likes."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager

# More than any system's `struct sigaction` takes; it is only handed back as it was.
_STRUCT_BYTES = 1024


@contextmanager
def kept(number: signal.Signals) -> Iterator[None]:
    """Put back at the end what the process does at a signal, whatever the block has set instead.

    In any thread, which Python's `signal.signal` does not allow.
    """
    sigaction = ctypes.CDLL(None).sigaction
    before = ctypes.create_string_buffer(_STRUCT_BYTES)
    sigaction(number, None, before)
    try:
        yield
    finally:
        sigaction(number, before, None)
