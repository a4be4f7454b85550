"""Masked regression losses and the ways of averaging them."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_centernet.losses.named import ELEMENTWISE, Elementwise
from lightning_centernet.losses.options import require_choice
from lightning_centernet.losses.precision import full_precision, precise_sum
from lightning_centernet.losses.terms import Average, Ratio, Term
from lightning_centernet.losses.terms import average as mean

EPSILON = 1e-4  # added to every count by the originals
_READY = {name: Elementwise(name) for name in ELEMENTWISE}  # what checks options cannot be part of a compilation


def regression_loss(
    prediction: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    loss: str | Elementwise = "l1",
    average: Average = "elements",
) -> Tensor:
    """Average `regression_terms`; zero when nothing is labelled."""
    return mean([regression_terms(prediction, target, mask, loss=loss, average=average)])[0]


def regression_terms(
    prediction: Tensor, target: Tensor, mask: Tensor, *, loss: str | Elementwise = "l1", average: Average = "elements"
) -> list[Term]:
    """Compare what is labelled by an elementwise loss.

    Args:
        prediction: (B, M, D) values at the objects, or (B, D, h, w) on the whole grid.
        target: of the same shape.
        mask: of the same shape, or without its axis D where an object is labelled wholly or not at all.
        loss: one of `Elementwise`, or its name.
        average: divide by the labelled `elements` (CenterTrack, CenterFusion, CenterNet's L1), by the labelled
            `objects` (CenterNet's smooth L1), or by all padded `slots` (CenterNet's 3D detection).

    Raises:
        UserError: the loss or the average is unknown.
    """
    require_choice("average", average, Average)
    if mask.ndim < prediction.ndim:
        mask = mask.unsqueeze(-1 if prediction.ndim == 3 else 1)
    prediction, target, weight = (_rows(values) for values in (prediction, target, mask))
    loss = loss if isinstance(loss, Elementwise) else _READY.get(loss) or Elementwise(loss)
    epsilon = 0.0 if average == "slots" else EPSILON
    return [Term(loss, prediction, target, weight, average, epsilon=epsilon, at_least=1.0 if average == "slots" else 0)]


def object_average(losses: Tensor, mask: Tensor, *, all_slots: bool = False) -> Ratio:
    """Average the losses of objects, (B, M), over the labelled ones, or over all padded slots.

    Args:
        losses: one for each object.
        mask: (B, M), or (B, M, D), where an object with any label counts.
        all_slots: divide by the number of slots.
    """
    weight = full_precision(mask if mask.ndim == losses.ndim else mask.amax(-1))
    total = precise_sum(losses * weight)
    if all_slots:
        return Ratio(total, torch.ones_like(weight).sum(), at_least=1.0)
    return Ratio(total, precise_sum(weight), epsilon=EPSILON)


def _rows(values: Tensor) -> Tensor:
    values = full_precision(values)
    return values if values.ndim == 3 else values.flatten(2).mT
