"""Numba's compiler with types kept: kernels of this room are compiled by `@kernel` and nothing else.

`prefetch` is for kernels that read at random places: a loop that first asks for all it will read, and then reads it,
waits for memory once where a plain one waits for each few reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

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


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """`prefetch(array, index)`: have an item of a one-dimensional array brought into the cache, and do not wait for it.

    Any index will do: one outside of the array is a wasted request, and no error.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address, flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        item = builder.bitcast(builder.gep(data, [arguments[1]]), address)
        # To be read, to be kept in all caches, data.
        builder.call(function, [item, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return numba.types.void(array, numba.types.int64), generate
