"""Losses of an angle: in two overlapping bins (Mousavian et al. 2017; CenterNet's 8 channels), or plain."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from lightning_centernet.losses.classification import cross_entropy
from lightning_centernet.losses.named import Elementwise
from lightning_centernet.losses.options import require_choice
from lightning_centernet.losses.precision import full_precision
from lightning_centernet.losses.terms import Term
from lightning_centernet.losses.terms import average as mean
from lightning_centernet.losses.weighting import matched, weighted

SMOOTH_L1 = Elementwise("smooth_l1")

RotationAverage: TypeAlias = Literal["labelled", "slots"]


def rotation_loss(
    prediction: Tensor, bins: Tensor, residuals: Tensor, mask: Tensor, *, average: RotationAverage = "labelled"
) -> Tensor:
    """Add up `rotation_terms`, a scalar."""
    return mean([rotation_terms(prediction, bins, residuals, mask, average=average)])[0]


def rotation_terms(
    prediction: Tensor, bins: Tensor, residuals: Tensor, mask: Tensor, *, average: RotationAverage = "labelled"
) -> list[Term]:
    """Compare the two bins by cross entropies, and sine and cosine inside each by smooth L1 losses.

    Args:
        prediction: (B, M, 8): for each bin two logits (outside, inside), then sine and cosine of the residual.
        bins: (B, M, 2), 1 where the angle lies in the bin.
        residuals: (B, M, 2) radians from the bin's centre.
        mask: (B, M), 1 where the angle is labelled.
        average: cross entropy over `labelled` objects (CenterFusion), or over all padded `slots`, an unlabelled one
            costing log 2 per bin (CenterNet, CenterTrack; a batch without a label then costs 2 log 2).

    Raises:
        UserError: the average is unknown.
    """
    require_choice("average", average, RotationAverage)
    outside_logit, inside_logit, sine, cosine = torch.unflatten(full_precision(prediction), -1, (2, 4)).unbind(-1)
    inside, labelled = full_precision(bins), full_precision(mask).unsqueeze(-1)
    margin, weight = inside_logit - outside_logit, labelled
    if average == "slots":
        margin, weight = margin * labelled, torch.ones_like(labelled)
    angle = full_precision(residuals)
    return [
        Term(cross_entropy, margin, inside, weight, apart=True, at_least=1.0),
        Term(SMOOTH_L1, sine, angle.sin(), inside, apart=True, at_least=1.0),
        Term(SMOOTH_L1, cosine, angle.cos(), inside, apart=True, at_least=1.0),
    ]


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
