"""Losses of the overlap of two boxes, x1 y1 x2 y2; all with the contract of `weighted`.

The formulas are those of torchvision's `generalized_box_iou_loss`, `distance_box_iou_loss` and
`complete_box_iou_loss`, and so are values and gradients. But torchvision picks the overlapping boxes by a mask, which
makes the host wait for the device, and gives NaN for a box without height. Here a box whose edges are the wrong way
round has no area.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.losses.options import require_choice
from lightning_centernet.losses.weighting import matched, weighted

IoUMode: TypeAlias = Literal["linear", "log"]

EPSILON = 1e-7  # torchvision's


@weighted
def iou_loss(prediction: Tensor, target: Tensor, *, mode: IoUMode = "linear") -> Tensor:
    """Return 1 - IoU, or -ln IoU as in UnitBox (Yu et al. 2016), for boxes (..., 4); of the shape (...).

    It has no gradient where the boxes do not overlap.

    Raises:
        UserError: the mode is unknown, or the shapes do not fit.
    """
    require_choice("mode", mode, IoUMode)
    iou, _ = _Pair.of(prediction, target).overlap()
    return 1 - iou if mode == "linear" else -iou.clamp(min=EPSILON).log()


@weighted
def giou_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return 1 - GIoU for boxes (..., 4) (Rezatofighi et al. 2019, algorithm 2); of the shape (...)."""
    pair = _Pair.of(prediction, target)
    iou, union = pair.overlap()
    hull = _area(pair.hull())
    return 1 - iou + (hull - union) / (hull + EPSILON)


@weighted
def diou_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return 1 - IoU + d^2 / c^2 for boxes (..., 4) (Zheng et al. 2020, eq. 7); of the shape (...).

    d is the distance of the centres, c the diagonal of the smallest box round both.
    """
    pair = _Pair.of(prediction, target)
    return 1 - pair.overlap()[0] + pair.distance()


@weighted
def ciou_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Add to the DIoU loss the difference v of the aspect ratios (Zheng et al. 2020, eq. 8 to 11); of the shape (...).

    The factor of v, v / (1 - IoU + v), counts as constant.
    """
    pair = _Pair.of(prediction, target)
    iou, _ = pair.overlap()
    v = (4 / math.pi**2) * (_slope(pair.wanted_size) - _slope(pair.size)) ** 2
    factor = (v / (1 - iou + v + EPSILON)).detach()
    return 1 - iou + pair.distance() + factor * v


def widen(boxes: Tensor, target: Tensor, share: float = 0.1) -> Tensor:
    """Let no box (..., 4) be thinner than a share of its target; the gradient is as if nothing had been done.

    A box without an area has no gradient from its overlap, and a network that begins with such boxes would keep them.
    """
    lack = share * (target[..., 2:] - target[..., :2]) - (boxes[..., 2:] - boxes[..., :2])
    half = lack.clamp(min=0).detach() / 2
    return boxes + torch.cat([-half, half], dim=-1)


class _Pair(NamedTuple):
    """Two boxes as corners and sizes, (..., 2) each."""

    first: Tensor
    last: Tensor
    wanted_first: Tensor
    wanted_last: Tensor
    size: Tensor
    wanted_size: Tensor

    @classmethod
    def of(cls, prediction: Tensor, target: Tensor) -> _Pair:
        prediction, target = matched(prediction, target)
        if prediction.shape[-1:] != (4,):
            raise UserError(f"boxes have four numbers, x1 y1 x2 y2, but these have shape {tuple(prediction.shape)}")
        (first, last), (wanted_first, wanted_last) = prediction.chunk(2, dim=-1), target.chunk(2, dim=-1)
        sizes = (last - first).clamp(min=0), (wanted_last - wanted_first).clamp(min=0)
        return cls(first, last, wanted_first, wanted_last, *sizes)

    def overlap(self) -> tuple[Tensor, Tensor]:
        """Return the intersection over union, and the union."""
        common = torch.minimum(self.last, self.wanted_last) - torch.maximum(self.first, self.wanted_first)
        intersection = _area(common.clamp(min=0))
        union = _area(self.size) + _area(self.wanted_size) - intersection
        return intersection / (union + EPSILON), union

    def hull(self) -> Tensor:
        """Return the size of the smallest box round both."""
        return torch.maximum(self.last, self.wanted_last) - torch.minimum(self.first, self.wanted_first)

    def distance(self) -> Tensor:
        """Return the squared distance of the centres over the squared diagonal of the hull."""
        between = (self.first - self.wanted_first + self.last - self.wanted_last) / 2
        return (between**2).sum(-1) / ((self.hull() ** 2).sum(-1) + EPSILON)


def _area(size: Tensor) -> Tensor:
    width, height = size.unbind(-1)
    return width * height


def _slope(size: Tensor) -> Tensor:
    width, height = size.unbind(-1)
    return torch.atan2(width, height + EPSILON)
