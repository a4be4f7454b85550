"""The losses of all heads in two compiled passes, one forward and one backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from lightning_centernet.losses.kernel import CompiledOnce

# Elements of an output. On a processor the passes get memory in small pages, which takes longer from here on than all
# operators that they save; alone, the focal loss of a large map gets large pages.
TOO_LARGE = 2**23


class TwoPasses:
    """Compile a function of outputs, and compute its gradients as soon as they are asked for, once.

    Small outputs, and what a compiled pass cannot do (be differentiated twice, be part of another compilation), are
    left to the function as it is.

    Args:
        function: makes a vector of losses from a list of outputs and further arguments.
        name: for the announcement.
    """

    def __init__(self, function: Callable[..., Tensor], name: str) -> None:
        self.function = function
        self.compiled = CompiledOnce(function, name)

    def __call__(self, outputs: Sequence[Tensor], *arguments: Any) -> Tensor:
        """Compute the losses."""
        if self._pays(outputs):
            return cast("Tensor", _Passes.apply(self, arguments, *outputs))
        return self.function(outputs, *arguments)

    def _pays(self, outputs: Sequence[Tensor]) -> bool:
        wanted = torch.is_grad_enabled() and any(output.requires_grad for output in outputs)
        if not wanted or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return False
        too_large = outputs[0].device.type == "cpu" and max(output.numel() for output in outputs) >= TOO_LARGE
        return not too_large and self.compiled.pays(outputs)


class _Passes(torch.autograd.Function):
    """Holds a graph of its own from the forward to the backward pass."""

    @staticmethod
    def forward(ctx: Any, passes: TwoPasses, arguments: tuple[Any, ...], *outputs: Tensor) -> Tensor:
        ctx.passes, ctx.arguments = passes, arguments
        ctx.save_for_backward(*outputs)
        ctx.graph = _graph(passes.compiled, outputs, arguments)
        return cast("Tensor", ctx.graph[1].detach())

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        outputs: tuple[Tensor, ...] = ctx.saved_tensors
        passes, graph, ctx.graph = ctx.passes, ctx.graph, None
        if torch.is_grad_enabled():  # the gradients will be differentiated themselves
            losses = passes.function(outputs, *ctx.arguments)
            return None, None, *_gradients(outputs, losses, upstream, create_graph=True)
        try:  # anew over a graph that was kept
            inputs, losses = graph or _graph(passes.compiled, outputs, ctx.arguments)
            return None, None, *_gradients(inputs, losses, upstream)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # the backward pass is compiled when it is first run
            inputs, losses = _graph(passes.function, outputs, ctx.arguments)
            gradients = _gradients(inputs, losses, upstream)
            passes.compiled.give_up(error)
            return None, None, *gradients


def _graph(
    function: Callable[..., Tensor], outputs: Sequence[Tensor], arguments: tuple[Any, ...]
) -> tuple[Sequence[Tensor], Tensor]:
    inputs = [output.detach().requires_grad_(output.requires_grad) for output in outputs]
    with torch.enable_grad(), torch.autocast(outputs[0].device.type, enabled=False):
        return inputs, function(inputs, *arguments)


def _gradients(
    inputs: Sequence[Tensor], losses: Tensor, upstream: Sequence[Tensor], create_graph: bool = False
) -> list[Tensor | None]:
    wanted = [each for each in inputs if each.requires_grad]
    gradients = iter(torch.autograd.grad(losses, wanted, upstream, create_graph=create_graph, allow_unused=True))
    return [next(gradients) if each.requires_grad else None for each in inputs]
