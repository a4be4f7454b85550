"""How much detections and targets of the same image overlap: in the image, from above and in space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lightning_centernet.geometry.boxes3d_overlap import birdseye, rectangle_intersection
from lightning_centernet.metrics.kitti_rules import Detections, Flags, Floats, Integers, Targets


@dataclass(frozen=True)
class Overlaps:
    """Pairs (p,) that share something, by target and then by detection."""

    detections: Integers
    targets: Integers
    iou: Floats
    covered: Floats  # the share of the detection that lies in the target

    def keep(self, chosen: Flags) -> Overlaps:
        """Keep some of the pairs."""
        return Overlaps(self.detections[chosen], self.targets[chosen], self.iou[chosen], self.covered[chosen])


def measure(detections: Detections, targets: Targets) -> dict[str, Overlaps]:
    """Compute the overlaps of `bbox`, the boxes in the image, of `bev`, the bird's-eye view, and of `3d`."""
    found, meant = _pairs(detections.images, targets.images)
    boxes = detections.boxes[found], targets.boxes[meant]
    solids = detections.solids[found], targets.solids[meant]
    ground, volume = _shared_in_space(*solids)
    sizes = {
        "bbox": (_shared_in_image(*boxes), *((b[:, 2:] - b[:, :2]).prod(1) for b in boxes)),
        "bev": (ground, *(s[:, 4:6].prod(1) for s in solids)),
        "3d": (volume, *(s[:, 3:6].prod(1) for s in solids)),
    }
    return {name: _overlaps(found, meant, *values) for name, values in sizes.items()}


def _pairs(images: Integers, target_images: Integers) -> tuple[Integers, Integers]:
    """Pair every target with every detection of its image: two arrays of indices."""
    starts, ends = (np.searchsorted(images, target_images, side) for side in ("left", "right"))
    counts = ends - starts
    firsts = np.repeat(starts - np.cumsum(counts) + counts, counts)
    return np.arange(len(firsts)) + firsts, np.repeat(np.arange(len(counts)), counts)


def _shared_in_image(first: Floats, second: Floats) -> Floats:
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    shared: Floats = sides.clip(0).prod(1)
    return shared


def _shared_in_space(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Compute the shared areas seen from above, and the shared volumes."""
    area = rectangle_intersection(*(birdseye(torch.from_numpy(solids)) for solids in (first, second))).numpy()
    bottom = np.minimum(first[:, 1], second[:, 1])
    top = np.maximum(first[:, 1] - first[:, 3], second[:, 1] - second[:, 3])
    return area, area * (bottom - top).clip(0)


def _overlaps(found: Integers, meant: Integers, shared: Floats, sizes: Floats, target_sizes: Floats) -> Overlaps:
    some = shared > 0
    shared, sizes, target_sizes = shared[some], sizes[some], target_sizes[some]
    return Overlaps(found[some], meant[some], shared / (sizes + target_sizes - shared), shared / sizes)
