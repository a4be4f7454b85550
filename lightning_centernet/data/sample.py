"""What a data set is made of: records known without reading pixels, and the samples it yields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Objects: TypeAlias = dict[str, NDArray[Any]]
"""The n objects of one picture: boxes (n, 4) float32 x1 y1 x2 y2 in pixels, labels (n,) int64, ignore (n,) bool, area
(n,) float32, and any further field, (n,) or (n, k)."""


@dataclass(frozen=True)
class Record:
    """One picture's entry in a data set: what its annotation file says, boxes in original pixels."""

    file: Path
    image_id: int
    width: int
    height: int
    annotations: Objects


@dataclass(frozen=True)
class Sample:
    """What a data set yields: an RGB picture (height, width, 3) and its objects in that picture's pixels."""

    image: NDArray[np.uint8]
    annotations: Objects
    image_id: int
    file: str


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
