"""Pickles inside of data sets: arrays and plain containers are read, everything else is refused.

A pickle may name any function to call while it is read. Here only what rebuilds arrays, sparse matrices and
dictionaries is ever looked up.
"""

from __future__ import annotations

import collections
import io
import pickle  # nosec B403: only for the restricted reader below
from pathlib import Path
from typing import Any

import numpy as np

from tunewright.errors import WorkloadError


def read(path: Path, *, encoding: str = "latin1") -> Any:
    """The object in a file; `encoding` for strings that Python 2 wrote.

    Raises:
        WorkloadError: it is no pickle, or holds something other than arrays and containers.
    """
    try:
        return _Reader(io.BytesIO(path.read_bytes()), encoding=encoding).load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        raise WorkloadError(f"data: {path} cannot be read: {error}; delete it, and it is fetched again") from error


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        from numpy._core import multiarray
        from scipy import sparse

        # Modules have moved since the files were written; names have not.
        known: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("multiarray", "_reconstruct"): multiarray._reconstruct,
            ("multiarray", "scalar"): multiarray.scalar,
            ("sparse", "csr_matrix"): sparse.csr_matrix,
            ("collections", "defaultdict"): collections.defaultdict,
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("builtins", "list"): list,
        }
        allowed = {
            "numpy": "numpy",
            "numpy.core.multiarray": "multiarray",
            "numpy._core.multiarray": "multiarray",
            "scipy.sparse.csr": "sparse",
            "scipy.sparse._csr": "sparse",
            "collections": "collections",
            "builtins": "builtins",
            "__builtin__": "builtins",
        }
        found = known.get((allowed.get(module, ""), name))
        if found is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is neither array nor container")
        return found
