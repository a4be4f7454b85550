"""The precision that losses compute and add up in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """Return values in at least float32: halves and integers become float32, float64 stays."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def without_autocast(values: Tensor) -> AbstractContextManager[object]:
    """Switch autocast off where these values are, if it is on; to switch off what is off takes a tenth millisecond."""
    kind = values.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def precise_sum(losses: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
    """Return the sum, over some dimensions or all, as precisely in a compiled loop as without.

    On a processor such a loop adds up to 8192 numbers one after the other. If many are equal, as those of an untrained
    network or of a black border are, all are rounded the same way: in float32 the sum would be off by up to 1e-4.
    """
    if torch.compiler.is_compiling() and losses.device.type == "cpu" and losses.is_floating_point():
        return losses.sum(dims, dtype=torch.float64).to(losses.dtype)
    return losses.sum(dims)
