"""Losses of probabilities, from raw scores; all with the contract of `weighted`."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.losses.focal_pass import Listed
from lightning_centernet.losses.in_blocks import sum_over_map
from lightning_centernet.losses.precision import full_precision
from lightning_centernet.losses.terms import Ratio
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

    Raises:
        UserError: `beta` is less, or the shapes differ.
    """
    if not 1 <= beta < math.inf:
        raise UserError(f"quality_focal_loss: beta={beta} must be a number of at least 1")
    prediction, target = matched(prediction, target)
    distance = (target - torch.sigmoid(prediction)).abs()
    return distance**beta * F.binary_cross_entropy_with_logits(prediction, target, reduction="none")


def quality_focal_ratio(
    logits: Tensor, heatmap: Tensor, index: Tensor, channel: Tensor, mask: Tensor, *, beta: float = 2.0
) -> Ratio:
    """Compare probabilities with a heat map by the quality focal loss.

    Every cell learns the value of the map, and a listed object's cell 1. A cell that is 1 without an object, as in an
    ignored region, does not count.

    Args:
        logits: (B, C, h, w) raw scores.
        heatmap: (B, C, h, w) target in [0, 1].
        index: (B, N) int64, the objects' cells y * w + x.
        channel: (B, N) int64, their classes.
        mask: (B, N), 1 where the slot holds an object.
        beta: see `quality_focal_loss`.

    Returns:
        The sum, and the number of objects in the batch.
    """
    total = sum_over_map(
        partial(quality_focal_loss, reduction="sum", beta=beta), logits, heatmap, Listed(index, channel, mask)
    )
    return Ratio(total, full_precision(mask).sum(), at_least=1.0)
