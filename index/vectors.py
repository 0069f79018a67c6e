"""What a template or a probe must be: float32 rows of length one, so that a dot product is a cosine similarity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.errors import VectorError

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

LENGTH_TOLERANCE = 1e-3
"""How far a row's length may be from one: above what float32 rounding leaves, far below what moves a threshold."""


def require_unit_rows(name: str, rows: F32, dim: int) -> F32:
    """The rows, C-contiguous, if they are ``(N, dim)`` float32, finite and each of length one.

    Raises:
        VectorError: They are not; it states the expected and the actual shape and dtype.
    """
    if rows.ndim != 2 or rows.shape[1] != dim or rows.dtype != np.float32:
        raise VectorError(f"{name}: expected shape (any, {dim}) float32, got shape {rows.shape} {rows.dtype}")
    expected = f"{name}: expected finite rows of length 1, shape {rows.shape} {rows.dtype}"
    # In double precision: the square of a large float32 must not overflow before it can be reported.
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    not_finite = ~np.isfinite(lengths)
    if not_finite.any():
        raise VectorError(f"{expected}; row {int(np.argmax(not_finite))} has NaN or infinity")
    off = np.abs(lengths - 1.0) > LENGTH_TOLERANCE
    if off.any():
        row = int(np.argmax(off))
        raise VectorError(f"{expected}; row {row} has length {lengths[row]:.6g}: L2-normalise it first")
    return np.ascontiguousarray(rows)
