"""Losses of an angle: in two overlapping bins (Mousavian et al. 2017; CenterNet's 8 channels), or plain."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from lightning_centernet.losses.weighting import matched, weighted

RotationAverage: TypeAlias = Literal["labelled", "slots"]


def rotation_loss(
    prediction: Tensor, bins: Tensor, residuals: Tensor, mask: Tensor, *, average: RotationAverage = "labelled"
) -> Tensor:
    """Add the cross entropies of the two bins and the smooth L1 losses of sine and cosine inside them.

    Args:
        prediction: (B, M, 8): for each bin two logits (outside, inside), then sine and cosine of the residual.
        bins: (B, M, 2), 1 where the angle lies in the bin.
        residuals: (B, M, 2) radians from the bin's centre.
        mask: (B, M), 1 where the angle is labelled.
        average: cross entropy over `labelled` objects (CenterFusion), or over all padded `slots`, an unlabelled one
            costing log 2 per bin (CenterNet, CenterTrack; a batch without a label then costs 2 log 2).

    Returns:
        A float32 scalar.
    """
    values = torch.unflatten(prediction.float(), -1, (2, 4))
    inside, labelled = bins.float(), mask.float().unsqueeze(-1)
    outside_logit, inside_logit, sine, cosine = values.unbind(-1)
    margin = (inside_logit - outside_logit) * labelled
    cross_entropy = F.softplus((1 - 2 * inside) * margin)
    counted = labelled.expand_as(inside) if average == "labelled" else torch.ones_like(inside)
    angle = residuals.float()
    distance = _smooth_l1(sine, torch.sin(angle)) + _smooth_l1(cosine, torch.cos(angle))
    return (_mean(cross_entropy, counted) + _mean(distance, inside)).sum()


@weighted
def sin_cos_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Add the L1 losses of the sine and the cosine of an angle (CenterPoint, Yin et al. 2021).

    Args:
        prediction: (..., 2), sine and cosine.
        target: (...), radians.

    Returns:
        (...).
    """
    prediction, wanted = matched(prediction, torch.stack([target.sin(), target.cos()], dim=-1))
    return (prediction - wanted).abs().sum(-1)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum((0, 1)) / weight.sum((0, 1)).clamp(min=1)


def _smooth_l1(prediction: Tensor, target: Tensor) -> Tensor:
    return F.smooth_l1_loss(prediction, target, reduction="none")
