"""Maps of a mirrored image: what their channels say of the image itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def mirror_points(values: Tensor) -> Tensor:
    """Mirror points whose channels, (B, 2 n, h, w), count x and y from the corner of their own cell.

    The cell is one wide, so x becomes 1 - x.
    """
    x, y = torch.unflatten(values, 1, (-1, 2)).unbind(2)
    return torch.stack([1 - x, y], dim=2).flatten(1, 2)


def reorder(values: Tensor, order: Sequence[int]) -> Tensor:
    """Put the channels of (B, C, h, w) into another order."""
    return torch.stack([values[:, channel] for channel in order], dim=1)  # an index would be sent to the device


def negate(values: Tensor, *channels: int) -> Tensor:
    """Change the sign of some channels of (B, C, h, w)."""
    return torch.stack([-value if c in channels else value for c, value in enumerate(values.unbind(1))], dim=1)
