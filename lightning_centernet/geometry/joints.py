"""Joints of objects and the peaks of joint heat maps: which belongs to which."""

from __future__ import annotations

import torch
from torch import Tensor


def snap_to_peaks(
    joints: Tensor, scores: Tensor, peaks: Tensor, boxes: Tensor, *, max_distance: float | None = None
) -> tuple[Tensor, Tensor]:
    """Move each joint to the nearest peak of its kind, if that lies in the object's box (CenterNet, section 4.2).

    Args:
        joints: (B, K, J, 2), as regressed.
        scores: (B, J, P) of the peaks; those of 0 do not count.
        peaks: (B, J, P, 2).
        boxes: (B, K, 4) around the objects.
        max_distance: how far a joint may move, in longer sides of the box; anywhere in the box, if None.

    Returns:
        The joints (B, K, J, 2), and the scores of their peaks (B, K, J), 0 where a joint stays.
    """
    exact = "donot_use_mm_for_euclid_dist"  # the other way loses digits
    distance = torch.cdist(joints.transpose(1, 2).contiguous(), peaks, compute_mode=exact)  # (B, J, K, P)
    distance = distance.masked_fill(scores.unsqueeze(2) <= 0, torch.inf)
    distance, nearest = (values.transpose(1, 2) for values in distance.min(-1))  # (B, K, J)
    image, kind = (torch.arange(size, device=peaks.device) for size in peaks.shape[:2])
    chosen = image[:, None, None], kind[None, None, :], nearest
    candidates = peaks[chosen]
    low, high = boxes[:, :, None, :2], boxes[:, :, None, 2:]
    reach = torch.inf if max_distance is None else max_distance * (high - low).amax(-1)
    moves = ((candidates >= low) & (candidates <= high)).all(-1) & (distance < torch.inf) & (distance <= reach)
    return torch.where(moves.unsqueeze(-1), candidates, joints), scores[chosen] * moves


def boxes_around(joints: Tensor) -> Tensor:
    """Lay boxes (B, K, 4) round joints (B, K, J, 2), with CenterTrack's margins.

    A quarter of the extent at the left and the top; a quarter of what that makes at the right and the bottom.
    """
    low, high = joints.amin(2), joints.amax(2)
    low = low - 0.25 * (high - low)
    return torch.cat([low, high + 0.25 * (high - low)], dim=-1)
