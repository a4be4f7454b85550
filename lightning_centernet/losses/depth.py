"""Depth as a function of a raw output."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_centernet.losses.precision import full_precision


def depth_from_logits(logits: Tensor) -> Tensor:
    """Turn raw outputs into metres: 1 / (sigmoid(x) + 1e-6) - 1, in float32 (CenterNet, section 4.1)."""
    return torch.reciprocal(torch.sigmoid(full_precision(logits)) + 1e-6) - 1
