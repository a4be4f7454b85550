"""Losses that compare number with number; all with the contract of `weighted`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.losses.weighting import matched, weighted

_STEEPEST = 80  # e to that is still a float32


@weighted
def l1_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return |x| of the difference x."""
    return F.l1_loss(*matched(prediction, target), reduction="none")


@weighted
def smooth_l1_loss(prediction: Tensor, target: Tensor, *, beta: float = 1.0) -> Tensor:
    """Return x^2 / (2 beta) of a difference x below beta, |x| - beta / 2 above (Girshick 2015, eq. 3, with beta 1)."""
    return F.smooth_l1_loss(*matched(prediction, target), reduction="none", beta=beta)


@weighted
def l2_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return x^2 of the difference x."""
    return F.mse_loss(*matched(prediction, target), reduction="none")


@weighted
def huber_loss(prediction: Tensor, target: Tensor, *, delta: float = 1.0) -> Tensor:
    """Return x^2 / 2 of a difference x below delta, delta (|x| - delta / 2) above (Huber 1964)."""
    return F.huber_loss(*matched(prediction, target), reduction="none", delta=delta)


@weighted
def balanced_l1_loss(
    prediction: Tensor, target: Tensor, *, alpha: float = 0.5, gamma: float = 1.5, beta: float = 1.0
) -> Tensor:
    """Give small differences more of the gradient than smooth L1 does (Libra R-CNN, Pang et al. 2019, section 3.3).

    The slope is alpha ln(b |x| / beta + 1) up to |x| = beta, and gamma beyond, where alpha ln(b + 1) = gamma.

    Args:
        prediction: of any shape.
        target: of the same shape.
        alpha: the smaller, the steeper for small differences.
        gamma: the slope of large differences.
        beta: where these begin; 1 in the paper.

    Raises:
        UserError: alpha is so small beside gamma that the slope has no number, or the shapes differ.
    """
    prediction, target = matched(prediction, target)
    if not (alpha > 0 and gamma / alpha <= _STEEPEST):
        raise UserError(
            f"balanced_l1: gamma={gamma} divided by alpha={alpha} must be at most {_STEEPEST}: choose a larger alpha"
        )
    x, b = (prediction - target).abs() / beta, math.expm1(gamma / alpha)
    bx = b * x.clamp(max=1)  # beyond, it could become infinite, and its gradient NaN
    small = alpha / b * (bx + 1) * torch.log1p(bx) - alpha * x
    return beta * torch.where(x < 1, small, gamma * x + gamma / b - alpha)


@weighted
def wing_loss(prediction: Tensor, target: Tensor, *, width: float = 10.0, curvature: float = 2.0) -> Tensor:
    """Return w ln(1 + |x| / c) of a difference x below the width w, |x| + constant above (Feng et al. 2018, eq. 5).

    Made for the positions of landmarks: medium differences get a larger gradient than from L1.
    """
    prediction, target = matched(prediction, target)
    x = (prediction - target).abs()
    return torch.where(x < width, width * torch.log1p(x / curvature), x - width + width * math.log1p(width / curvature))


@weighted
def normalized_l1_loss(prediction: Tensor, target: Tensor, *, epsilon: float = 1e-4) -> Tensor:
    """Return |prediction / (target + epsilon) - 1|, for targets above 0 (CenterNet's `norm_wh`)."""
    prediction, target = matched(prediction, target)
    return (prediction / (target + epsilon) - 1).abs()
