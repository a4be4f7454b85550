"""Passes over whole maps: compiled where that pays, in blocks that fit a processor's cache where it does not."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, torch_version

from lightning_centernet.errors import UserError

WORTH_COMPILING = 2**16  # elements; below, compiling saves less than a fifth of a millisecond
BLOCK = 2**15  # elements for each of at most four threads: the copies fit into a core's cache; torch divides no further
PARTS = 32  # into which maps that do not lie alike are divided, so that copies need a thirtieth of their memory
DEVICE_BLOCK = 2**24  # where starting an operation costs more than memory
# Earlier compilers ignore the derivatives of an autograd.Function inside of torch.func, without a word.
KNOWS_DERIVATIVES = torch_version.TorchVersion(torch.__version__) >= "2.15"
OPTIONS: dict[str, str | Callable[..., Any]] = {
    "cpp.enable_floating_point_contract_flag": "fast",  # a product and a sum may be one instruction of a processor
    # What a pass finds in its modules are functions that stay; to check them at each call took a fifth of a small one.
    "guard_filter_fn": torch.compiler.skip_guard_on_globals_unsafe,
}

joint = False  # while `JointPass` runs, which wants first derivatives only

Layout: TypeAlias = Literal["channels first", "channels last"]

logger = logging.getLogger(__name__)


class CompiledOnce:
    """Compile a function when it is first called on large tensors; where that fails, call it as it is.

    Args:
        function: its first argument is a list of large tensors. It learns from
            `torch.compiler.is_compiling` how it is called.
        name: for the announcement.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function = function
        self.name = name
        self.compiled: Callable[..., Any] | None = None
        self.failed = False

    def pays(self, maps: Sequence[Tensor]) -> bool:
        """Tell if compiling has not failed yet and the maps are worth it."""
        return not self.failed and max(values.numel() for values in maps) >= WORTH_COMPILING

    def __call__(self, maps: Sequence[Tensor], *arguments: Any) -> Any:
        """Call the function."""
        if not self.pays(maps):
            return self.function(maps, *arguments)
        if self.compiled is None and os.environ.get("TORCH_COMPILE_DISABLE") == "1":
            return self._stay(maps, arguments, "TORCH_COMPILE_DISABLE=1 is set")
        try:
            if self.compiled is None:
                logger.info("compiling %s, once; this can take half a minute", self.name)
                # A copy, for `torch.compile` takes some of the options out.
                self.compiled = torch.compile(self.function, dynamic=True, options={**OPTIONS})
            return self.compiled(maps, *arguments)
        except (torch.OutOfMemoryError, MemoryError, UserError):
            raise
        except Exception as error:  # a missing compiler and an exotic device fail in many ways
            return self._stay(maps, arguments, str(error).strip().partition("\n")[0])

    def _stay(self, maps: Sequence[Tensor], arguments: tuple[Any, ...], reason: str) -> Any:
        result = self.function(maps, *arguments)  # fails too where the arguments are wrong
        self.failed = True
        logger.info("%s stays uncompiled, slower and with the same results: %s", self.name, reason)
        return result


def traced() -> bool:
    """Tell if a compiler or `torch.func` looks at each operator, and so needs plain ones."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def layout_of(maps: Sequence[Tensor]) -> Layout | None:
    """Tell how maps (B, C, h, w) lie in memory, if they lie alike and without gaps."""
    if all(values.is_contiguous() for values in maps):
        return "channels first"
    return "channels last" if all(values.is_contiguous(memory_format=torch.channels_last) for values in maps) else None


def as_lines(maps: Sequence[Tensor]) -> tuple[list[Tensor], Layout | None]:
    """View maps (B, C, h, w) that lie alike as (B, C, h w) or (B, h w, C), as they lie; leave others."""
    layout = layout_of(maps)
    if layout == "channels first":
        return [values.flatten(2) for values in maps], layout
    if layout == "channels last":
        return [values.permute(0, 2, 3, 1).flatten(1, 2) for values in maps], layout
    return list(maps), layout


def alike_parts(maps: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Give logits, heat map and gradient, if there is one, part by part; inputs are copied to make a part one line."""
    last = maps[0].is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    for logits, heatmap, *gradient in zip(*(_divided(values, last) for values in maps), strict=True):
        inputs = [values.contiguous(memory_format=layout) for values in (logits, heatmap)]
        yield as_lines([*inputs, *gradient])[0]


def _divided(values: Tensor, last: bool) -> list[Tensor]:
    """Split a map into parts that lie in one piece if the map lies channels `last`, or first."""
    _, channels, height, width = values.shape
    size = max(values.numel() // PARTS, WORTH_COMPILING)
    together = channels if last else max(math.ceil(size / max(height * width, 1)), 1)  # channels in one part
    rows = math.ceil(size / max(width * (channels if last else 1), 1))
    parts = [values]
    for axis, step in enumerate((1, together, rows)):
        parts = [part for each in parts for part in torch.split(each, step, axis)]
    return parts


def blocks(maps: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Split maps (B, C, h, w), or vectors, of one size into small parts that belong together."""
    size = BLOCK * min(torch.get_num_threads(), 4) if maps[0].device.type == "cpu" else DEVICE_BLOCK
    if maps[0].ndim == 1:
        yield from zip(*(torch.split(values, size) for values in maps), strict=True)
        return
    rows = max(size // max(maps[0][0, :, 0].numel(), 1), 1)
    for image in zip(*(values.unbind() for values in maps), strict=True):
        yield from zip(*(torch.split(values, rows, dim=1) for values in image), strict=True)
