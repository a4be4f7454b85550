"""Boxes that overlap a better one: soft non-maximum suppression (Bodla et al. 2017), and the hard one.

Why not torchvision's: it has no soft one, takes one image at a time, and makes the host wait for the number of boxes
that are left; the tests compare the hard one with it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_centernet.geometry.boxes import upright_iou


def suppress(
    boxes: Tensor, scores: Tensor, labels: Tensor, k: int, decay: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Take the best box, lower the scores of those of its class that overlap it, and so on.

    Args:
        boxes: (B, N, 4).
        scores: (B, N).
        labels: (B, N); classes do not affect each other.
        k: boxes to take, at most N.
        decay: intersection over union with the box taken, (B, N), to the factor of the scores. With `gaussian_decay`
            this is soft suppression, with `hard_decay` the usual one, where suppressed boxes get the score 0.

    Returns:
        (B, k) int64, the boxes taken, best first; and (B, k), their scores.
    """
    taken, chosen = torch.zeros_like(scores, dtype=torch.bool), [(labels[:, :0], scores[:, :0])]
    # As many steps as boxes to take; nothing here waits for the device.
    for _ in range(min(k, scores.shape[1])):
        best, index = scores.masked_fill(taken, -torch.inf).max(1, keepdim=True)
        chosen.append((index, best))
        overlap = upright_iou(boxes, boxes.gather(1, index.unsqueeze(-1).expand(-1, -1, 4)))
        same = labels == labels.gather(1, index)
        scores = torch.where(same, scores * decay(overlap), scores)
        taken = taken.scatter(1, index, True)
    indices, values = zip(*chosen, strict=True)
    return torch.cat(indices, dim=1), torch.cat(values, dim=1)


def gaussian_decay(overlap: Tensor, sigma: float) -> Tensor:
    """Compute exp(-overlap^2 / sigma) (Bodla et al. 2017, equation 3)."""
    return torch.exp(-(overlap**2) / sigma)


def hard_decay(overlap: Tensor, threshold: float) -> Tensor:
    """Keep what overlaps by the threshold at most."""
    return (overlap <= threshold).to(overlap.dtype)
