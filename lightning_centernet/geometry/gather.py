"""Reading a map at given cells."""

from __future__ import annotations

from torch import Tensor


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Read maps at cells.

    Args:
        values: (B, C, h, w), in any memory layout.
        index: (B, N) int64, cells as y * w + x.

    Returns:
        (B, N, C).
    """
    return values.flatten(2).gather(2, index.unsqueeze(1).expand(-1, values.shape[1], -1)).mT
