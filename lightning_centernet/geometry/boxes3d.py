"""Boxes in the camera's frame: x right, y down, z forward, metres; turned about y only."""

from __future__ import annotations

import torch
from torch import Tensor


def corners(location: Tensor, dimensions: Tensor, rotation_y: Tensor) -> Tensor:
    """Compute the corners of boxes.

    Args:
        location: (..., 3), the middle of the bottom.
        dimensions: (..., 3) height, width, length.
        rotation_y: (...) radians; at 0 the front looks along x, at -pi / 2 away from the camera.

    Returns:
        (..., 8, 3): front left, front right, back right, back left of the bottom, as from the driver's seat; then the
        same of the top.
    """
    height, width, length = dimensions.unsqueeze(-2).unbind(-1)
    corner = torch.arange(8, device=location.device)
    along = torch.where(corner % 4 < 2, 0.5, -0.5) * length
    across = torch.where((corner + 1) % 4 < 2, 0.5, -0.5) * width
    cos, sin = rotation_y.cos().unsqueeze(-1), rotation_y.sin().unsqueeze(-1)
    offsets = [cos * along + sin * across, torch.where(corner < 4, 0.0, -1.0) * height, cos * across - sin * along]
    return location.unsqueeze(-2) + torch.stack(offsets, dim=-1)
