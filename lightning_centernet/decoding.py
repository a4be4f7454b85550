"""Outputs to detections: the peaks of the heat map, then a fold over the heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.geometry.affine import compose, invert, transform_boxes, transform_points
from lightning_centernet.geometry.peaks import highest_peaks
from lightning_centernet.heads import Head, HeadSpec, standard_heads
from lightning_centernet.heads.spec import raw_output
from lightning_centernet.types import Detections, Outputs

POINT_FIELDS = {"centers", "amodal_centers", "keypoints"}  # x, y on the last axis
PEAK_FIELDS = ("scores", "labels", "cells", "centers")


@torch.no_grad()
def decode(outputs: Outputs, heads: Mapping[str, HeadSpec], k: int = 100) -> Detections:
    """Find the best peaks, and read every head there.

    Args:
        outputs: head name to raw logits (B, channels, h, w); not changed.
        heads: the heads to decode; `hm` must be among them.
        k: peaks to keep in each image, best first; slots that no peak fills have score 0.

    Returns:
        On the output grid: `scores` (B, k), `labels` (B, k) int64, `cells` (B, k, 2), column and row of the peak,
        `centers` (B, k, 2), `boxes` (B, k, 4) if a head gives them, and each head's own fields.

    Raises:
        UserError: `hm` or an output is missing, or a head needs a field that no other head gives.
    """
    heads = standard_heads(heads)
    if "hm" not in heads:
        raise UserError(f"objects are found by the head `hm`, but the heads are {', '.join(heads)}: add it")
    index, detections = find_peaks(raw_output(outputs, heads["hm"]), k)
    for head in decoding_order(heads.values()):
        if head.at == "center" or head.provides:
            detections |= head.decode_outputs(outputs, index, detections)
    return detections


def find_peaks(heatmap: Tensor, k: int) -> tuple[Tensor, Detections]:
    """Keep the `k` best of the cells that are the largest of their 3 x 3 neighbourhood (CenterNet, section 4).

    Args:
        heatmap: (B, C, h, w) raw logits.
        k: peaks to keep.

    Returns:
        (B, k) int64 cells as y * w + x; and the fields that the peaks alone give.
    """
    cells, width = heatmap.shape[2] * heatmap.shape[3], heatmap.shape[3]
    logits, flat = highest_peaks(heatmap, k)
    index = flat % cells
    position = torch.stack([index % width, index // width], dim=-1).float()
    detections = {"scores": logits.sigmoid(), "labels": flat // cells, "cells": position, "centers": position + 0.5}
    return index, detections


def decoding_order(heads: Iterable[Head]) -> list[Head]:
    """Order heads so that each comes after all that provide what it needs or uses, otherwise as they are.

    Raises:
        UserError: nothing provides it.
    """
    pending, ordered = list(heads), list[Head]()
    every = tuple(pending)
    while pending:
        for head in pending:
            given = {*PEAK_FIELDS, *(field for other in every if other is not head for field in other.provides)}
            missing = set(head.needs) - given
            if missing:
                raise UserError(f"head `{head.name}` needs the field `{missing.pop()}`, which no other head provides")
            awaited = {*head.needs, *head.uses}
            blocked = any(awaited & set(other.provides) for other in pending if other is not head)
            if not blocked:
                break
        else:
            raise UserError(f"heads need each other in a circle: {', '.join(head.name for head in pending)}")
        pending.remove(head)
        ordered.append(head)
    return ordered


def to_image(
    detections: Detections, transform: Tensor | None, stride: int, *, sizes_as_points: bool = False
) -> Detections:
    """Map positions from the output grid back to the pixels of each original image.

    Args:
        detections: on the output grid.
        transform: (B, 2, 3), original pixels to input pixels; None if the input is the original.
        stride: input pixels per cell.
        sizes_as_points: map the sizes of boxes as if they were positions, as CenterNet does in its 3D task: the boxes
            are too large by the translation.

    Returns:
        The detections with boxes and points in original pixels, and without the cells, which have none.
    """
    device = detections["scores"].device
    back = torch.tensor([[stride, 0.0, 0.0], [0.0, stride, 0.0]], dtype=torch.float64)
    if transform is not None:
        back = compose(invert(transform.cpu().double()), back)
    back = back.to(device, torch.float32 if device.type == "mps" else None)  # Apple's GPUs know no float64
    mapped = {name: values for name, values in detections.items() if name != "cells"}
    if "boxes" in mapped:
        mapped["boxes"] = transform_boxes(mapped["boxes"], back)
        if sizes_as_points:
            excess = back[..., 2].unsqueeze(-2).to(mapped["boxes"].dtype) / 2
            mapped["boxes"] = mapped["boxes"] + torch.cat([-excess, excess], dim=-1)
    for name in POINT_FIELDS & set(mapped):
        points = mapped[name]
        mapped[name] = transform_points(points.flatten(1, -2), back).view_as(points)
    return mapped
