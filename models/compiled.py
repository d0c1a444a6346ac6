"""Numba's compiler with types kept: kernels of this room are compiled by `@kernel` and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(*, parallel: bool = False, inline: bool = False) -> Callable[[Function], Function]:
    """Compile a function on its first call: without Python's lock while it runs, cached on disk between processes.

    Args:
        parallel: `numba.prange` loops run on threads; set their number by `numba.set_num_threads`.
        inline: a small function called from other kernels; inlined there.
    """
    compile_it: Callable[[Function], Function] = numba.njit(
        nogil=True, cache=True, parallel=parallel, inline="always" if inline else "never"
    )
    return compile_it
