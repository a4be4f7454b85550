"""Stack samples to a batch of plain tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_centernet.types import Annotations, Batch

_STACKED = ("transform", "color", "image_id", "size", "scale", "calibration", "view_transforms")


def collate(items: Sequence[Mapping[str, Any]], max_objects: int) -> Batch:
    """Stack what `Transform` makes of samples.

    Args:
        items: one for each sample.
        max_objects: slots of `annotations`; further objects are cut off. `ground_truth` gets as many slots as needed.

    Returns:
        The same keys, stacked. The objects stand in the order of the file, first slots first, and `mask` says which
        slots are taken; the others hold zeros. `file` is a list.
    """
    batch: Batch = {name: torch.stack([item[name] for item in items]) for name in _STACKED if name in items[0]}
    batch["image"] = _stack_images([item["image"] for item in items])
    if "views" in items[0]:
        batch["views"] = [_stack_images(views) for views in zip(*(item["views"] for item in items), strict=True)]
    objects = [item["ground_truth"] for item in items]
    most = max(len(each["labels"]) for each in objects)
    batch["annotations"] = _pad([item["annotations"] for item in items], max_objects)
    batch["ground_truth"] = _pad(objects, most)
    batch["file"] = [item["file"] for item in items]
    return batch


def _stack_images(images: Sequence[Tensor]) -> Tensor:
    # OpenCV's pixels are channels last: stacked so, each picture is one copy.
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def _pad(objects: Sequence[Mapping[str, Tensor]], slots: int) -> Annotations:
    padded = {name: torch.stack([_pad_column(each[name], slots) for each in objects]) for name in objects[0]}
    counts = torch.tensor([len(each["labels"]) for each in objects])
    padded["mask"] = torch.arange(slots) < counts[:, None]
    return padded


def _pad_column(column: Tensor, slots: int) -> Tensor:
    result = column.new_zeros(slots, *column.shape[1:])
    taken = column[:slots]
    result[: len(taken)] = taken
    return result
