"""Penalty-reduced focal losses for heat maps (CornerNet, eq. 1; CenterNet, eq. 1; CenterTrack for listed objects).

With z the logit turned so that a larger one is a larger mistake, a cell costs sigmoid(z)^alpha softplus(z): an object's
cell has z = -x, any other one z = x and the weight (1 - heatmap)^beta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from lightning_centernet.losses.kernel import CompiledOnce, block_size, blocks, flatten
from lightning_centernet.losses.precision import full_precision
from lightning_centernet.losses.terms import Ratio

# The originals clamp float32 probabilities to [1e-4, 1 - 1e-4]; in float32 the upper end is 0.99989998, whose logit is:
LOWEST_LOGIT, HIGHEST_LOGIT = -9.2102404, 9.2100744


class Listed(NamedTuple):
    """Objects: their cells (B, N) int64 as y * w + x, their channels (B, N) int64, and 1 where there is one (B, N)."""

    cells: Tensor
    channels: Tensor
    mask: Tensor


@dataclass(frozen=True)
class FocalLoss:
    """The choices that the loss leaves.

    Attributes:
        alpha: exponent of the mistake; 2 in all of the originals.
        beta: exponent that spares the cells near an object; 4 in all of the originals.
        clamp: let no gradient flow where a probability leaves [1e-4, 1 - 1e-4], as in the originals. Without it the
            values are the same, but confident mistakes are still corrected.
    """

    alpha: float = 2.0
    beta: float = 4.0
    clamp: bool = False

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
        """
        total, _ = _total(logits, heatmap, listed, self)
        return Ratio(total, full_precision(listed.mask).sum(), at_least=1.0)

    def dense(self, logits: Tensor, heatmap: Tensor) -> Ratio:
        """Take the cells equal to 1 as positives (CenterNet, TensorFlow CenterNet).

        Returns:
            The sum, and the number of positive cells in the batch.
        """
        total, positives = _total(logits, heatmap, None, self)
        return Ratio(total, positives, at_least=1.0)


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


def _total(logits: Tensor, heatmap: Tensor, listed: Listed | None, loss: FocalLoss) -> tuple[Tensor, Tensor]:
    fused = logits.dtype in (torch.float32, torch.bfloat16, torch.float16)
    # An outer torch.compile fuses the plain form itself, and torch.func differentiates plain forms only.
    if not fused or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return _plain(logits, heatmap, listed, loss)
    return cast("tuple[Tensor, Tensor]", _Fused.apply(logits, heatmap, listed, loss))


def _plain(logits: Tensor, heatmap: Tensor, listed: Listed | None, loss: FocalLoss) -> tuple[Tensor, Tensor]:
    logits = full_precision(logits)
    limited = _limit(logits) if loss.clamp else logits + (_limit(logits) - logits).detach()
    gains, _, positives = _of_map(limited, heatmap, loss, dense=listed is None)
    total = -gains.sum()
    if listed is not None:
        total = total - _of_objects(limited[_cells(listed, logits)], listed, loss)[0].sum()
    return total, _number(positives, total)


class _Given(NamedTuple):
    logits: Tensor
    heatmap: Tensor
    listed: Listed | None
    loss: FocalLoss


class _Fused(torch.autograd.Function):
    """The sum with its gradient in one pass over the map; nothing else of the map's size is ever made."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, heatmap: Tensor, listed: Listed | None, loss: FocalLoss
    ) -> tuple[Tensor, Tensor]:
        ctx.listed, ctx.loss = listed, loss
        ctx.save_for_backward(logits, heatmap)
        # In float16 the gradient of an easy cell is zero unless the loss scale comes first, so it waits for the scale.
        early = ctx.needs_input_grad[0] and logits.dtype != torch.float16
        ctx.gradient = torch.empty_like(logits) if early else None
        total, positives = _pass(_Given(logits, heatmap, listed, loss), ctx.gradient)
        ctx.mark_non_differentiable(positives)
        return total, positives

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        scale, (logits, heatmap) = upstream[0], ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient will be differentiated itself
            total, _ = _plain(logits, heatmap, ctx.listed, ctx.loss)
            return torch.autograd.grad(total, logits, scale, create_graph=True)[0], None, None, None
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is not None:
            return gradient.mul_(scale), None, None, None
        gradient = torch.empty_like(logits)  # in float16, or once more over a graph that was kept
        _pass(_Given(logits, heatmap, ctx.listed, ctx.loss), gradient, scale)
        return gradient, None, None, None


def _pass(given: _Given, gradient: Tensor | None = None, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the sum and the number of positive cells; write the gradient, times the scale, where there is room."""
    logits, heatmap, listed, loss = given
    maps = flatten(logits, heatmap) if gradient is None else flatten(logits, heatmap, gradient)
    gain, positives = _pass_over_map(maps, scale, loss, listed is None)
    if listed is not None:
        cells = _cells(listed, logits)
        at_cells = full_precision(logits[cells])
        gains, slopes = _of_objects(_limit(at_cells), listed, loss)
        gain = gain + gains.sum()
        if gradient is not None:
            slopes = _finish(slopes, at_cells, scale, loss)
            gradient.index_put_(cells, slopes.to(gradient.dtype), accumulate=True)
    return -gain, _number(positives, gain)


def _over_map(
    maps: Sequence[Tensor], scale: Tensor | None, loss: FocalLoss, dense: bool
) -> tuple[Tensor, Tensor | None]:
    """Do one pass over logits, heat map and gradient: a single one where it is compiled, otherwise block by block."""
    if torch.compiler.is_compiling() or maps[0].numel() <= block_size(maps[0]):
        return _part(maps, scale, loss, dense)
    parts = [_part(part, scale, loss, dense) for part in blocks(maps)]
    counts = [positives for _, positives in parts if positives is not None]
    return torch.stack([gain for gain, _ in parts]).sum(), torch.stack(counts).sum() if counts else None


_pass_over_map = CompiledOnce(_over_map, "the focal loss")


def _part(maps: Sequence[Tensor], scale: Tensor | None, loss: FocalLoss, dense: bool) -> tuple[Tensor, Tensor | None]:
    logits = full_precision(maps[0])
    gains, slopes, positives = _of_map(_limit(logits), maps[1], loss, dense=dense)
    if len(maps) == 3:
        maps[2].copy_(_finish(slopes, logits, scale, loss))
    return gains.sum(), positives


def _finish(slopes: Tensor, logits: Tensor, scale: Tensor | None, loss: FocalLoss) -> Tensor:
    slopes = slopes * (_limit(logits) == logits) if loss.clamp else slopes
    return slopes if scale is None else slopes * scale


def _number(positives: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if positives is None else positives


def _of_map(limited: Tensor, heatmap: Tensor, loss: FocalLoss, *, dense: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return each cell's negative cost, the cost's derivative by the logit, and how many cells are 1 if that counts."""
    heatmap = full_precision(heatmap)
    weight = _power(1 - heatmap, loss.beta)
    if not dense:
        return *_focal(limited, weight, loss), None
    positive = heatmap == 1
    gains, slopes = _focal(torch.where(positive, -limited, limited), weight.masked_fill(positive, 1.0), loss)
    return gains, torch.where(positive, -slopes, slopes), positive.sum().to(heatmap.dtype)


def _of_objects(limited: Tensor, listed: Listed, loss: FocalLoss) -> tuple[Tensor, Tensor]:
    gains, slopes = _focal(-limited, full_precision(listed.mask), loss)
    return gains, -slopes


def _focal(mistake: Tensor, weight: Tensor, loss: FocalLoss) -> tuple[Tensor, Tensor]:
    """Return weight sigmoid(z)^alpha log sigmoid(-z), minus the cost, and the derivative of the cost by z."""
    wrong, right = torch.sigmoid(mistake), torch.sigmoid(-mistake)
    certainty = torch.log(right)  # softplus is slow; within the limits this is as exact
    factor = weight * _power(wrong, loss.alpha)
    return factor * certainty, factor * torch.sub(wrong, right * certainty, alpha=loss.alpha)


def _limit(logits: Tensor) -> Tensor:
    return logits.clamp(LOWEST_LOGIT, HIGHEST_LOGIT)


def _power(values: Tensor, exponent: float) -> Tensor:
    while exponent > 0 and exponent % 2 == 0:  # squares are fast
        values, exponent = values.square(), exponent / 2
    return values if exponent == 1 else values**exponent


def _cells(listed: Listed, logits: Tensor) -> tuple[Tensor, ...]:
    images = torch.arange(logits.shape[0], device=logits.device).unsqueeze(1)
    rows = torch.div(listed.cells, logits.shape[3], rounding_mode="floor")
    return images, listed.channels, rows, listed.cells - rows * logits.shape[3]
