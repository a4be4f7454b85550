"""What boxes share that are turned about the vertical axis only: areas seen from above, volumes.

A rectangle is x, z, length, width, rotation_y; a box is x, y, z, height, width, length, rotation_y. Both are in the
camera's frame, y down, y of a box at its bottom. Shapes broadcast: n boxes [:, None] with m boxes give (n, m). All is
computed in float64. What is NaN or has no positive size shares nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

_AT_ONCE = 1 << 16  # pairs: enough to be fast, and some hundred MB at most


def birdseye(boxes: Tensor) -> Tensor:
    """Look at (..., 7) boxes from above: (..., 5) rectangles."""
    return boxes[..., [0, 2, 5, 4, 6]]


def rectangle_intersection(first: Tensor, second: Tensor) -> Tensor:
    """Compute the exact area that rectangles (..., 5) share: (...)."""
    first, second = torch.broadcast_tensors(first.double(), second.double())  # type: ignore[no-untyped-call]
    near = _may_meet(first, second)
    pairs = zip(torch.split(first[near], _AT_ONCE), torch.split(second[near], _AT_ONCE), strict=True)
    area = first.new_zeros(first.shape[:-1])
    area[near] = torch.cat([_shared_area(*pair) for pair in pairs])
    return area


def rectangle_iou(first: Tensor, second: Tensor) -> Tensor:
    """Compute the intersection over union of rectangles (..., 5): (...)."""
    return _over_union(rectangle_intersection(first, second), first[..., 2:4], second[..., 2:4])


def box_intersection(first: Tensor, second: Tensor) -> Tensor:
    """Compute the exact volume that boxes (..., 7) share: (...)."""
    bottoms, heights = zip(*(boxes[..., [1, 3]].double().unbind(-1) for boxes in (first, second)), strict=True)
    top = torch.maximum(bottoms[0] - heights[0], bottoms[1] - heights[1])
    shared_height = (torch.minimum(*bottoms) - top).nan_to_num(0.0).clamp(min=0)
    return rectangle_intersection(birdseye(first), birdseye(second)) * shared_height


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Compute the intersection over union of the volumes of boxes (..., 7): (...)."""
    return _over_union(box_intersection(first, second), first[..., 3:6], second[..., 3:6])


def _over_union(shared: Tensor, first_sides: Tensor, second_sides: Tensor) -> Tensor:
    union = first_sides.double().prod(-1) + second_sides.double().prod(-1) - shared
    return torch.where(shared > 0, shared / union, 0.0)


def _may_meet(first: Tensor, second: Tensor) -> Tensor:
    """Tell whether the circles round two rectangles overlap."""
    reach = (torch.linalg.vector_norm(first[..., 2:4], dim=-1) + torch.linalg.vector_norm(second[..., 2:4], dim=-1)) / 2
    distance = torch.linalg.vector_norm(first[..., :2] - second[..., :2], dim=-1)
    sized = (first[..., 2:4] > 0).all(-1) & (second[..., 2:4] > 0).all(-1)
    near: Tensor = distance < reach
    return near & sized & torch.isfinite(first[..., 4] - second[..., 4])


def _shared_area(first: Tensor, second: Tensor) -> Tensor:
    """Integrate, along the second's length, how much of its width lies inside the first: (p, 5), (p, 5) to (p).

    Each edge of the first bounds what lies on one side of it. Cut off at the second's ends and sides, the edges run
    straight between at most four points; their integrals, signed by direction, leave the area. Unlike the clipping of
    polygons this has no cases, and so no edges on top of each other to go wrong.
    """
    starts = _outlines(first, second)
    (along, across), (run, rise) = starts.unbind(-1), (starts.roll(-1, dims=1) - starts).unbind(-1)
    half_length, half_width = (second[:, side, None] / 2 for side in (2, 3))
    ends = _crossings(along, run, half_length)
    sides = _crossings(across, rise, half_width).clamp(ends[..., :1], ends[..., 1:])
    points = torch.cat([ends[..., :1], sides, ends[..., 1:]], dim=-1)
    limit = half_width.unsqueeze(-1)
    heights = (across.unsqueeze(-1) + points * rise.unsqueeze(-1)).clamp(-limit, limit)
    return (torch.trapezoid(heights, points) * run).sum(1).abs()


def _outlines(first: Tensor, second: Tensor) -> Tensor:
    """Find the first's corners (p, 4, 2) along the second's length and across it, from its centre."""
    x, z = (first[:, :2] - second[:, :2]).unbind(-1)
    cos, sin = second[:, 4].cos(), second[:, 4].sin()
    centers = torch.stack([cos * x - sin * z, sin * x + cos * z], dim=-1)
    halves = first.new_tensor([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * first[:, None, 2:4] / 2
    turn = (first[:, 4] - second[:, 4]).unsqueeze(-1)
    along, across = halves.unbind(-1)
    turned = [turn.cos() * along + turn.sin() * across, turn.cos() * across - turn.sin() * along]
    return centers.unsqueeze(1) + torch.stack(turned, dim=-1)


def _crossings(start: Tensor, run: Tensor, limit: Tensor) -> Tensor:
    """Find where edges pass -limit and limit, as ascending shares (p, 4, 2) of their lengths."""
    shares = (torch.stack([-limit, limit], dim=-1) - start.unsqueeze(-1)) / run.unsqueeze(-1)
    # 0 / 0: the edge runs along the limit, where any share is right.
    return shares.nan_to_num(0.0).clamp(0, 1).sort(dim=-1).values
