"""Losses whose prediction says how sure it is; with the contract of `weighted`."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.losses.weighting import matched, weighted


@weighted
def laplace_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return |x| exp(-s) + s of the difference x and the predicted logarithm s of its scale.

    Up to the constant ln 2 it is the negative log likelihood of a Laplace distribution (Kendall and Gal 2017,
    section 3, who write it for the Gaussian one; for depth MonoPair, Chen et al. 2020). The best s is ln |x|. The loss
    is below zero where the prediction is good and sure.

    Args:
        prediction: (..., 2 D), D values, then D logarithms of scales.
        target: (..., D).

    Returns:
        (..., D).

    Raises:
        UserError: the shapes do not fit.
    """
    if target.ndim == 0 or prediction.shape[-1:] != (2 * target.shape[-1],):
        shapes = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        raise UserError(f"the prediction must have twice as many values as the target, and a scale for each: {shapes}")
    values, log_scale = prediction.chunk(2, dim=-1)
    values, target = matched(values, target)
    return (values - target).abs() * torch.exp(-log_scale) + log_scale
