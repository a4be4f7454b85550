"""Upright boxes in the picture."""

from __future__ import annotations

import torch
from torch import Tensor


def upright_iou(first: Tensor, second: Tensor) -> Tensor:
    """Compute the intersection over union of boxes and their partners.

    Args:
        first: (..., 4) xyxy.
        second: the same, or what broadcasts with it.

    Returns:
        (...); 0 for boxes without an area, NaN for those that are.
    """
    sides = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    common = sides.clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (first, second)]
    return common / (areas[0] + areas[1] - common).clamp(min=1e-9)
