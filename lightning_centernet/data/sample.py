"""What a data set is made of: records known without reading pixels, and the samples it yields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.skeleton import Skeleton

Objects: TypeAlias = dict[str, NDArray[Any]]
"""The n objects of one picture: boxes (n, 4) float32 x1 y1 x2 y2 in pixels, labels (n,) int64, ignore (n,) bool, area
(n,) float32, and any further field, (n,) or (n, k), such as keypoints (n, J, 3): x, y and visibility 0, 1 or 2."""


@dataclass(frozen=True)
class Record:
    """One picture's entry in a data set: what its annotation file says, boxes in original pixels.

    `calibration` (3, 4) float32 projects the camera's frame, in which 3D boxes are, to original pixels.
    """

    file: Path
    image_id: int
    width: int
    height: int
    annotations: Objects
    calibration: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Sample:
    """What a data set yields: an RGB picture (height, width, 3) and its objects in that picture's pixels.

    `skeleton` says what their keypoints are, if they have some; `calibration` is that of the record.
    """

    image: NDArray[np.uint8]
    annotations: Objects
    image_id: int
    file: str
    skeleton: Skeleton | None = None
    calibration: NDArray[np.float32] | None = None


class Dataset(Protocol):
    """A sequence of samples. Labels count from 0 through `classes`; `category_ids` are the data set's own ids."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names, by label."""
        ...

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The data set's own ids, by label."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...
