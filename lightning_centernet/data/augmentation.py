"""Random changes of a training picture, with the originals' numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_centernet.data.color import color_matrix
from lightning_centernet.errors import UserError
from lightning_centernet.geometry.affine import similarity

_BORDER = 128  # pixels from the picture's edges to the centre of a crop, in CenterNet


@dataclass(frozen=True)
class Augmentation:
    """Strengths of the random changes; the defaults are CenterNet's.

    Attributes:
        crop: extents to draw from, relative to the whole picture; the centre is drawn anywhere but near the edges.
            None: `shift` and `scale` instead.
        crop_probability: how often to crop, or shift and scale, at all; otherwise the whole picture is seen.
        shift: standard deviation of the centre, relative to the picture's longer side; cut off at twice that.
        vertical_shift: the same of its y, where that is to be another.
        scale: standard deviation of the extent about 1; cut off at once that.
        flip: probability of a horizontal flip.
        rotation: standard deviation in degrees; cut off at twice that.
        rotation_probability: how often to rotate at all.
        brightness: largest relative change.
        contrast: largest relative change.
        saturation: largest relative change.
        lighting: standard deviation along the principal components of ImageNet's colours.

    Raises:
        UserError: a strength is no number or negative, or a probability above 1.
    """

    crop: Sequence[float] | None = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
    crop_probability: float = 1.0
    shift: float = 0.1
    vertical_shift: float | None = None
    scale: float = 0.4
    flip: float = 0.5
    rotation: float = 0.0
    rotation_probability: float = 1.0
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    lighting: float = 0.1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            limit = 1.0 if name in {"flip", "rotation_probability", "crop_probability", "scale"} else float("inf")
            optional = value is None and name == "vertical_shift"
            if name != "crop" and not optional and not (isinstance(value, int | float) and 0 <= value <= limit):
                raise UserError(f"augmentation {name}={value}: must be a number from 0 to {limit}")
        if self.crop is not None and not _are_extents(self.crop):
            raise UserError(f"augmentation crop={self.crop}: must be positive extents such as [0.8, 1.0, 1.2], or null")

    def matrix(self, size: tuple[int, int], input_size: tuple[int, int], generator: np.random.Generator) -> Tensor:
        """Draw a crop, a scale, a rotation and a flip.

        At extent 1, in the middle, the whole picture just fits into the input (the same as the originals' where both
        are equally wide or high; theirs cuts upright pictures in a wide input).

        Args:
            size: height and width of the picture.
            input_size: height and width of the input.
            generator: the source of all chance.

        Returns:
            (2, 3) float64, from the picture's to the input's pixels.
        """
        height, width = input_size
        center, extent = self._view(size, generator)
        rotated = generator.random() < self.rotation_probability
        rotation = _normal(generator, self.rotation, 2) if rotated else 0.0
        matrix = similarity(center, extent * whole_extent(size, input_size), rotation, (width, height))
        if generator.random() < self.flip:  # x becomes width - x
            matrix[0] *= -1
            matrix[0, 2] += width
        return matrix

    def color(self, mean_gray: float, generator: np.random.Generator) -> NDArray[np.float64]:
        """Draw a (3, 4) map of RGB in [0, 1], for a picture with this mean gray."""
        strengths = np.array([self.brightness, self.contrast, self.saturation])
        factors = 1 + generator.uniform(-strengths, strengths)
        return color_matrix(factors, generator.permutation(3), mean_gray, generator.normal(scale=self.lighting, size=3))

    def _view(self, size: tuple[int, int], generator: np.random.Generator) -> tuple[tuple[float, float], float]:
        if self.crop_probability < 1 and generator.random() >= self.crop_probability:
            return (size[1] / 2, size[0] / 2), 1.0
        return self._crop(size, generator) if self.crop else self._shift_and_scale(size, generator)

    def _crop(self, size: tuple[int, int], generator: np.random.Generator) -> tuple[tuple[float, float], float]:
        assert self.crop is not None
        y, x = (float(generator.uniform(_border(side), side - _border(side))) for side in size)
        return (x, y), float(self.crop[int(generator.integers(len(self.crop)))])

    def _shift_and_scale(
        self, size: tuple[int, int], generator: np.random.Generator
    ) -> tuple[tuple[float, float], float]:
        vertical = self.shift if self.vertical_shift is None else self.vertical_shift
        y = size[0] / 2 + max(size) * _normal(generator, vertical, 2)
        x = size[1] / 2 + max(size) * _normal(generator, self.shift, 2)
        return (x, y), 1 + _normal(generator, self.scale, 1)


def whole_extent(size: tuple[int, int], input_size: tuple[int, int]) -> float:
    """Compute the extent that must fill the input's width for a whole picture to be seen; sizes (height, width)."""
    return max(size[1], size[0] * input_size[1] / input_size[0])


def _are_extents(values: Any) -> bool:
    are_numbers = isinstance(values, Sequence) and all(isinstance(each, int | float) for each in values)
    return are_numbers and len(values) > 0 and min(values) > 0


def _normal(generator: np.random.Generator, deviation: float, cut: float) -> float:
    return deviation * float(np.clip(generator.standard_normal(), -cut, cut))


def _border(side: int) -> int:
    border = _BORDER
    while side <= 2 * border:
        border //= 2
    return border
