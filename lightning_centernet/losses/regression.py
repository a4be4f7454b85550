"""Masked regression losses and the ways of averaging them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

Elementwise: TypeAlias = Literal["l1", "smooth_l1", "normalized_l1", "mse"]
Average: TypeAlias = Literal["elements", "objects", "slots"]

EPSILON = 1e-4  # added to every count by the originals


def regression_loss(
    prediction: Tensor, target: Tensor, mask: Tensor, *, loss: Elementwise = "l1", average: Average = "elements"
) -> Tensor:
    """Average an elementwise loss over what is labelled.

    Args:
        prediction: (B, M, D) values at the objects, or (B, D, h, w) on the whole grid.
        target: of the same shape.
        mask: of the same shape, or without its axis D where an object is labelled wholly or not at all.
        loss: `l1`; `smooth_l1` with beta 1; `normalized_l1`, |prediction / target - 1|; `mse`.
        average: divide by the labelled `elements` (CenterTrack, CenterFusion, CenterNet's L1), by the labelled
            `objects` (CenterNet's smooth L1), or by all padded `slots` (CenterNet's 3D detection).

    Returns:
        A float32 scalar; zero when nothing is labelled.
    """
    prediction, target, weight = prediction.float(), target.float(), mask.float()
    if weight.ndim < prediction.ndim:
        weight = weight.unsqueeze(-1 if prediction.ndim == 3 else 1)
    weight = weight.expand_as(prediction)
    total = _elementwise(prediction, target, weight, loss).sum()
    if average == "slots":
        return total / max(prediction.numel(), 1)
    count = weight.amax(-1 if prediction.ndim == 3 else 1).sum() if average == "objects" else weight.sum()
    return total / (count + EPSILON)


def _elementwise(prediction: Tensor, target: Tensor, weight: Tensor, loss: Elementwise) -> Tensor:
    if loss == "normalized_l1":
        prediction, target = prediction / (target + EPSILON), weight.new_ones(())
    prediction, target = prediction * weight, target * weight
    if loss == "smooth_l1":
        return F.smooth_l1_loss(prediction, target, reduction="none")
    if loss == "mse":
        return F.mse_loss(prediction, target, reduction="none")
    return F.l1_loss(prediction, target, reduction="none")
