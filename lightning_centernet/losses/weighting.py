"""The contract of the losses: weights, the ways of averaging, and what is to be averaged over."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from inspect import Signature, signature
from typing import Concatenate, Literal, ParamSpec, Protocol, TypeAlias

import torch
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.losses.options import require_choice
from lightning_centernet.losses.precision import full_precision, precise_sum

Reduction: TypeAlias = Literal["none", "mean", "sum"]
Options = ParamSpec("Options")

SMALLEST_FACTOR = torch.finfo(torch.float32).eps  # in place of an `avg_factor` of 0: nothing is labelled


class Loss(Protocol[Options]):
    """A function of a prediction and a target with the contract that `weighted` gives."""

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction: Reduction = "mean",
        *args: Options.args,
        **options: Options.kwargs,
    ) -> Tensor:
        """Compute the loss, weigh it and reduce it."""


def weighted(function: Callable[Concatenate[Tensor, Tensor, Options], Tensor]) -> Loss[Options]:
    """Let a function that compares each element take weights, and reduce what it returns as `reduce_loss` does.

    The function gets the prediction in float32, or in float64 where it is that, and the target in the same type unless
    it holds whole numbers. Its own options stay as they are.

    Args:
        function: turns a prediction and a target into the loss of each element, or of each box, joint or object.

    Returns:
        The function, which takes `weight`, `avg_factor` and `reduction` too.

    Example:
        >>> @weighted
        ... def log_cosh_loss(prediction: Tensor, target: Tensor, *, scale: float = 1.0) -> Tensor:
        ...     return torch.log(torch.cosh((prediction - target) / scale))
        >>> log_cosh_loss(torch.zeros(2, 3), torch.ones(2, 3), reduction="sum", scale=2.0)
        tensor(0.7207)
    """

    @wraps(function)
    def loss(
        prediction: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction: Reduction = "mean",
        *args: Options.args,
        **options: Options.kwargs,
    ) -> Tensor:
        prediction = full_precision(prediction)
        target = target.to(prediction.dtype) if target.is_floating_point() else target
        return reduce_loss(function(prediction, target, *args, **options), weight, avg_factor, reduction)

    own, common = signature(function).parameters.values(), signature(reduce_loss).parameters.values()
    parameters = [*list(own)[:2], *list(common)[1:], *list(own)[2:]]
    loss.__dict__["__signature__"] = Signature(parameters, return_annotation="Tensor")  # what `help` shows
    return loss


def reduce_loss(
    loss: Tensor,
    weight: Tensor | None = None,
    avg_factor: float | Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Weigh the elements of a loss and reduce them (the algebra of mmdetection's losses).

    Args:
        loss: of any shape.
        weight: factors of the elements, of a shape that broadcasts to that of the loss.
        avg_factor: what to divide the sum by, instead of the number of elements; a number or a tensor of one element.
            0, or a tensor below it, which nobody looks into, counts as 1.2e-7.
        reduction: `none` returns the weighted elements; `mean` their sum over `avg_factor` or, without one, over the
            number of elements, whatever their weights; `sum` their sum.

    Returns:
        A scalar, or the elements. No elements make a zero that is attached to the graph.

    Raises:
        UserError: the reduction is unknown, or is `sum` although there is an `avg_factor`, this is no number from 0 on,
            or the shapes do not fit.
    """
    require_choice("reduction", reduction, Reduction)
    if avg_factor is not None and reduction == "sum":
        raise UserError("avg_factor has no meaning for reduction='sum': leave it out, or take reduction='mean'")
    if weight is not None:
        loss = loss * _fitting(weight, loss)
    if reduction == "none":
        return loss
    total = precise_sum(loss)
    if reduction == "sum":
        return total
    return total / (max(loss.numel(), 1) if avg_factor is None else _divisor(avg_factor, total))


def matched(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return a prediction and its target, of one shape and one type.

    Raises:
        UserError: they differ in shape; torch would stretch one of them.
    """
    if prediction.shape != target.shape:
        raise UserError(f"the prediction has shape {tuple(prediction.shape)}, its target {tuple(target.shape)}")
    return prediction, target.to(prediction.dtype)


def _fitting(weight: Tensor, loss: Tensor) -> Tensor:
    if not isinstance(weight, Tensor):
        raise UserError(f"weight={weight!r} must be a tensor; a factor of the whole loss is `loss_weight`")
    missing = loss.ndim - weight.ndim
    if missing < 0 or any(side not in (1, full) for side, full in zip(weight.shape, loss.shape[missing:], strict=True)):
        raise UserError(
            f"the weight has shape {tuple(weight.shape)}, which does not broadcast to that of the loss, "
            f"{tuple(loss.shape)}"
        )
    return weight.to(loss.dtype)


def _divisor(avg_factor: float | Tensor, total: Tensor) -> float | Tensor:
    if not isinstance(avg_factor, Tensor):
        if isinstance(avg_factor, str) or not 0 <= avg_factor < math.inf:
            raise UserError(f"avg_factor={avg_factor!r} must be a number of at least 0")
        return max(avg_factor, SMALLEST_FACTOR)
    if avg_factor.numel() != 1:
        raise UserError(f"avg_factor must be one number, not a tensor of the shape {tuple(avg_factor.shape)}")
    return avg_factor.to(total.dtype).clamp(min=SMALLEST_FACTOR).reshape(())
