"""Affine maps of the image plane, as (..., 2, 3) matrices in continuous pixel coordinates."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def similarity(center: tuple[float, float], scale: float, rotation: float, output_size: tuple[int, int]) -> Tensor:
    """Build the map that cuts a rotated square out of an image.

    Args:
        center: the point x, y of the source that lands in the middle of the output.
        scale: the extent of the source that fills the output's width.
        rotation: degrees; the source is turned by its negative.
        output_size: width and height of the output.

    Returns:
        (2, 3) float64 matrix (the crop of CenterNet, CenterTrack and CenterFusion).
    """
    zoom = output_size[0] / scale
    cos, sin = zoom * math.cos(math.radians(-rotation)), zoom * math.sin(math.radians(-rotation))
    return torch.tensor(
        [
            [cos, -sin, output_size[0] / 2 - cos * center[0] + sin * center[1]],
            [sin, cos, output_size[1] / 2 - sin * center[0] - cos * center[1]],
        ],
        dtype=torch.float64,
    )


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Chain two maps: `inner` first, then `outer`. Shapes (..., 2, 3)."""
    linear = outer[..., :2] @ inner[..., :2]
    offset = outer[..., :2] @ inner[..., 2:] + outer[..., 2:]
    return torch.cat([linear, offset], dim=-1)


def invert(matrix: Tensor) -> Tensor:
    """Invert a map. Shape (..., 2, 3)."""
    (a, b, x), (c, d, y) = matrix[..., 0, :].unbind(-1), matrix[..., 1, :].unbind(-1)
    rows = [d, -b, b * y - d * x, -c, a, c * x - a * y]
    area = (a * d - b * c)[..., None, None]
    return torch.unflatten(torch.stack(rows, dim=-1), -1, (2, 3)) / area


def determinant(matrix: Tensor) -> float:
    """Compute by how much a map (2, 3) on the host enlarges areas; negative if it is a mirror."""
    (a, b, _), (c, d, _) = matrix.tolist()
    return float(a * d - b * c)


def transform_points(points: Tensor, matrix: Tensor) -> Tensor:
    """Map (..., N, 2) points; the result has the points' dtype."""
    mapped = points.to(matrix.dtype) @ matrix[..., :2].mT + matrix[..., 2].unsqueeze(-2)
    return mapped.to(points.dtype)


def transform_boxes(boxes: Tensor, matrix: Tensor) -> Tensor:
    """Map (..., N, 4) boxes to the upright boxes round their mapped corners."""
    corners = torch.unflatten(boxes[..., [0, 1, 2, 1, 2, 3, 0, 3]], -1, (4, 2)).flatten(-3, -2)
    corners = torch.unflatten(transform_points(corners, matrix), -2, (-1, 4))
    return torch.cat([corners.amin(-2), corners.amax(-2)], dim=-1)
