"""Pinhole cameras as (..., 3, 4) projection matrices, and the angles of objects in front of them.

The camera's frame is x right, y down, z forward, in metres; pixels are continuous. The matrix is KITTI's P2 with all
its columns: the fourth holds where the camera stands beside the origin of the frame.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_centernet.geometry.boxes3d import corners

LARGEST_ANGLE = math.pi + 0.01  # radians: KITTI's files have two decimals


def project(points: Tensor, calibration: Tensor) -> Tensor:
    """Project points in front of the camera.

    Args:
        points: (..., N, 3) in the camera's frame.
        calibration: (..., 3, 4).

    Returns:
        (..., N, 2) pixels.
    """
    homogeneous = points @ calibration[..., :3].mT + calibration[..., 3].unsqueeze(-2)
    return homogeneous[..., :2] / homogeneous[..., 2:]


def unproject(pixels: Tensor, depth: Tensor, calibration: Tensor) -> Tensor:
    """Find the points that lie at a depth behind pixels.

    Args:
        pixels: (..., N, 2).
        depth: (..., N) metres along the optical axis from the camera itself, which in KITTI stands some millimetres off
            the origin of the frame.
        calibration: (..., 3, 4).

    Returns:
        (..., N, 3) in the camera's frame.
    """
    scaled = _homogeneous(pixels) * depth.unsqueeze(-1) - calibration[..., 3].unsqueeze(-2)
    return scaled @ _inverse(calibration).mT


def project_boxes(location: Tensor, dimensions: Tensor, rotation_y: Tensor, calibration: Tensor) -> Tensor:
    """Project the corners of boxes.

    Args:
        location: (..., N, 3), the middle of the bottom.
        dimensions: (..., N, 3) height, width, length.
        rotation_y: (..., N).
        calibration: (..., 3, 4).

    Returns:
        (..., N, 8, 2) pixels, in the order of `corners`.
    """
    points = corners(location, dimensions, rotation_y)
    return torch.unflatten(project(points.flatten(-3, -2), calibration), -2, (-1, 8))


def transform_calibration(calibration: Tensor, matrix: Tensor) -> Tensor:
    """Find the camera of a warped image.

    An image that is mirrored shows the mirrored world: x of all points has changed its sign, and the camera is an
    ordinary one again.

    Args:
        calibration: (..., 3, 4) of the image.
        matrix: (..., 2, 3), the image's pixels to those of the warped one.
    """
    linear, offset = matrix[..., :2].to(calibration.dtype), matrix[..., 2:].to(calibration.dtype)
    rows = linear @ calibration[..., :2, :] + offset * calibration[..., 2:, :]
    warped = torch.cat([rows, calibration[..., 2:, :].expand_as(rows[..., :1, :])], dim=-2)
    mirrored = linear[..., 0, 0] * linear[..., 1, 1] < linear[..., 0, 1] * linear[..., 1, 0]
    sign = torch.where(mirrored, -1.0, 1.0).to(warped.dtype)
    return torch.cat([warped[..., :1] * sign[..., None, None], warped[..., 1:]], dim=-1)


def focal_length(calibration: Tensor) -> Tensor:
    """Compute the focal length in pixels, the mean of both axes, also where the image is rotated: (...)."""
    (a, b), (c, d) = (row[..., :2].unbind(-1) for row in calibration[..., :2, :2].unbind(-2))
    return (a * d - b * c).abs().sqrt()


def rotation_from_alpha(alpha: Tensor, pixels: Tensor, calibration: Tensor) -> Tensor:
    """Turn angles to the line of sight into angles to the camera.

    Args:
        alpha: (..., N) radians.
        pixels: (..., N, 2) where the objects' centres are seen.
        calibration: (..., 3, 4).

    Returns:
        (..., N) rotation_y in [-pi, pi].
    """
    return wrap_angle(alpha + _sight(pixels, calibration))


def alpha_from_rotation(rotation_y: Tensor, pixels: Tensor, calibration: Tensor) -> Tensor:
    """Undo `rotation_from_alpha`."""
    return wrap_angle(rotation_y - _sight(pixels, calibration))


def wrap_angle(angle: Tensor) -> Tensor:
    """Bring radians into [-pi, pi]."""
    return angle - 2 * math.pi * torch.round(angle / (2 * math.pi))


def mirror_angle(angle: Tensor) -> Tensor:
    """Find rotation_y or alpha of the object in a mirrored image; 0 becomes -pi."""
    return torch.where(angle > 0, math.pi - angle, -math.pi - angle)


def _sight(pixels: Tensor, calibration: Tensor) -> Tensor:
    x, _, z = (_homogeneous(pixels) @ _inverse(calibration).mT).unbind(-1)
    return torch.atan2(x, z)


def _homogeneous(pixels: Tensor) -> Tensor:
    return torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)


def _inverse(calibration: Tensor) -> Tensor:
    # Written out, for a general routine makes the host wait for its verdict on singular matrices.
    first, second, third = calibration[..., :3].unbind(-2)
    columns = [torch.linalg.cross(*rows) for rows in ((second, third), (third, first), (first, second))]
    inverse: Tensor = torch.stack(columns, dim=-1) / (first * columns[0]).sum(-1)[..., None, None]
    return inverse
