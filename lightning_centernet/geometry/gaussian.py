"""Heat map targets: how wide an object's peak is, and drawing all peaks of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


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
    heatmap: Tensor, cells: Tensor, channels: Tensor, radii: Tensor, mask: Tensor, sigma: float | None = None
) -> None:
    """Raise `heatmap`, in place, to a peak of 1 at each object.

    Args:
        heatmap: (B, C, h, w) float32.
        cells: (B, N, 2) int64, column and row of the peaks; they may lie outside.
        channels: (B, N) int64.
        radii: (B, N) int64; a peak ends `radius` cells from its centre.
        mask: (B, N) bool, the objects to draw.
        sigma: standard deviation in cells; (2 radius + 1) / 6 unless given.
    """
    draw = _paint if heatmap.device.type == "cpu" else _merge
    deviation = (2 * radii + 1) / 6 if sigma is None else torch.full_like(radii, sigma, dtype=torch.float32)
    draw(heatmap, cells, channels, radii, mask, deviation)


def gaussian_rows(cells: Tensor, radii: Tensor, deviation: Tensor, mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Draw each object on a grid of its own: (B, N, h, w), zero for objects that are masked out."""
    height, width = size
    profiles = []
    for axis, length in ((1, height), (0, width)):
        offset = torch.arange(length, device=cells.device) - cells[..., axis, None]
        profile = torch.exp(-(offset**2) / (2 * deviation[..., None] ** 2))
        profiles.append(profile * (offset.abs() <= radii[..., None]) * mask[..., None])
    return profiles[0][..., :, None] * profiles[1][..., None, :]


def _merge(
    heatmap: Tensor, cells: Tensor, channels: Tensor, radii: Tensor, mask: Tensor, deviation: Tensor
) -> None:
    # A device must neither loop over objects nor wait for the host, so every object gets a full grid.
    rows = gaussian_rows(cells, radii, deviation, mask, (heatmap.shape[2], heatmap.shape[3])).flatten(2)
    heatmap.flatten(2).scatter_reduce_(1, channels[..., None].expand_as(rows), rows, "amax")


def _paint(
    heatmap: Tensor, cells: Tensor, channels: Tensor, radii: Tensor, mask: Tensor, deviation: Tensor
) -> None:
    # On the host painting small windows one by one is several times faster than full grids.
    height, width = heatmap.shape[2:]
    for image, slot in mask.nonzero().tolist():
        (x, y), radius = cells[image, slot].tolist(), int(radii[image, slot])
        left, right = max(x - radius, 0), min(x + radius + 1, width)
        top, bottom = max(y - radius, 0), min(y + radius + 1, height)
        if left >= right or top >= bottom:
            continue
        exponent = -1 / (2 * deviation[image, slot] ** 2)
        column = torch.exp(exponent * (torch.arange(left, right) - x) ** 2)
        row = torch.exp(exponent * (torch.arange(top, bottom) - y) ** 2)
        window = heatmap[image, channels[image, slot], top:bottom, left:right]
        torch.maximum(window, torch.outer(row, column), out=window)
