"""The sum of any loss over a whole map, block by block, for losses that have no pass of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from lightning_centernet.losses import kernel
from lightning_centernet.losses.focal_pass import Listed, Maps, index_objects
from lightning_centernet.losses.kernel import as_lines, blocks
from lightning_centernet.losses.memory import empty_like
from lightning_centernet.losses.precision import full_precision

Summed: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def sum_over_map(function: Summed, logits: Tensor, heatmap: Tensor, listed: Listed | None = None) -> Tensor:
    """Add up a loss of maps (B, C, h, w); of their size nothing is ever made but the gradient by the logits.

    Args:
        function: adds up the loss of logits and targets of one shape, times weights; called again for the gradient.
        logits: raw scores.
        heatmap: the targets.
        listed: objects, the target of which is 1. With them, cells that are 1 do not count otherwise.
    """
    maps = Maps(logits, heatmap, listed)
    plain = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active() or heatmap.requires_grad
    if plain or logits.numel() <= kernel.BLOCK:
        return _whole(function, maps)
    return cast("Tensor", _InBlocks.apply(function, *maps))


class _InBlocks(torch.autograd.Function):
    # In float16 the gradient of an easy cell is zero unless the loss scale comes first, so backward computes it.

    @staticmethod
    def forward(ctx: Any, function: Summed, logits: Tensor, heatmap: Tensor, listed: Listed | None) -> Tensor:
        ctx.function, ctx.listed = function, listed
        ctx.save_for_backward(logits, heatmap)
        sums = [_of_cells(values, function, target, listed) for values, target in _blocks(logits, heatmap)]
        if listed is not None:
            sums.append(_of_objects(logits[index_objects(listed, logits.shape[3])], function, listed))
        return torch.stack(sums).sum()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[None, Tensor, None, None]:
        function, listed, (logits, heatmap) = ctx.function, ctx.listed, ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient will be differentiated itself
            total = _whole(function, Maps(logits, heatmap, listed))
            return None, torch.autograd.grad(total, logits, upstream[0], create_graph=True)[0], None, None
        gradient = empty_like(logits)
        for values, target, into in _blocks(logits, heatmap, gradient):
            into.copy_(_slopes(values, upstream[0], _of_cells, function, target, listed))
        if listed is not None:
            cells = index_objects(listed, logits.shape[3])
            slopes = _slopes(logits[cells], upstream[0], _of_objects, function, listed)
            gradient.index_put_(cells, slopes, accumulate=True)
        return None, gradient, None, None


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


def _slopes(logits: Tensor, upstream: Tensor, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    leaf = logits.detach().requires_grad_()
    with torch.enable_grad():
        total = function(leaf, *arguments)
    return torch.autograd.grad(total, leaf, upstream)[0]
