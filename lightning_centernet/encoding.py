"""Annotations to targets: a loop over the heads."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lightning_centernet.errors import MissingTargetsError
from lightning_centernet.heads import Head, HeadSpec, Objects, place, standard_heads
from lightning_centernet.types import Annotations, Grid, Tensors


@torch.no_grad()
def encode(
    annotations: Annotations,
    heads: Mapping[str, HeadSpec],
    grid: Grid | tuple[int, ...],
    *,
    partial: bool = False,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensors:
    """Encode a batch of annotations, on the device that holds them.

    Args:
        annotations: `boxes` (B, M, 4) in input pixels and `labels` (B, M); `mask` and `ignore` (B, M) if not every
            slot holds an object; further fields as the heads need them.
        heads: the heads to encode.
        grid: height and width of the output in cells, and input pixels per cell, 4 unless given.
        partial: leave out heads whose targets these annotations do not have.
        memory_format: of the heat maps; losses are faster where it is that of the outputs.

    Returns:
        `ind` (B, M) int64, the centres' cells; `cat` (B, M) int64, the classes; `mask` (B, M) float32; and the entries
        of each head, such as `hm` (B, C, h, w), `wh` and `wh_mask` (B, M, 2). Slots stay as in the annotations.

    Raises:
        UserError: a head's targets cannot be made from these annotations.

    Example:
        >>> boxes, labels = torch.tensor([[[16.0, 16.0, 48.0, 32.0]]]), torch.tensor([[0]])
        >>> targets = encode({"boxes": boxes, "labels": labels}, {"hm": 1, "wh": 2}, (16, 16))
        >>> targets["wh"][0, 0], targets["ind"][0, 0]
        (tensor([8., 4.]), tensor(104))
    """
    objects = place(annotations, Grid(*grid), memory_format)
    targets = {"ind": objects.index, "cat": objects.labels, "mask": objects.mask.float()}
    for head in standard_heads(heads).values():
        targets |= _encode(head, objects, partial)
    return targets


def _encode(head: Head, objects: Objects, partial: bool) -> Tensors:
    try:
        return head.encode(objects)
    except MissingTargetsError:
        if partial:
            return {}
        raise
