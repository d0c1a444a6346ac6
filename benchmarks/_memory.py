"""How much memory a call needs on top of what is there: from the kernel's own high-water mark (Linux)."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_M_MMAP_THRESHOLD, _SMALL, _USUAL = -3, 64 << 10, 32 << 20


def peak_mib(call: Callable[[], object]) -> float | None:
    """MiB by which the resident set rises while it runs; None where the kernel does not tell."""
    try:
        with _returned_at_once() as trim:
            call()
            gc.collect()
            trim()
            risen = from_here()
            call()
            return risen()
    except (OSError, KeyError, AttributeError):
        return None


def from_here() -> Callable[[], float]:
    """Begin a new high-water mark; what is returned tells by how many MiB the resident set rose above where it was."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    return lambda: (_status("VmHWM") - before) / 1024


@contextmanager
def _returned_at_once() -> Iterator[Callable[[], object]]:
    """Have the allocator take tensors from the kernel one by one, so that none is served from what was freed before."""
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, _SMALL)
    try:
        yield lambda: libc.malloc_trim(0)
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _USUAL)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[field].split()[0])
