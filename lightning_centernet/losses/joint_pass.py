"""The losses of all heads and their gradients in one compiled pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from lightning_centernet.losses import kernel
from lightning_centernet.losses.kernel import CompiledOnce
from lightning_centernet.losses.precision import without_autocast
from lightning_centernet.types import Tensors

# Elements of an output. On a processor the pass gets memory in small pages, which takes longer from here on than all
# operators that it saves; alone, the focal loss of a large map gets large pages.
TOO_LARGE = 2**23

Gradients: TypeAlias = Sequence[Tensor | None]


@dataclass
class Expected:
    """Holds what the last backward pass on a processor was given, as the next one will most likely be given it too."""

    upstream: Tensor


class JointPass:
    """Run a function of outputs and targets compiled, with its derivatives.

    On a processor the pass forward computes the gradients too, from what it expects to be asked for; asked for others,
    it runs again. On a device, comparing would make the host wait, so the backward pass computes them.

    Small outputs, and what a compiled pass cannot do (be differentiated twice or by targets, be part of another
    compilation), are left to the function as it is; before torch 2.15 everything is.

    Args:
        function: makes a vector of losses from a list of outputs, a dict of targets and further arguments, and from
            nothing else that has gradients.
        name: for the announcement.
        suits: tells of the same arguments whether to compile for them.
    """

    def __init__(self, function: Callable[..., Tensor], name: str, suits: Callable[..., bool]) -> None:
        self.function = function
        self.suits = suits
        self.compiled = CompiledOnce(self._run, name)

    def __call__(self, outputs: Sequence[Tensor], targets: Tensors, expected: Expected, *arguments: Any) -> Tensor:
        """Compute the losses."""
        if self._pays(outputs, targets) and self.suits(outputs, targets, *arguments):
            tensors = (*outputs, *targets.values())
            return cast("Tensor", _Joint.apply(self, expected, list(targets), arguments, *tensors))
        return self.function(outputs, targets, *arguments)

    def _pays(self, outputs: Sequence[Tensor], targets: Tensors) -> bool:
        wanted = torch.is_grad_enabled() and any(output.requires_grad for output in outputs)
        if not wanted or not kernel.KNOWS_DERIVATIVES or any(values.requires_grad for values in targets.values()):
            return False
        # `vjp` cannot be used under hooks for saved tensors, as of a checkpoint.
        if kernel.traced() or torch._C._autograd._top_saved_tensors_default_hooks(False):
            return False
        too_large = outputs[0].device.type == "cpu" and max(output.numel() for output in outputs) >= TOO_LARGE
        return not too_large and self.compiled.pays(outputs)

    def _run(
        self,
        outputs: Sequence[Tensor],
        targets: Tensors,
        arguments: Sequence[Any],
        wanted: Sequence[bool],
        upstream: Tensor | None,
    ) -> tuple[Tensor, Gradients]:
        """Return the losses, and the gradients by the outputs that are wanted, if any are."""

        def losses_of(*learning: Tensor) -> Tensor:
            rest = iter(learning)
            inputs = [next(rest) if each else output for each, output in zip(wanted, outputs, strict=True)]
            return self.function(inputs, targets, *arguments)

        learning = [output for each, output in zip(wanted, outputs, strict=True) if each]
        if upstream is None:
            return losses_of(*learning), ()
        if torch.compiler.is_compiling():
            losses, gradients_by = torch.func.vjp(losses_of, *learning)[:2]
            return losses, gradients_by(upstream)
        leaves = [output.detach().requires_grad_() for output in learning]
        with torch.enable_grad():
            losses = losses_of(*leaves)
        return losses.detach(), torch.autograd.grad(losses, leaves, upstream, allow_unused=True)


class _Joint(torch.autograd.Function):
    """Keeps the gradients from the forward to the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, joint: JointPass, expected: Expected, keys: list[str], arguments: tuple[Any, ...], *tensors: Tensor
    ) -> Tensor:
        ctx.joint, ctx.expected, ctx.keys, ctx.arguments = joint, expected, keys, arguments
        ctx.save_for_backward(*tensors)
        ctx.upstream = _foreseen(expected, tensors[0].device)
        losses, ctx.gradients = _run_pass(ctx, tensors, ctx.upstream)
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        tensors, gradients = ctx.saved_tensors, ctx.gradients
        ctx.gradients = ()  # whoever gets them may change them
        if torch.is_grad_enabled():  # the gradients will be differentiated themselves
            gradients = _differentiable(ctx, tensors, upstream[0])
        elif not gradients or not _equal(ctx.upstream, upstream[0]):
            gradients = ()  # gives the memory back
            _, gradients = _run_pass(ctx, tensors, upstream[0])
            if ctx.upstream is not None:
                ctx.expected.upstream = upstream[0].clone()  # may be a view of something that will change
        given = iter(gradients)
        return *(None,) * 4, *(next(given) if needed else None for needed in ctx.needs_input_grad[4:])


def _run_pass(ctx: Any, tensors: Sequence[Tensor], upstream: Tensor | None) -> tuple[Tensor, Gradients]:
    outputs, targets = _split(tensors, ctx.keys)
    wanted = ctx.needs_input_grad[4 : 4 + len(outputs)]
    kernel.joint = True
    try:
        with without_autocast(outputs[0]):
            result = ctx.joint.compiled(outputs, targets, ctx.arguments, wanted, upstream)
    finally:
        kernel.joint = False
    return cast("tuple[Tensor, Gradients]", result)


def _differentiable(ctx: Any, tensors: Sequence[Tensor], upstream: Tensor) -> Gradients:
    outputs, targets = _split(tensors, ctx.keys)
    with without_autocast(outputs[0]):
        losses = ctx.joint.function(outputs, targets, *ctx.arguments)
    learning = [output for output in outputs if output.requires_grad]
    return torch.autograd.grad(losses, learning, upstream, create_graph=True, allow_unused=True)


def _split(tensors: Sequence[Tensor], keys: Sequence[str]) -> tuple[Sequence[Tensor], Tensors]:
    outputs = tensors[: len(tensors) - len(keys)]
    return outputs, dict(zip(keys, tensors[len(outputs) :], strict=True))


def _foreseen(expected: Expected, device: torch.device) -> Tensor | None:
    return expected.upstream if device.type == "cpu" else None


def _equal(expected: Tensor, upstream: Tensor) -> bool:
    return bool((expected.numpy() == upstream.numpy()).all())
