"""What a backbone gives, found by running it once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_centernet.errors import UserError
from lightning_centernet.types import Outputs

EXPECTED = "expected (B, C, H / stride, W / stride), a list of such maps, or a list of dicts of head outputs"


@dataclass(frozen=True)
class Features:
    """What a backbone gives.

    Attributes:
        channels: of each stack's map; empty if the backbone brings its own heads.
        stride: input pixels per cell.
        heads: channels of each head's output, if the backbone brings its own heads.
    """

    channels: tuple[int, ...]
    stride: int
    heads: Mapping[str, int]


def probe(backbone: nn.Module, input_size: tuple[int, int]) -> Features:
    """Run a backbone on one black image, and look at what comes out; its state stays as it was.

    Raises:
        UserError: it fails, or gives something else than feature maps or head outputs.
    """
    shape = (1, 3, *input_size)
    parameter = next(backbone.parameters(), None)
    image = torch.zeros(shape) if parameter is None else parameter.new_zeros(shape)
    modes = {module: module.training for module in backbone.modules()}
    try:
        backbone.eval()
        with torch.no_grad():
            stacks = as_stacks(backbone(image))
    except UserError:
        raise
    except Exception as error:  # whatever a user's module does
        raise UserError(
            f"the backbone {type(backbone).__name__} fails on an image of shape {shape} "
            f"({type(error).__name__}: {error}); {EXPECTED}"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
    return _describe(stacks, backbone, input_size)


def as_stacks(outputs: Any) -> list[Tensor] | list[Outputs]:
    """Bring what a backbone gives into one form, a list over stacks.

    Raises:
        UserError: it is no such thing.
    """
    stacks = list(outputs) if isinstance(outputs, Sequence) else [outputs]
    if stacks and all(isinstance(stack, Tensor) for stack in stacks):
        return stacks
    if stacks and all(_holds_tensors(stack) for stack in stacks):
        return [dict(stack) for stack in stacks]
    kinds = ", ".join(type(stack).__name__ for stack in stacks) or "an empty list"
    raise UserError(f"the backbone gives {kinds}; {EXPECTED}")


def _holds_tensors(stack: Any) -> bool:
    return isinstance(stack, Mapping) and bool(stack) and all(isinstance(value, Tensor) for value in stack.values())


def _describe(stacks: list[Tensor] | list[Outputs], backbone: nn.Module, input_size: tuple[int, int]) -> Features:
    maps = [m for stack in stacks for m in (stack.values() if isinstance(stack, dict) else [stack])]
    strides = {_stride(features, backbone, input_size) for features in maps}
    if len(strides) != 1:
        shapes = ", ".join(str(tuple(features.shape)) for features in maps)
        raise UserError(f"the backbone {type(backbone).__name__} gives maps of different sizes, {shapes}; {EXPECTED}")
    last = stacks[-1]
    if isinstance(last, dict):
        return Features((), strides.pop(), {name: output.shape[1] for name, output in last.items()})
    return Features(tuple(features.shape[1] for features in maps), strides.pop(), {})


def _stride(features: Tensor, backbone: nn.Module, input_size: tuple[int, int]) -> int:
    height, width = input_size
    if features.ndim == 4 and features.shape[0] == 1:
        rows, columns = features.shape[2:]
        if height % rows == 0 and width % columns == 0 and height // rows == width // columns:
            return height // int(rows)
    raise UserError(
        f"the backbone {type(backbone).__name__} turns an image of shape {(1, 3, *input_size)} into a map of shape "
        f"{tuple(features.shape)}; {EXPECTED}"
    )
