"""Reading a map at given cells."""

from __future__ import annotations

import torch
from torch import Tensor


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Read maps at cells.

    Args:
        values: (B, C, h, w), in any memory layout.
        index: (B, N) int64, cells as y * w + x.

    Returns:
        (B, N, C).
    """
    return read(values, cells_of(index, values.shape[3]))


def cells_of(index: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Turn flat indices (B, N) into indices of the image, (B, 1), of the row and of the column, (B, N)."""
    images = torch.arange(index.shape[0], device=index.device).unsqueeze(1)
    return images, torch.div(index, width, rounding_mode="floor"), index % width


def read(values: Tensor, cells: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Read a map at cells that several maps share; its gradient gets the map's memory layout."""
    images, rows, columns = cells
    if values.is_contiguous(memory_format=torch.channels_last):
        return values.permute(0, 2, 3, 1)[images, rows, columns]
    return values[images, :, rows, columns]
