"""Fake batches and data, to test backbones and heads of your own with pytest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_centernet.encoding import encode
from lightning_centernet.heads import Head, HeadSpec, standard_heads
from lightning_centernet.types import Annotations, Batch, Grid, Outputs, Tensors

JOINTS_UNLESS_GIVEN = 17  # of COCO


def fake_batch(
    heads: Mapping[str, HeadSpec],
    *,
    batch_size: int = 2,
    grid: Grid | tuple[int, ...] = (24, 32),
    objects: int = 4,
    slots: int = 8,
    seed: int = 0,
) -> Batch:
    """Make a batch of noise with consistent targets, in the keys of CenterTrack and CenterFusion.

    Args:
        heads: the heads to make targets for; one of your own gets `<name>` and `<name>_mask`, (B, slots, channels).
        batch_size: number of images.
        grid: height and width of the output in cells, and input pixels per cell, 4 unless given.
        objects: objects in each image; 0 for empty images.
        slots: padded length of the lists of objects.
        seed: of the noise.

    Returns:
        `image` (B, 3, H, W) float32, and the targets.

    Example:
        >>> batch = fake_batch({"hm": 3, "wh": 2, "reg": 2})
        >>> batch["hm"].shape, batch["wh"].shape
        (torch.Size([2, 3, 24, 32]), torch.Size([2, 8, 2]))
    """
    heads, grid = standard_heads(heads), Grid(*grid)
    generator = torch.Generator().manual_seed(seed)
    classes = heads["hm"].channels if "hm" in heads else 1
    annotations = _scatter_boxes((batch_size, slots), classes, grid, generator)
    annotations["mask"] = (torch.arange(slots) < objects).expand(batch_size, -1)
    drawn = {name: head for name, head in heads.items() if name in ("hm", "wh", "reg", "ltrb", "ltrb_amodal")}
    image = torch.rand(batch_size, 3, grid.height * grid.stride, grid.width * grid.stride, generator=generator)
    batch: Batch = {"image": image} | encode(annotations, drawn, grid)
    for head in heads.values():
        if head.name not in drawn:
            batch |= _fake_targets(head, heads, batch["mask"], grid, generator)
    return batch


def fake_outputs(
    heads: Mapping[str, HeadSpec], *, batch_size: int = 2, grid: Grid | tuple[int, ...] = (24, 32), seed: int = 0
) -> Outputs:
    """Make raw logits, such as a network gives before it has learned anything."""
    generator, grid = torch.Generator().manual_seed(seed), Grid(*grid)
    return {
        name: torch.randn(batch_size, head.channels, grid.height, grid.width, generator=generator) + head.bias
        for name, head in standard_heads(heads).items()
    }


class FakeData(LightningDataModule):
    """Feed fake batches, for `Trainer.fit` in a test.

    Args:
        heads: as in `fake_batch`.
        batches: batches of an epoch.
        **options: of `fake_batch`.
    """

    def __init__(self, heads: Mapping[str, HeadSpec], batches: int = 2, **options: Any) -> None:
        super().__init__()
        self.batches = [fake_batch(heads, seed=seed, **options) for seed in range(batches)]

    def train_dataloader(self) -> DataLoader[Batch]:
        """The batches, as they are."""
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]  # a list is a data set

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same batches."""
        return self.train_dataloader()

    def test_dataloader(self) -> DataLoader[Batch]:
        """The same batches."""
        return self.train_dataloader()


def _scatter_boxes(shape: tuple[int, int], classes: int, grid: Grid, generator: torch.Generator) -> Annotations:
    size = torch.tensor([grid.width * grid.stride, grid.height * grid.stride])
    centers = torch.rand(*shape, 2, generator=generator) * size
    extents = (torch.rand(*shape, 2, generator=generator) * 0.3 + 0.05) * size
    boxes = torch.cat([centers - extents / 2, centers + extents / 2], dim=-1)
    return {"boxes": boxes, "labels": torch.randint(classes, shape, generator=generator)}


def _fake_targets(
    head: Head, heads: Mapping[str, Head], mask: Tensor, grid: Grid, generator: torch.Generator
) -> Tensors:
    shape = (*mask.shape, head.channels)
    if head.name in ("rot", "rot_sec"):
        bins = torch.randint(2, (*mask.shape, 2), generator=generator) * mask.unsqueeze(-1).long()
        residuals = torch.rand(bins.shape, generator=generator) - 0.5
        return {"rotbin": bins, "rotres": residuals, "rot_mask": mask}
    if head.name in ("dep", "dep_sec"):
        depth = 5 + 50 * torch.rand(*mask.shape, 1, generator=generator)
        return {"dep": depth * mask.unsqueeze(-1), "dep_mask": mask.unsqueeze(-1)}
    if head.name in ("hm_hp", "hp_offset"):
        return _fake_joints(heads, mask, grid, generator)
    values = torch.randn(shape, generator=generator)
    if head.name == "nuscenes_att":
        values = (values > 0).float()
    weight = mask.unsqueeze(-1).expand(shape)
    return {head.name: values * weight, f"{head.name}_mask": weight}


def _fake_joints(heads: Mapping[str, Head], mask: Tensor, grid: Grid, generator: torch.Generator) -> Tensors:
    joints = heads["hm_hp"].channels if "hm_hp" in heads else JOINTS_UNLESS_GIVEN
    batch_size, slots = mask.shape
    index = torch.randint(grid.height * grid.width, (batch_size, slots * joints), generator=generator)
    kind = torch.arange(joints).repeat(slots).expand(batch_size, -1)
    visible = mask.repeat_interleave(joints, dim=1)
    heatmap = torch.zeros(batch_size, joints * grid.height * grid.width)
    heatmap.scatter_(1, kind * grid.height * grid.width + index, visible)
    offset = torch.rand(*index.shape, 2, generator=generator)
    return {
        "hm_hp": heatmap.view(batch_size, joints, grid.height, grid.width),
        "hp_ind": index,
        "joint": kind,
        "hm_hp_mask": visible,
        "hp_offset": offset,
        "hp_offset_mask": visible.unsqueeze(-1).expand_as(offset),
    }
