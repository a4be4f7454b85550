"""Upright boxes in maps: ignored regions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_AT_ONCE = 128  # boxes of an image


def fill_boxes(maps: Tensor, boxes: Tensor, channels: Tensor, chosen: Tensor, level: float) -> None:
    """Raise maps, in place, to at least `level` inside boxes.

    Args:
        maps: (B, C, h, w) float32.
        boxes: (B, N, 4) int64, the first and the last column and row, as x1, y1, x2, y2.
        channels: (B, N) int64; -1 for all.
        chosen: (B, N) bool, the boxes to fill.
        level: at least 0.
    """
    fill = _fill_each if maps.device.type == "cpu" else _fill_all
    fill(maps, boxes, channels, chosen, level)


def _fill_each(maps: Tensor, boxes: Tensor, channels: Tensor, chosen: Tensor, level: float) -> None:
    # On the host: there are few such boxes, mostly none.
    canvas = maps.numpy()
    image, slot = chosen.nonzero().unbind(1)
    columns = torch.cat([image[:, None], channels[image, slot, None], boxes[image, slot]], dim=1)
    for b, channel, left, top, right, bottom in columns.tolist():
        concerned = slice(None) if channel < 0 else slice(channel, channel + 1)
        window = canvas[b, concerned, max(top, 0) : max(bottom + 1, 0), max(left, 0) : max(right + 1, 0)]
        np.maximum(window, np.float32(level), out=window)


def _fill_all(maps: Tensor, boxes: Tensor, channels: Tensor, chosen: Tensor, level: float) -> None:
    # On a device, which must neither loop over boxes nor wait for the host; many of them in parts, for their memory.
    for start in range(0, boxes.shape[1], _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        _fill_part(maps, boxes[:, part], channels[:, part], chosen[:, part], level)


def _fill_part(maps: Tensor, boxes: Tensor, channels: Tensor, chosen: Tensor, level: float) -> None:
    left, top, right, bottom = boxes.unsqueeze(-1).unbind(-2)
    rows, columns, all_channels = (torch.arange(maps.shape[axis], device=maps.device) for axis in (2, 3, 1))
    inside_rows, inside_columns = (rows >= top) & (rows <= bottom), (columns >= left) & (columns <= right)
    concerned = ((channels[..., None] == all_channels) | (channels[..., None] == -1)) & chosen[..., None]
    factors = (concerned.float(), inside_rows.float(), inside_columns.float())
    covered = torch.einsum("bmc,bmh,bmw->bchw", *factors).clamp_(max=1)
    torch.maximum(maps, covered.mul_(level), out=maps)
