"""Losses of the overlap of two boxes, x1 y1 x2 y2; all with the contract of `weighted`.

The formulas are those of torchvision's `generalized_box_iou_loss`, `distance_box_iou_loss` and
`complete_box_iou_loss`, and so are the values and gradients. Those functions pick the overlapping boxes by a mask,
which makes the host wait for the device and breaks a compiled graph, and give NaN for boxes without height: these do
not. A box whose edges are the wrong way round has no area here.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from lightning_centernet.losses.weighting import matched, weighted

EPSILON = 1e-7  # torchvision's


@weighted
def iou_loss(prediction: Tensor, target: Tensor, *, mode: Literal["linear", "log"] = "linear") -> Tensor:
    """Return 1 - IoU, or -ln IoU as in UnitBox (Yu et al. 2016), for boxes (..., 4); of the shape (...).

    It has no gradient where the boxes do not overlap.
    """
    iou, _ = _overlap(*matched(prediction, target))
    return 1 - iou if mode == "linear" else -iou.clamp(min=EPSILON).log()


@weighted
def giou_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return 1 - GIoU for boxes (..., 4) (Rezatofighi et al. 2019, algorithm 2); of the shape (...)."""
    prediction, target = matched(prediction, target)
    iou, union = _overlap(prediction, target)
    hull = _area(_hull(prediction, target))
    return 1 - iou + (hull - union) / (hull + EPSILON)


@weighted
def diou_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return 1 - IoU + d^2 / c^2 for boxes (..., 4) (Zheng et al. 2020, eq. 7); of the shape (...).

    d is the distance of the centres, c the diagonal of the smallest box round both.
    """
    prediction, target = matched(prediction, target)
    return 1 - _overlap(prediction, target)[0] + _distance(prediction, target)


@weighted
def ciou_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Add to the DIoU loss the difference v of the aspect ratios (Zheng et al. 2020, eq. 8 to 11); of the shape (...).

    The factor of v, v / (1 - IoU + v), counts as constant.
    """
    prediction, target = matched(prediction, target)
    iou, _ = _overlap(prediction, target)
    v = (4 / math.pi**2) * (_slope(target) - _slope(prediction)) ** 2
    factor = (v / (1 - iou + v + EPSILON)).detach()
    return 1 - iou + _distance(prediction, target) + factor * v


def widen(boxes: Tensor, target: Tensor, share: float = 0.1) -> Tensor:
    """Let no box (..., 4) be thinner than a share of its target; the gradient is as if nothing had been done.

    A box without an area has no gradient from its overlap, and a network that begins with such boxes would keep them.
    """
    lack = share * (target[..., 2:] - target[..., :2]) - (boxes[..., 2:] - boxes[..., :2])
    half = lack.clamp(min=0).detach() / 2
    return boxes + torch.cat([-half, half], dim=-1)


def _overlap(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the intersection over union, and the union."""
    corner, opposite = torch.maximum(prediction, target)[..., :2], torch.minimum(prediction, target)[..., 2:]
    intersection = _area(torch.cat([corner, opposite], dim=-1))
    union = _area(prediction) + _area(target) - intersection
    return intersection / (union + EPSILON), union


def _distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the squared distance of the centres over the squared diagonal of the hull."""
    difference, hull = prediction - target, _hull(prediction, target)
    between = (difference[..., :2] + difference[..., 2:]) / 2
    diagonal = hull[..., 2:] - hull[..., :2]
    return (between**2).sum(-1) / ((diagonal**2).sum(-1) + EPSILON)


def _hull(prediction: Tensor, target: Tensor) -> Tensor:
    corner, opposite = torch.minimum(prediction, target)[..., :2], torch.maximum(prediction, target)[..., 2:]
    return torch.cat([corner, opposite], dim=-1)


def _sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return width, height


def _area(boxes: Tensor) -> Tensor:
    width, height = _sides(boxes)
    return width * height


def _slope(boxes: Tensor) -> Tensor:
    width, height = _sides(boxes)
    return torch.atan2(width, height + EPSILON)
