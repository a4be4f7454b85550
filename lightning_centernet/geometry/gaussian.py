"""Heat map targets: how wide an object's peak is, and drawing all peaks of a batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_AT_ONCE = 128  # objects of an image


def gaussian_radius(height: Tensor, width: Tensor, min_overlap: float = 0.7) -> Tensor:
    """Find how far a corner may move for a box to keep an IoU of about `min_overlap`.

    CornerNet's formula with its wrong denominators, which make the radius 2.8 times the intended one: the published
    results of the whole family were trained with it. Of its three cases the third is always the smallest.

    Args:
        height: sizes in output cells, of any shape.
        width: as `height`.
        min_overlap: the IoU to keep.

    Returns:
        Radius in output cells, not rounded.
    """
    b = 2 * min_overlap * (height + width)
    return (torch.sqrt(b**2 + 16 * min_overlap * (1 - min_overlap) * height * width) - b) / 2


def draw_gaussians(
    heatmap: Tensor, cells: Tensor, channels: Tensor, radii: Tensor, *, sigma: float | None = None
) -> None:
    """Raise `heatmap`, in place, to a peak of 1 at each object.

    Args:
        heatmap: (B, C, h, w) float32.
        cells: (B, N, 2) int64, column and row of the peaks; they may lie outside.
        channels: (B, N) int64.
        radii: (B, N) int64; a peak ends `radius` cells from its centre. A negative one draws nothing.
        sigma: standard deviation in cells; (2 radius + 1) / 6 unless given.
    """
    deviation = (2 * radii + 1) / 6 if sigma is None else torch.full_like(radii, sigma, dtype=torch.float32)
    draw = _paint if heatmap.device.type == "cpu" else _merge
    draw(heatmap, cells, channels, radii, deviation)


def gaussian_rows(cells: Tensor, radii: Tensor, deviation: Tensor, size: tuple[int, int]) -> Tensor:
    """Draw each object on a grid (height, width) of its own: (B, N, h, w)."""
    profiles = []
    for axis, length in ((1, size[0]), (0, size[1])):
        offset = torch.arange(length, device=cells.device) - cells[..., axis, None]
        profile = torch.exp(-(offset**2) / (2 * deviation[..., None] ** 2))
        profiles.append(profile * (offset.abs() <= radii[..., None]))
    return profiles[0][..., :, None] * profiles[1][..., None, :]


def _merge(heatmap: Tensor, cells: Tensor, channels: Tensor, radii: Tensor, deviation: Tensor) -> None:
    # A device must neither loop over objects nor wait for the host, so every object gets a full grid; many of them in
    # parts, for the memory that these take.
    size = (heatmap.shape[2], heatmap.shape[3])
    for start in range(0, cells.shape[1], _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        rows = gaussian_rows(cells[:, part], radii[:, part], deviation[:, part], size).flatten(2)
        heatmap.flatten(2).scatter_reduce_(1, channels[:, part, None].expand_as(rows), rows, "amax")


def _paint(heatmap: Tensor, cells: Tensor, channels: Tensor, radii: Tensor, deviation: Tensor) -> None:
    # On the host painting small windows one by one is several times faster than full grids.
    canvas, height, width = heatmap.numpy(), heatmap.shape[2], heatmap.shape[3]
    image, slot = (radii >= 0).nonzero().unbind(1)
    objects = [image, channels[image, slot], *cells[image, slot].unbind(1), radii[image, slot]]
    middle = int(radii.amax()) if len(image) else 0
    offset = np.arange(-middle, middle + 1)
    profiles = np.exp(offset**2 / (-2 * deviation[image, slot, None].double().numpy() ** 2))  # along either axis
    for profile, (b, c, x, y, radius) in zip(profiles, torch.stack(objects, 1).tolist(), strict=True):
        left, right = max(x - radius, 0), min(x + radius + 1, width)
        top, bottom = max(y - radius, 0), min(y + radius + 1, height)
        if left < right and top < bottom:
            column, row = (
                profile[middle + top - y : middle + bottom - y],
                profile[middle + left - x : middle + right - x],
            )
            window = canvas[b, c, top:bottom, left:right]
            np.maximum(window, np.outer(column, row), out=window, casting="same_kind")
