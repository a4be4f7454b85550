"""Losses of probabilities, from raw scores; all with the contract of `weighted`."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from lightning_centernet.losses.weighting import matched, weighted


@weighted
def binary_cross_entropy_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return -t ln p - (1 - t) ln(1 - p) of the probability p whose logit is predicted, and targets in [0, 1]."""
    return F.binary_cross_entropy_with_logits(*matched(prediction, target), reduction="none")


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Return `binary_cross_entropy_loss` without reducing it."""
    return binary_cross_entropy_loss(prediction, target, reduction="none")


@weighted
def quality_focal_loss(prediction: Tensor, target: Tensor, *, beta: float = 2.0) -> Tensor:
    """Return the cross entropy times |t - p|^beta (Li et al. 2020, Generalized Focal Loss, eq. 2).

    Args:
        prediction: logits of the probabilities p, of any shape.
        target: soft targets in [0, 1] of the same shape, such as the IoU of a detection or a heat map.
        beta: how little well predicted elements count; at least 1, for the gradient to be finite.
    """
    prediction, target = matched(prediction, target)
    distance = (target - torch.sigmoid(prediction)).abs()
    return distance**beta * F.binary_cross_entropy_with_logits(prediction, target, reduction="none")
