"""The losses of all heads in two compiled passes, one forward and one backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from lightning_centernet.losses.kernel import CompiledOnce
from lightning_centernet.types import Tensors

# Elements of an output. On a processor the passes get memory in small pages, which takes longer from here on than all
# operators that they save; alone, the focal loss of a large map gets large pages.
TOO_LARGE = 2**23

Graph: TypeAlias = tuple[Sequence[Tensor], Tensor]
"""Inputs, and the losses that were computed from them."""


class TwoPasses:
    """Run a function of outputs and targets compiled, its backward pass too.

    Small outputs, and what a compiled pass cannot do (be differentiated twice or by targets, be part of another
    compilation), are left to the function as it is.

    Args:
        function: makes a vector of losses from a list of outputs, a dict of targets and further arguments, and from
            nothing else that has gradients.
        name: for the announcement.
    """

    def __init__(self, function: Callable[..., Tensor], name: str) -> None:
        self.function = function
        self.compiled = CompiledOnce(function, name)

    def __call__(self, outputs: Sequence[Tensor], targets: Tensors, *arguments: Any) -> Tensor:
        """Compute the losses."""
        if self._pays(outputs, targets):
            return cast("Tensor", _Passes.apply(self, list(targets), arguments, *outputs, *targets.values()))
        return self.function(outputs, targets, *arguments)

    def _pays(self, outputs: Sequence[Tensor], targets: Tensors) -> bool:
        wanted = torch.is_grad_enabled() and any(output.requires_grad for output in outputs)
        if not wanted or any(values.requires_grad for values in targets.values()):
            return False
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return False
        too_large = outputs[0].device.type == "cpu" and max(output.numel() for output in outputs) >= TOO_LARGE
        return not too_large and self.compiled.pays(outputs)


class _Passes(torch.autograd.Function):
    """Holds a graph of its own from the forward to the backward pass."""

    @staticmethod
    def forward(ctx: Any, passes: TwoPasses, keys: list[str], arguments: tuple[Any, ...], *tensors: Tensor) -> Tensor:
        ctx.passes, ctx.keys, ctx.arguments = passes, keys, arguments
        ctx.save_for_backward(*tensors)
        outputs, targets = _split(tensors, keys)
        ctx.graph = _graph(passes.compiled, _leaves(outputs), targets, arguments)
        return cast("Tensor", ctx.graph[1].detach())

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        outputs, targets = _split(ctx.saved_tensors, ctx.keys)
        passes, graph, ctx.graph = ctx.passes, ctx.graph, None
        anew = partial(_graph, targets=targets, arguments=ctx.arguments)
        if torch.is_grad_enabled():  # the gradients will be differentiated themselves
            gradients = _gradients(anew(passes.function, outputs), upstream, create_graph=True)
        else:
            try:  # a graph that was kept has been used up
                gradients = _gradients(graph or anew(passes.compiled, _leaves(outputs)), upstream)
            except (torch.OutOfMemoryError, MemoryError):
                raise
            except Exception as error:  # the backward pass is compiled when it is first run
                gradients = _gradients(anew(passes.function, _leaves(outputs)), upstream)
                passes.compiled.give_up(error)
        return None, None, None, *gradients, *(None for _ in targets)


def _split(tensors: Sequence[Tensor], keys: Sequence[str]) -> tuple[Sequence[Tensor], Tensors]:
    outputs = tensors[: len(tensors) - len(keys)]
    return outputs, dict(zip(keys, tensors[len(outputs) :], strict=True))


def _leaves(outputs: Sequence[Tensor]) -> Sequence[Tensor]:
    return [output.detach().requires_grad_(output.requires_grad) for output in outputs]


def _graph(function: Callable[..., Tensor], inputs: Sequence[Tensor], targets: Tensors, arguments: Any) -> Graph:
    with torch.enable_grad(), torch.autocast(inputs[0].device.type, enabled=False):
        return inputs, function(inputs, targets, *arguments)


def _gradients(graph: Graph, upstream: Sequence[Tensor], create_graph: bool = False) -> list[Tensor | None]:
    inputs, losses = graph
    wanted = [each for each in inputs if each.requires_grad]
    gradients = iter(torch.autograd.grad(losses, wanted, upstream, create_graph=create_graph, allow_unused=True))
    return [next(gradients) if each.requires_grad else None for each in inputs]
