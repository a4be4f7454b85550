"""The originals' targets: numpy, object after object, image after image, stacked by the loader."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def batch_targets(
    boxes: list[NDArray], labels: list[NDArray], classes: int, size: tuple[int, int], slots: int
) -> dict[str, Tensor]:
    """Encode each image's boxes (n, 4) in output cells, and stack."""
    images = [targets(*objects, classes, size, slots) for objects in zip(boxes, labels, strict=True)]
    return {name: torch.stack([torch.from_numpy(image[name]) for image in images]) for name in images[0]}


def targets(boxes: NDArray, labels: NDArray, classes: int, size: tuple[int, int], slots: int) -> dict[str, NDArray]:
    """Encode the objects of one image on an output grid of `size`, height and width."""
    height, width = size
    heatmap = np.zeros((classes, height, width), dtype=np.float32)
    extents, offsets = np.zeros((slots, 2), dtype=np.float32), np.zeros((slots, 2), dtype=np.float32)
    index, channel = np.zeros(slots, dtype=np.int64), np.zeros(slots, dtype=np.int64)
    mask = np.zeros(slots, dtype=np.float32)
    for slot in range(min(len(boxes), slots)):
        box = boxes[slot].copy()
        box[[0, 2]] = np.clip(box[[0, 2]], 0, width - 1)
        box[[1, 3]] = np.clip(box[[1, 3]], 0, height - 1)
        h, w = box[3] - box[1], box[2] - box[0]
        if h <= 0 or w <= 0:
            continue
        center = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], dtype=np.float32)
        cell = center.astype(np.int32)
        draw(heatmap[labels[slot]], cell, max(0, int(radius(math.ceil(h), math.ceil(w)))))
        extents[slot], offsets[slot] = (w, h), center - cell
        index[slot], channel[slot], mask[slot] = cell[1] * width + cell[0], labels[slot], 1
    masks = {f"{name}_mask": np.repeat(mask[:, None], 2, axis=1) for name in ("reg", "wh")}
    return {"hm": heatmap, "wh": extents, "reg": offsets, "ind": index, "cat": channel, "mask": mask, **masks}


def radius(height: float, width: float, overlap: float = 0.7) -> float:
    """Take the smallest of the three cases' radii."""
    b1, c1 = height + width, width * height * (1 - overlap) / (1 + overlap)
    b2, c2 = 2 * (height + width), (1 - overlap) * width * height
    a3, b3, c3 = 4 * overlap, -2 * overlap * (height + width), (overlap - 1) * width * height
    return min(
        (b1 + np.sqrt(b1**2 - 4 * c1)) / 2,
        (b2 + np.sqrt(b2**2 - 16 * c2)) / 2,
        (b3 + np.sqrt(b3**2 - 4 * a3 * c3)) / 2,
    )


def draw(heatmap: NDArray, cell: NDArray, radius: int) -> None:
    """Raise the heat map to a peak round the cell."""
    x, y = int(cell[0]), int(cell[1])
    height, width = heatmap.shape
    peak = gaussian(radius)
    left, right = min(x, radius), min(width - x, radius + 1)
    top, bottom = min(y, radius), min(height - y, radius + 1)
    window = heatmap[y - top : y + bottom, x - left : x + right]
    cut = peak[radius - top : radius + bottom, radius - left : radius + right]
    if min(cut.shape) > 0 and min(window.shape) > 0:
        np.maximum(window, cut, out=window)


def gaussian(radius: int) -> NDArray:
    """Compute a peak with a third of its half width as its standard deviation."""
    deviation = (2 * radius + 1) / 6
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    peak = np.exp(-(x * x + y * y) / (2 * deviation * deviation))
    peak[peak < np.finfo(peak.dtype).eps * peak.max()] = 0
    return peak
