"""Targets of a batch, from boxes to the heat map, sizes and offsets."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.measure import Rival
from benchmarks.plain.encoding import batch_targets
from benchmarks.table import Case
from lightning_centernet import encode, standard_heads

BATCH_SIZE, CLASSES, GRID, STRIDE, SLOTS = 8, 80, (128, 128), 4, 128


def cases() -> Iterator[Case]:
    """Compare at few and many objects; ours in the network's memory layout."""
    heads = standard_heads({"hm": CLASSES, "wh": 2, "reg": 2})
    for objects in (1, 10, 50, 128):
        annotations = scene(objects)
        boxes = [(each[:objects] / STRIDE).numpy() for each in annotations["boxes"]]
        labels = [each[:objects].numpy() for each in annotations["labels"]]

        def plain(boxes: list = boxes, labels: list = labels) -> dict[str, Tensor]:
            return batch_targets(boxes, labels, CLASSES, GRID, SLOTS)

        def ours(annotations: dict = annotations) -> dict[str, Tensor]:
            return encode(annotations, heads, (*GRID, STRIDE), memory_format=torch.channels_last)

        expected, targets = plain(), ours()
        difference = max(float((targets[name] - values).abs().max()) for name, values in expected.items())
        size = f"B{BATCH_SIZE} C{CLASSES} {GRID[0]}x{GRID[1]} M{SLOTS}"
        what = f"targets, {objects} objects"
        yield Case(what, size, Rival(plain), Rival(ours), unit=targets["hm"].nbytes, difference=difference)


def scene(objects: int, seed: int = 0) -> dict[str, Tensor]:
    """Scatter boxes of all sizes, the same number in each image."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.tensor([GRID[1], GRID[0]]) * float(STRIDE)
    center = torch.rand(BATCH_SIZE, SLOTS, 2, generator=generator) * side
    extent = (torch.rand(BATCH_SIZE, SLOTS, 2, generator=generator) ** 2 * 0.5 + 0.03) * side
    mask = (torch.arange(SLOTS) < objects).expand(BATCH_SIZE, -1)
    return {
        "boxes": torch.cat([center - extent / 2, center + extent / 2], dim=-1) * mask.unsqueeze(-1),
        "labels": torch.randint(CLASSES, (BATCH_SIZE, SLOTS), generator=generator) * mask,
        "mask": mask,
        "ignore": torch.zeros_like(mask),
    }
