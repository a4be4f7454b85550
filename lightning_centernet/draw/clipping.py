"""What of a segment can be seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.draw.canvas import Floats

MARGIN = 64  # pixels; what is further outside the image than this is as invisible


def visible_parts(segments: Floats, size: tuple[int, ...]) -> tuple[Floats, NDArray[np.bool_]]:
    """Cut off segments what lies behind the camera or outside an image (Cyrus and Beck 1978).

    Args:
        segments: (n, 2, 3), the ends in homogeneous pixels: u w, v w, and w, the depth in metres.
        size: height and width of the image.

    Returns:
        (m, 2, 2) pixels of those segments of which something is left; and which these are, (n,) bool. Segments whose
        numbers are not finite are left out.
    """
    height, width = size[:2]
    # Two sides that face each other have nothing behind the camera between them.
    inward = np.array([[1.0, 0, MARGIN], [-1, 0, width + MARGIN], [0, 1, MARGIN], [0, -1, height + MARGIN]])
    # Huge and broken numbers end as NaN, and fail all comparisons.
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        inside = segments @ inward.T
        first, last = inside[:, 0], inside[:, 1]
        crossing = first / (first - last)
        enters = np.where(first < 0, crossing, 0).max(1, initial=0)
        leaves = np.where(last < 0, crossing, 1).min(1, initial=1)
        shares = np.stack([enters, leaves], axis=1)[..., None]
        ends = segments[:, :1] + shares * (segments[:, 1:] - segments[:, :1])
        pixels = ends[..., :2] / ends[..., 2:]
        kept = (enters < leaves) & np.isfinite(pixels).all((1, 2))
    return pixels[kept], kept


def in_pixels(points: Floats) -> Floats:
    """Make points (..., 2) of an image homogeneous, as `visible_parts` takes them."""
    return np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)
