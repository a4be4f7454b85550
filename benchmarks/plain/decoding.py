"""The originals' decoding: probabilities, 3 x 3 maximum, the k best of each class, of these the k best, boxes."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from benchmarks.plain.losses import probability, read


@torch.no_grad()
def detections(outputs: dict[str, Tensor], k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores (B, k), labels (B, k) and boxes (B, k, 4); the heat map's logits become probabilities in place."""
    scores, labels, index = peaks(probability(outputs["hm"].float()), k)
    offset, size = read(outputs["reg"].float(), index), read(outputs["wh"].float(), index)
    width = outputs["hm"].shape[3]
    centers = torch.stack([(index % width).float(), (index // width).float()], dim=2) + offset
    return scores, labels, torch.cat([centers - size / 2, centers + size / 2], dim=2)


def peaks(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, labels and cells (B, k) of the highest peaks of (B, C, h, w) probabilities."""
    largest = F.max_pool2d(scores, 3, stride=1, padding=1)
    scores = scores * (largest == scores).float()
    best, cells = torch.topk(scores.flatten(2), k)
    chosen, position = torch.topk(best.flatten(1), k)
    return chosen, position // k, cells.flatten(1).gather(1, position)
