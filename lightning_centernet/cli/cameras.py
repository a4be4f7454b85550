"""The cameras of the pictures that `predict` is given, for 3D boxes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.kitti_calibration import read_projection
from lightning_centernet.errors import UserError

_logger = logging.getLogger(__name__)

Projection: TypeAlias = NDArray[np.float32]
Camera: TypeAlias = Callable[[int, Sequence[int]], Projection]
"""From a picture's number, and its height and width, to the (3, 4) matrix of its camera."""


def find_cameras(calibration: str | None, focal_length: float | None, files: Sequence[Path]) -> Camera | None:
    """Find the camera of each picture; None if nothing is said of them.

    Args:
        calibration: a file in KITTI's format, for all pictures; or a folder of such files, named as the pictures, in
            folders like theirs or all in one.
        focal_length: in pixels, of cameras whose axis goes through the middle of the picture.
        files: the pictures.

    Raises:
        UserError: both are given, a file is missing or broken, or the focal length is not positive.
    """
    if calibration is not None and focal_length is not None:
        raise UserError("calibration and focal_length both say what the camera is: drop one of them")
    if focal_length is not None:
        if not 0 < focal_length < float("inf"):
            raise UserError(f"focal_length={focal_length}: must be a positive number of pixels, such as 720")
        return partial(_centered, focal_length)
    return None if calibration is None else partial(_listed, _read(Path(calibration), files))


def _centered(focal_length: float, _: int, size: Sequence[int]) -> Projection:
    height, width = size
    rows = [[focal_length, 0, width / 2, 0], [0, focal_length, height / 2, 0], [0, 0, 1, 0]]
    return np.array(rows, dtype=np.float32)


def _listed(matrices: Sequence[Projection], number: int, _: Sequence[int]) -> Projection:
    return matrices[number]


def _read(path: Path, files: Sequence[Path]) -> list[Projection]:
    if not path.exists():
        raise UserError(
            f"calibration={path}: nothing there; name a file in KITTI's format or a folder of such files, or say "
            f"focal_length=<pixels>"
        )
    sources = [_named(path, file) if path.is_dir() else path for file in files]
    missing = [(source, file) for source, file in zip(sources, files, strict=True) if not source.is_file()]
    if missing:
        raise UserError(
            f"calibration={path}: lacks the files of {len(missing)} of {len(files)} pictures, the first is "
            f"{missing[0][0].name} for {missing[0][1]}: add them, or name one file for all pictures"
        )
    if path.is_dir():
        _warn_of_shared(sources, files)
    matrices = {source: read_projection(source) for source in dict.fromkeys(sources)}
    return [np.asarray(matrices[source], dtype=np.float32) for source in sources]


def _named(folder: Path, picture: Path) -> Path:
    """Find the file with the most of a picture's path: of x/a/1.png, folder/a/1.txt comes before folder/1.txt."""
    parts = [part for part in picture.with_suffix(".txt").parts if part not in (picture.anchor, "..")]
    candidates = [folder.joinpath(*parts[start:]) for start in range(len(parts))]
    return next((candidate for candidate in candidates if candidate.is_file()), candidates[-1])


def _warn_of_shared(sources: Sequence[Path], files: Sequence[Path]) -> None:
    counts = Counter(sources)
    shared = [(source, file) for source, file in zip(sources, files, strict=True) if counts[source] > 1]
    if shared:
        source, file = shared[0]
        _logger.warning(
            "%d of %d pictures share a calibration with another of the same name, the first is %s for %s; if their "
            "cameras differ, put the files into folders named as those of the pictures",
            *(len(shared), len(files), source, file),
        )
