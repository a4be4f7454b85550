"""The precision that losses compute in."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """Return values in at least float32: halves and integers become float32, float64 stays."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()
