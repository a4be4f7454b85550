"""A picture's pixels through an affine map."""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_EXACT = 1e-6  # of a pixel
_Rows = tuple[tuple[float, float, float], tuple[float, float, float]]


def warp(image: NDArray[np.uint8], matrix: Tensor, output_size: tuple[int, int]) -> NDArray[np.uint8]:
    """Warp a picture bilinearly; what lies outside it is black.

    A picture that would shrink by more than half is first averaged down by a whole number, for bilinear sampling would
    leave out pixels. That changes no position: the matrix takes it into account.

    An upright map whose edges are whole pixels, as `align_crop` makes them, takes half the time. Its outermost half
    pixel then has the colour of the first one seen; otherwise it is blended with what lies before, as in the originals.

    Args:
        image: (h, w, 3).
        matrix: (2, 3) from the picture's to the output's continuous pixel coordinates.
        output_size: height and width.
    """
    image, rows = _averaged(image, matrix)
    (a, b, x), (c, d, y) = rows
    vertical, horizontal = _Axis(d, y), _horizontal(a, x, output_size[1])
    sizes = zip((vertical, horizontal), image.shape[:2], output_size, strict=True)
    if not (b == c == 0 and all(axis.resizes(size, output) for axis, size, output in sizes)):
        return _sampled(image, rows, output_size)
    upright = _resized(image, vertical, horizontal, output_size)
    return np.asarray(cv2.flip(upright, 1), dtype=np.uint8) if a < 0 else upright


def align_crop(matrix: Tensor, width: int) -> Tensor:
    """Move a crop by at most half a pixel, of the picture or of the output, so that `warp` need not sample each pixel.

    Its left and upper edges (before it is mirrored) then lie between two pixels of the picture; where they lie outside
    it, the picture's lie between two of the output.

    Args:
        matrix: (2, 3) float64 on the host, as for `warp`. One that is not upright, or that shrinks by half or more,
            comes back as it is.
        width: of the output.
    """
    (a, b, x), (c, d, y) = matrix.tolist()
    if not (b == c == 0 and min(abs(a), d) > 0.5):
        return matrix
    offset = _horizontal(a, x, width).whole_offset
    return torch.tensor(
        [[a, 0, width - offset if a < 0 else offset], [0, d, _Axis(d, y).whole_offset]], dtype=matrix.dtype
    )


class _Axis(NamedTuple):
    """One axis of an upright map: output = zoom * picture + offset."""

    zoom: float
    offset: float

    @property
    def first(self) -> int:
        """The first pixel of the picture that is seen."""
        return max(round(-self.offset / self.zoom), 0)

    @property
    def edge(self) -> int:
        """Where in the output it begins."""
        return max(round(self.offset), 0)

    @property
    def whole_offset(self) -> float:
        """The nearest offset by which it begins there exactly."""
        return self.edge - self.first * self.zoom

    def seen(self, output: int) -> slice:
        """The picture's pixels that an output of this size shows."""
        return slice(self.first, self.first + math.ceil(max(output - self.edge, 0) / self.zoom) + 1)

    def resizes(self, size: int, output: int) -> bool:
        """Whether resizing what is seen of a picture of this size is right, and not far more than is needed."""
        if self.zoom <= 0.5 or abs(self.whole_offset - self.offset) > _EXACT:
            return False
        part = len(range(size)[self.seen(output)])
        resized = round(part * self.zoom)
        # OpenCV copies where both sizes are the same, though the zoom may be a little more or less than one.
        return 0 < resized <= 2 * output and (self.zoom == 1 or resized != part)


def _horizontal(a: float, x: float, width: int) -> _Axis:
    """Give the axis of a row, before it is mirrored if it is."""
    return _Axis(-a, width - x) if a < 0 else _Axis(a, x)


def _averaged(image: NDArray[np.uint8], matrix: Tensor) -> tuple[NDArray[np.uint8], _Rows]:
    (a, b, x), (c, d, y) = matrix.tolist()
    shrink = int(round(abs(a * d - b * c) ** -0.5, 6))  # rounded, for 4.999... is five
    if shrink > 1:
        height, width = image.shape[:2]
        smaller = (max(width // shrink, 1), max(height // shrink, 1))
        image = np.asarray(cv2.resize(image, smaller, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        a, c = a * width / smaller[0], c * width / smaller[0]
        b, d = b * height / smaller[1], d * height / smaller[1]
    return image, ((a, b, x), (c, d, y))


def _resized(
    image: NDArray[np.uint8], vertical: _Axis, horizontal: _Axis, output_size: tuple[int, int]
) -> NDArray[np.uint8]:
    part = image[vertical.seen(output_size[0]), horizontal.seen(output_size[1])]
    resized = cv2.resize(part, None, fx=horizontal.zoom, fy=vertical.zoom, interpolation=cv2.INTER_LINEAR)
    output = np.zeros((*output_size, 3), np.uint8)
    space = output[vertical.edge :, horizontal.edge :]
    resized = resized[: space.shape[0], : space.shape[1]]
    space[: resized.shape[0], : resized.shape[1]] = resized
    return output


def _sampled(image: NDArray[np.uint8], rows: _Rows, output_size: tuple[int, int]) -> NDArray[np.uint8]:
    (a, b, x), (c, d, y) = rows
    # OpenCV counts from the middle of the first pixel.
    pixels = np.array([[a, b, x + (a + b - 1) / 2], [c, d, y + (c + d - 1) / 2]])
    # OpenCV takes half the time for four channels, with the same result. It makes a buffer anew if the size differs.
    size = (output_size[1], output_size[0])
    _buffers.padded = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA, _buffers.padded)
    _buffers.warped = cv2.warpAffine(_buffers.padded, pixels, size, _buffers.warped, flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(_buffers.warped, cv2.COLOR_RGBA2RGB), dtype=np.uint8)


class _Buffers(threading.local):
    """Each thread's last picture of four channels, kept because new memory takes a sixth of a picture's time."""

    padded: NDArray[Any] | None = None
    warped: NDArray[Any] | None = None


_buffers = _Buffers()
