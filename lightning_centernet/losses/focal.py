"""Penalty-reduced focal losses for heat maps (CornerNet, eq. 1; CenterNet, eq. 1; CenterTrack for listed objects)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

# The originals clamp float32 probabilities to [1e-4, 1 - 1e-4]; in float32 the upper end is 0.99989998, whose logit is:
LOWEST_LOGIT, HIGHEST_LOGIT = -9.2102404, 9.2100744


def sparse_focal_loss(
    logits: Tensor, heatmap: Tensor, index: Tensor, channel: Tensor, mask: Tensor, *, clamp: bool = False
) -> Tensor:
    """Compute the focal loss whose positives are the listed objects (CenterTrack, CenterFusion).

    Every listed object counts, also several in one cell. A cell that is 1 without an object, as in an ignored region,
    is neither positive nor negative.

    Args:
        logits: (B, C, h, w) raw scores.
        heatmap: (B, C, h, w) target in [0, 1].
        index: (B, N) int64, the objects' cells y * w + x.
        channel: (B, N) int64, the objects' classes or joints.
        mask: (B, N), 1 where the slot holds an object.
        clamp: let no gradient flow where a probability leaves [1e-4, 1 - 1e-4], as in the originals. Without it the
            values are the same, but confident mistakes are still corrected.

    Returns:
        The loss, divided by the number of objects in the batch if there are any.
    """
    negative = _negative_loss(_limit(logits, clamp), heatmap.float())
    index = channel * logits.shape[3] * logits.shape[2] + index
    listed = _limit(logits.flatten(1).gather(1, index), clamp)
    weight = mask.float()
    return (negative + (_positive_loss(listed) * weight).sum()) / weight.sum().clamp(min=1)


def dense_focal_loss(logits: Tensor, heatmap: Tensor, *, clamp: bool = False) -> Tensor:
    """Compute the focal loss whose positives are the cells equal to 1 (CenterNet, TensorFlow CenterNet).

    Args:
        logits: (B, C, h, w) raw scores.
        heatmap: (B, C, h, w) target in [0, 1].
        clamp: as in `sparse_focal_loss`.

    Returns:
        The loss, divided by the number of positive cells in the batch if there are any.
    """
    target, logits = heatmap.float(), _limit(logits, clamp)
    positive = (target == 1).float()
    return (_negative_loss(logits, target) + (_positive_loss(logits) * positive).sum()) / positive.sum().clamp(min=1)


def _limit(logits: Tensor, clamp: bool) -> Tensor:
    logits = logits.float()
    limited = logits.clamp(LOWEST_LOGIT, HIGHEST_LOGIT)
    return limited if clamp else logits + (limited - logits).detach()


def _negative_loss(logits: Tensor, target: Tensor) -> Tensor:
    return ((1 - target) ** 4 * torch.sigmoid(logits) ** 2 * F.softplus(logits)).sum()


def _positive_loss(logits: Tensor) -> Tensor:
    return torch.sigmoid(-logits) ** 2 * F.softplus(-logits)
