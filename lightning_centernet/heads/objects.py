"""Annotations placed on the output grid: what the encoders of all heads share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_centernet.geometry.gaussian import gaussian_radius
from lightning_centernet.types import Annotations, Grid


@dataclass(frozen=True)
class Objects:
    """The annotated objects of a batch on the output grid; slots as in the annotations.

    Attributes:
        annotations: the annotations they come from.
        grid: the output grid.
        amodal: (B, M, 4) boxes in output cells, also where they leave the grid.
        boxes: (B, M, 4) the same clipped to [0, w - 1] and [0, h - 1].
        centers: (B, M, 2) of the clipped boxes.
        cells: (B, M, 2) int64, column and row of the centres.
        labels: (B, M) int64; 0 in slots without an object.
        mask: (B, M) bool, slots with an object to learn.
        ignored: (B, M) bool, slots with a region where nothing is to be learned.
        radii: (B, M) int64, of their heat map peaks; -1 in slots without an object to learn.
        memory_format: of maps.
    """

    annotations: Annotations
    grid: Grid
    amodal: Tensor
    boxes: Tensor
    centers: Tensor
    cells: Tensor
    labels: Tensor
    mask: Tensor
    ignored: Tensor
    radii: Tensor
    memory_format: torch.memory_format = torch.contiguous_format

    @property
    def index(self) -> Tensor:
        """(B, M) int64, the cells as y * w + x; 0 in slots without an object."""
        return (self.cells[..., 1] * self.grid.width + self.cells[..., 0]) * self.mask

    def blank(self, channels: int) -> Tensor:
        """Make a map of zeros, (B, channels, h, w) float32."""
        last = self.memory_format == torch.channels_last
        size = (len(self.mask), self.grid.height, self.grid.width)
        shape = (*size, channels) if last else (size[0], channels, *size[1:])
        if self.mask.device.type == "cpu":  # numpy's zeros take no time where they stay zeros
            maps = torch.from_numpy(np.zeros(shape, dtype=np.float32))
        else:
            maps = torch.zeros(shape, device=self.mask.device)
        return maps.permute(0, 3, 1, 2) if last else maps


def place(
    annotations: Annotations, grid: Grid, memory_format: torch.memory_format = torch.contiguous_format
) -> Objects:
    """Place annotations on the grid.

    Objects that do not overlap it are dropped from `mask` (CenterNet, section 4; the clipping is the originals').
    """
    amodal = annotations["boxes"].float() / grid.stride
    columns, rows = amodal[..., ::2].clamp(0, grid.width - 1), amodal[..., 1::2].clamp(0, grid.height - 1)
    boxes = torch.stack([columns, rows], dim=-1).flatten(-2)
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2
    width, height = (boxes[..., 2:] - boxes[..., :2]).unbind(-1)
    present = annotations.get("mask", torch.ones_like(annotations["labels"], dtype=torch.bool)).bool()
    ignored = (annotations.get("ignore", torch.zeros_like(present)).bool() | (annotations["labels"] < 0)) & present
    mask = present & ~ignored & (width > 0) & (height > 0)
    return Objects(
        annotations=annotations,
        grid=grid,
        amodal=amodal,
        boxes=boxes,
        centers=centers,
        cells=centers.long(),
        labels=annotations["labels"].long() * mask,
        mask=mask,
        ignored=ignored,
        radii=torch.where(mask, gaussian_radius(height.ceil(), width.ceil()).long().clamp(min=0), -1),
        memory_format=memory_format,
    )
