"""Penalty-reduced focal losses for heat maps (CornerNet, eq. 1; CenterNet, eq. 1; CenterTrack for listed objects)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from lightning_centernet.losses import kernel
from lightning_centernet.losses.focal_pass import (
    Choices,
    Listed,
    Maps,
    gradient_of,
    multiply,
    one_pass,
    plain_sum,
    sum_and_slopes,
)
from lightning_centernet.losses.memory import empty_like
from lightning_centernet.losses.precision import full_precision
from lightning_centernet.losses.terms import Ratio


@dataclass(frozen=True)
class FocalLoss(Choices):
    """The loss with its choices; it returns a sum and what to divide it by."""

    def sparse(self, logits: Tensor, heatmap: Tensor, listed: Listed) -> Ratio:
        """Take the listed objects as positives (CenterTrack, CenterFusion).

        Every listed object counts, also several in one cell. A cell that is 1 without an object, as in an ignored
        region, is neither positive nor negative.

        Args:
            logits: (B, C, h, w) raw scores, in any memory layout.
            heatmap: (B, C, h, w) target in [0, 1].
            listed: the objects.

        Returns:
            The sum, and the number of objects in the batch.

        Raises:
            UserError: logits and heat map differ in shape.
        """
        return Ratio(*_sum(Maps(logits, heatmap, listed), self), at_least=1.0)

    def dense(self, logits: Tensor, heatmap: Tensor) -> Ratio:
        """Take the cells equal to 1 as positives (CenterNet, TensorFlow CenterNet).

        Returns:
            The sum, and the number of positive cells in the batch.

        Raises:
            UserError: logits and heat map differ in shape.
        """
        return Ratio(*_sum(Maps(logits, heatmap, None), self), at_least=1.0)


def sparse_focal_loss(
    logits: Tensor,
    heatmap: Tensor,
    index: Tensor,
    channel: Tensor,
    mask: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 4.0,
    clamp: bool = False,
) -> Tensor:
    """Divide the sum of `FocalLoss.sparse` by the number of objects, if there are any."""
    return FocalLoss(alpha, beta, clamp).sparse(logits, heatmap, Listed(index, channel, mask)).mean()


def dense_focal_loss(
    logits: Tensor, heatmap: Tensor, *, alpha: float = 2.0, beta: float = 4.0, clamp: bool = False
) -> Tensor:
    """Divide the sum of `FocalLoss.dense` by the number of positive cells, if there are any."""
    return FocalLoss(alpha, beta, clamp).dense(logits, heatmap).mean()


def _sum(maps: Maps, choices: Choices) -> tuple[Tensor, Tensor]:
    maps.require_one_shape()
    fused = maps.logits.dtype in (torch.float32, torch.bfloat16, torch.float16)
    compiling, functional = torch.compiler.is_compiling(), torch._C._are_functorch_transforms_active()
    if not fused or (functional and not (compiling and kernel.joint)):  # torch.func needs a plain form
        return plain_sum(maps, choices)
    if compiling:
        return cast("tuple[Tensor, Tensor]", _Traced.apply(*maps, choices)[:2])
    return cast("tuple[Tensor, Tensor]", _Fused.apply(*maps, choices))


class _Fused(torch.autograd.Function):
    """The sum with its gradient in one pass over the map; nothing else of the map's size is ever made.

    The gradient of a large map is divided by the number of objects at once, as it nearly always will be.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, heatmap: Tensor, listed: Listed | None, choices: Choices
    ) -> tuple[Tensor, Tensor]:
        ctx.choices = choices
        # In float16 the gradient of an easy cell is zero unless the loss scale comes first, so it waits for the scale.
        early = ctx.needs_input_grad[0] and logits.dtype != torch.float16
        ctx.gradient = empty_like(logits) if early else None
        ctx.scale = (
            _share(listed) if early and listed is not None and logits.numel() >= kernel.WORTH_COMPILING else None
        )
        ctx.save_for_backward(logits, heatmap, *(listed or ()))
        total, count = one_pass(Maps(logits, heatmap, listed), choices, ctx.gradient, ctx.scale)
        ctx.mark_non_differentiable(count)
        return total, count

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        scale, maps = upstream[0], Maps.of(*ctx.saved_tensors)
        if torch.is_grad_enabled():  # the gradient will be differentiated itself
            total, _ = plain_sum(maps, ctx.choices)
            return torch.autograd.grad(total, maps.logits, scale, create_graph=True)[0], None, None, None
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:  # in float16, or once more over a graph that was kept
            gradient = empty_like(maps.logits)
            one_pass(maps, ctx.choices, gradient, scale)
        elif ctx.scale is None:
            multiply(gradient, scale)
        elif not _is_known(scale, ctx.scale):
            multiply(gradient, scale / ctx.scale)
        return gradient, None, None, None


def _share(listed: Listed) -> Tensor:
    return full_precision(listed.mask).sum().clamp(min=1).reciprocal()


def _is_known(scale: Tensor, guess: Tensor) -> bool:
    return scale.device.type == "cpu" and bool(scale.numpy() == guess.numpy())  # for a device one would have to wait


class _Traced(torch.autograd.Function):
    """The same for a compiler, which fuses it with the losses of other heads, and with the backward pass if it may."""

    @staticmethod
    def forward(logits: Tensor, heatmap: Tensor, listed: Listed | None, choices: Choices) -> tuple[Tensor, ...]:
        return sum_and_slopes(Maps(logits, heatmap, listed), choices)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        logits, _, ctx.listed, _ = inputs
        _, count, *slopes = output
        ctx.save_for_backward(logits, *slopes)
        ctx.mark_non_differentiable(count, *slopes)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        logits, *slopes = ctx.saved_tensors
        return gradient_of(logits, ctx.listed, slopes, upstream[0]), None, None, None
