"""The sum of any loss over a whole map, block by block, for losses that have no pass of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from lightning_centernet.losses import kernel
from lightning_centernet.losses.focal_pass import Listed, Maps, index_objects, multiply
from lightning_centernet.losses.kernel import as_lines, blocks
from lightning_centernet.losses.memory import empty_like
from lightning_centernet.losses.precision import full_precision

Summed: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def sum_over_map(function: Summed, logits: Tensor, heatmap: Tensor, listed: Listed | None = None) -> Tensor:
    """Add up a loss of maps (B, C, h, w); of large ones nothing is kept but the gradient by the logits.

    Args:
        function: adds up the loss of logits and targets of one shape, times weights; holds nothing that has gradients.
        logits: raw scores.
        heatmap: the targets.
        listed: objects, the target of which is 1. With them, cells that are 1 do not count otherwise.

    Raises:
        UserError: logits and heat map differ in shape.
    """
    maps = Maps(logits, heatmap, listed)
    maps.require_one_shape()
    targets = (heatmap, *(listed or ()))
    if kernel.traced() or logits.numel() <= kernel.BLOCK or any(each.requires_grad for each in targets):
        return _whole(function, maps)
    return cast("Tensor", _InBlocks.apply(function, logits, *targets))


class _InBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Summed, logits: Tensor, heatmap: Tensor, *listed: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(logits, heatmap, *listed)
        # In float16 the gradient of an easy cell is zero unless the loss scale comes first, so it waits for the scale.
        early = ctx.needs_input_grad[1] and logits.dtype != torch.float16
        ctx.gradient = empty_like(logits) if early else None
        return _in_blocks(function, Maps.of(logits, heatmap, *listed), ctx.gradient)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        function, maps = ctx.function, Maps.of(*ctx.saved_tensors)
        others = [None] * (len(ctx.saved_tensors) - 1)
        if torch.is_grad_enabled():  # the gradient will be differentiated itself
            total = _whole(function, maps)
            return None, torch.autograd.grad(total, maps.logits, upstream[0], create_graph=True)[0], *others
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:  # in float16, or once more over a graph that was kept
            gradient = empty_like(maps.logits)
            _in_blocks(function, maps, gradient, upstream[0])
        else:
            multiply(gradient, upstream[0])
        return None, gradient, *others


def _in_blocks(function: Summed, maps: Maps, gradient: Tensor | None, scale: Tensor | None = None) -> Tensor:
    """Return the sum; write the gradient by the logits, times the scale, where there is room for it."""
    logits, heatmap, listed = maps
    sums = [
        _run(_of_cells, values, (function, target, listed), into, scale)
        for values, target, *into in _blocks(logits, heatmap, *([] if gradient is None else [gradient]))
    ]
    if listed is not None:
        cells = index_objects(listed, logits.shape[3])
        objects = logits[cells]
        slopes = [] if gradient is None else [torch.empty_like(objects)]
        sums.append(_run(_of_objects, objects, (function, listed), slopes, scale))
        if gradient is not None:
            gradient.index_put_(cells, slopes[0], accumulate=True)
    return torch.stack(sums).sum()


def _run(
    function: Callable[..., Tensor],
    logits: Tensor,
    arguments: tuple[Any, ...],
    gradients: Sequence[Tensor],
    scale: Tensor | None,
) -> Tensor:
    if not gradients:
        return function(logits, *arguments)
    leaf = logits.detach().requires_grad_()
    with torch.enable_grad():
        total = function(leaf, *arguments)
    gradients[0].copy_(torch.autograd.grad(total, leaf, scale)[0])
    return total.detach()


def _blocks(*maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    lines, layout = as_lines(maps)
    return blocks([line.view(-1) for line in lines] if layout else lines)


def _whole(function: Summed, maps: Maps) -> Tensor:
    logits, heatmap, listed = maps
    if listed is None:
        return _of_cells(logits, function, heatmap, None)
    if torch.compiler.is_compiling() and kernel.joint:
        logits, objects = _ReadTwice.apply(logits, listed)
    else:
        objects = logits[index_objects(listed, logits.shape[3])]
    return _of_cells(logits, function, heatmap, listed) + _of_objects(objects, function, listed)


class _ReadTwice(torch.autograd.Function):
    """The map and its values at objects, for a compiler, which would make a second map for the gradient otherwise."""

    @staticmethod
    def forward(logits: Tensor, listed: Listed) -> tuple[Tensor, Tensor]:
        return logits.clone(), logits[index_objects(listed, logits.shape[3])]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        logits, ctx.listed = inputs
        ctx.last = logits.is_contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        by_map, by_objects = upstream
        if ctx.last:
            by_map = by_map.contiguous(memory_format=torch.channels_last)
        return by_map.index_put(index_objects(ctx.listed, by_map.shape[3]), by_objects, accumulate=True), None


def _of_cells(logits: Tensor, function: Summed, heatmap: Tensor, listed: Listed | None) -> Tensor:
    return function(logits, heatmap, None if listed is None else heatmap != 1)


def _of_objects(logits: Tensor, function: Summed, listed: Listed) -> Tensor:
    return function(logits, torch.ones_like(logits), full_precision(listed.mask))
