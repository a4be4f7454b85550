"""KITTI's calibration files: the projection of the left colour camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.calibration import as_projection
from lightning_centernet.data.problems import complain


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
    found = [numbers.strip() for name, _, numbers in lines if name.strip() == key]
    if not found:
        complain([f"{file}: has no line `{key}:`, only {', '.join(name for name, _, _ in lines if name)}"])
        return None
    matrix, problem = as_projection(found[0].split())
    if problem:
        complain([f"{file}: {key} {problem}: it is {found[0][:300]!r}: take the original file"])
    return matrix
