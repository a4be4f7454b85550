"""CenterTrack's and CenterFusion's losses: activations over whole maps, every head read through a permuted copy."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor


def total_loss(outputs: dict[str, Tensor], batch: dict[str, Any], weights: dict[str, float]) -> Tensor:
    """Add the weighted losses, head after head; the heat maps' logits become probabilities in place."""
    total = torch.zeros((), device=batch["hm"].device)
    for name, output in outputs.items():
        total = total + weights[name] * _loss(name, output.float(), batch)
    return total


def probability(logits: Tensor) -> Tensor:
    """Squash the logits, in place, and keep away from 0 and 1."""
    return torch.clamp(logits.sigmoid_(), min=1e-4, max=1 - 1e-4)


def read(output: Tensor, index: Tensor) -> Tensor:
    """Read (B, C, h, w) at the cells (B, N)."""
    rows = output.permute(0, 2, 3, 1).contiguous().flatten(1, 2)
    return rows.gather(1, index.unsqueeze(2).expand(-1, -1, rows.shape[2]))


def _loss(name: str, output: Tensor, batch: dict[str, Any]) -> Tensor:
    if name in ("hm", "hm_hp"):
        keys = ("ind", "cat", "mask") if name == "hm" else ("hp_ind", "joint", "hm_hp_mask")
        return _focal(probability(output), batch[name], *(batch[key] for key in keys))
    if name in ("dep", "dep_sec"):
        name, output = "dep", 1 / (output.sigmoid() + 1e-6) - 1
    values = read(output, batch["hp_ind" if name == "hp_offset" else "ind"])
    if name in ("rot", "rot_sec"):
        return _rotation(values, batch["rotbin"], batch["rotres"], batch["rot_mask"])
    mask = batch[f"{name}_mask"].float()
    if name == "nuscenes_att":
        loss = F.binary_cross_entropy_with_logits(values, batch["nuscenes_att"], reduction="none")
        return (loss * mask).sum() / (mask.sum() + 1e-4)
    return F.l1_loss(values * mask, batch[name] * mask, reduction="sum") / (mask.sum() + 1e-4)


def _focal(probability: Tensor, heatmap: Tensor, index: Tensor, channel: Tensor, mask: Tensor) -> Tensor:
    mask = mask.float()
    weight = torch.pow(1 - heatmap, 4)
    negative = (torch.log(1 - probability) * torch.pow(probability, 2) * weight).sum()
    listed = read(probability, index).gather(2, channel.unsqueeze(2))
    positive = (torch.log(listed) * torch.pow(1 - listed, 2) * mask.unsqueeze(2)).sum()
    objects = mask.sum()
    return -negative if objects == 0 else -(positive + negative) / objects


def _rotation(values: Tensor, bins: Tensor, residuals: Tensor, mask: Tensor) -> Tensor:
    values, bins, residuals, mask = (tensor.flatten(0, 1) for tensor in (values, bins, residuals, mask))
    total = torch.zeros((), device=values.device)
    for number in range(2):
        part = values[:, 4 * number : 4 * number + 4]
        labelled = mask.nonzero()[:, 0]
        total = total + F.cross_entropy(part[labelled, :2], bins[labelled, number])
        if bins[:, number].nonzero().shape[0] > 0:
            inside = bins[:, number].nonzero()[:, 0]
            angle = residuals[inside, number]
            total = total + F.smooth_l1_loss(part[inside, 2], torch.sin(angle))
            total = total + F.smooth_l1_loss(part[inside, 3], torch.cos(angle))
    return total
