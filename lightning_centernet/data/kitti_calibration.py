"""KITTI's calibration files: the projection of the left colour camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.problems import complain

_SINGULAR = 1e-6  # of the determinant, relative to the rows' lengths


def read_projection(file: Path, key: str = "P2") -> NDArray[np.float64] | None:
    """Read a projection matrix, (3, 4), from the rectified camera's frame to pixels.

    Raises:
        UserError: the file is missing, or the matrix is, or it is none of a camera; inside `collect_problems` the
            result is None instead.
    """
    if not file.is_file():
        complain([f"{file}: no such calibration file: add it, or take the frame out of the split"])
        return None
    lines = [line.partition(":") for line in file.read_text(errors="surrogateescape").splitlines()]
    found = [numbers for name, _, numbers in lines if name.strip() == key]
    if not found:
        complain([f"{file}: has no line `{key}:`, only {', '.join(name for name, _, _ in lines if name)}"])
        return None
    try:
        matrix = np.array(found[0].split(), dtype=np.float64).reshape(3, 4)
    except ValueError:
        complain([f"{file}: {key} must be 12 numbers, the rows of a 3 x 4 matrix, not {found[0].strip()!r}"])
        return None
    problem = _problem(matrix)
    if problem:
        complain([f"{file}: {key} {problem}: {matrix.tolist()}: take the original file"])
        return None
    return matrix


def _problem(matrix: NDArray[np.float64]) -> str | None:
    if not np.isfinite(matrix).all():
        return "holds something else than finite numbers"
    size = float(np.linalg.norm(matrix[:, :3], axis=1).prod())
    determinant = float(np.linalg.det(matrix[:, :3]))
    if abs(determinant) <= _SINGULAR * size:
        return "is singular, and so projects to a line or a point"
    if determinant < 0 or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        return "is mirrored or looks backwards: its focal lengths must be positive"
    return None
