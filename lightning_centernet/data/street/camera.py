"""A level pinhole camera over a flat ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEAR = 0.5  # metres: what is closer is not painted


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along z, `height` metres over the ground.

    `focal` is in image widths, `horizon` in image heights from the top, so that one camera takes pictures of any
    size. It never tilts: the horizon moves with the principal point, and boxes keep a single angle, rotation_y.
    """

    focal: float
    horizon: float
    height: float

    def projection(self, size: tuple[int, int]) -> NDArray[np.float64]:
        """Return the (3, 4) matrix from the camera's frame to continuous pixels of a picture of `size` (H, W)."""
        height, width = size
        focal = self.focal * width
        return np.array([[focal, 0, width / 2, 0], [0, focal, self.horizon * height, 0], [0, 0, 1, 0]], np.float64)


def project(points: NDArray[np.float64], projection: NDArray[np.float64]) -> NDArray[np.float64]:
    """Project points (..., 3) with a (3, 4) matrix to pixels (..., 2)."""
    homogeneous = points @ projection[:, :3].T + projection[:, 3]
    pixels: NDArray[np.float64] = homogeneous[..., :2] / homogeneous[..., 2:]
    return pixels


def clip_near(polygons: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cut convex polygons (F, N, 3) off at the near plane, and say which have anything in front of it."""
    front = polygons[..., 2] >= NEAR
    kept = np.any(front, axis=1)
    crossing = kept & ~np.all(front, axis=1)
    if crossing.any():
        polygons = polygons.copy()
        for index in np.flatnonzero(crossing):
            polygons[index] = _clip(polygons[index])
    return polygons, kept


def _clip(polygon: NDArray[np.float64]) -> NDArray[np.float64]:
    corners: list[list[float]] = []
    points = polygon.tolist()
    for start, end in zip(points, points[1:] + points[:1], strict=True):
        if start[2] >= NEAR:
            corners.append(start)
        if (start[2] >= NEAR) != (end[2] >= NEAR):
            share = (NEAR - start[2]) / (end[2] - start[2])
            corners.append([a + share * (b - a) for a, b in zip(start, end, strict=True)])
    corners += corners[-1:] * len(points)
    return np.array(corners[: len(points)])
