"""Cameras as data sets state them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SINGULAR = 1e-6  # of the determinant, relative to the rows' lengths


def as_projection(values: object) -> tuple[NDArray[np.float64] | None, str]:
    """Make a (3, 4) matrix, from the camera's frame to pixels, of what a file states.

    Args:
        values: 12 numbers, or three rows of four.

    Returns:
        The matrix and an empty text; or None, and what is wrong.
    """
    try:
        matrix = np.array(values, dtype=np.float64).reshape(3, 4)
    except (TypeError, ValueError):
        return None, "must be 12 numbers, the rows of a 3 x 4 matrix"
    problem = _problem(matrix)
    return (None, problem) if problem else (matrix, "")


def _problem(matrix: NDArray[np.float64]) -> str:
    if not np.isfinite(matrix).all():
        return "holds something else than finite numbers"
    size = float(np.linalg.norm(matrix[:, :3], axis=1).prod())
    determinant = float(np.linalg.det(matrix[:, :3]))
    if abs(determinant) <= _SINGULAR * size:
        return "is singular, and so projects to a line or a point"
    if determinant < 0 or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        return "is mirrored or looks backwards: its focal lengths must be positive"
    return ""
