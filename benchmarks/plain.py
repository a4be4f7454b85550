"""A plain eager transcription of CenterTrack's and CenterFusion's loss formulas, as the yardstick of speed."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor


def plain_loss(outputs: dict[str, Tensor], batch: dict[str, Any], weights: dict[str, float]) -> Tensor:
    """Add the weighted losses, head after head, each read through a permuted copy of its map."""
    total = torch.zeros(())
    for name, output in outputs.items():
        total = total + weights[name] * _loss(name, output.float(), batch)
    return total


def _loss(name: str, output: Tensor, batch: dict[str, Any]) -> Tensor:
    if name in ("hm", "hm_hp"):
        keys = ("ind", "cat", "mask") if name == "hm" else ("hp_ind", "joint", "hm_hp_mask")
        return _focal(output, batch[name], *(batch[key] for key in keys))
    values = _read(output, batch["hp_ind" if name == "hp_offset" else "ind"])
    if name in ("rot", "rot_sec"):
        return _rotation(values, batch["rotbin"], batch["rotres"], batch["rot_mask"])
    if name == "nuscenes_att":
        mask = batch["nuscenes_att_mask"]
        loss = F.binary_cross_entropy_with_logits(values, batch["nuscenes_att"], reduction="none")
        return (loss * mask).sum() / (mask.sum() + 1e-4)
    if name in ("dep", "dep_sec"):
        name, values = "dep", 1 / (values.sigmoid() + 1e-6) - 1
    mask = batch[f"{name}_mask"]
    return F.l1_loss(values * mask, batch[name] * mask, reduction="sum") / (mask.sum() + 1e-4)


def _read(output: Tensor, index: Tensor) -> Tensor:
    rows = output.permute(0, 2, 3, 1).contiguous().flatten(1, 2)
    return rows.gather(1, index.unsqueeze(2).expand(-1, -1, rows.shape[2]))


def _focal(logits: Tensor, heatmap: Tensor, index: Tensor, channel: Tensor, mask: Tensor) -> Tensor:
    probability = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    negative = (torch.log(1 - probability) * probability.pow(2) * (1 - heatmap).pow(4)).sum()
    listed = _read(probability, index).gather(2, channel.unsqueeze(2)).squeeze(2)
    positive = (torch.log(listed) * (1 - listed).pow(2) * mask).sum()
    objects = mask.sum()
    return -negative if objects == 0 else -(positive + negative) / objects


def _rotation(values: Tensor, bins: Tensor, residuals: Tensor, mask: Tensor) -> Tensor:
    values, bins, residuals = values.flatten(0, 1), bins.flatten(0, 1), residuals.flatten(0, 1)
    labelled = mask.flatten().nonzero().squeeze(1)
    total = torch.zeros(())
    for number in range(2):
        part = values[:, 4 * number : 4 * number + 4]
        total = total + F.cross_entropy(part[labelled, :2], bins[labelled, number])
        inside = bins[:, number].nonzero().squeeze(1)
        angle = residuals[inside, number]
        total = total + F.smooth_l1_loss(part[inside, 2], angle.sin()) + F.smooth_l1_loss(part[inside, 3], angle.cos())
    return total
