"""The focal loss as the papers write it, in float64."""

from __future__ import annotations

import torch

LOWEST, HIGHEST = float(torch.tensor(1e-4)), float(1 - torch.tensor(1e-4))  # the originals clamp in float32


def slow_focal(logits, heatmap, positives, alpha=2.0, beta=4.0, clamp=True):
    """CornerNet's eq. 1; each position (b, c, y, x) that is listed is a positive, no cell equal to 1 a negative.

    Without `clamp` the gradient by a probability out of bounds is that at the bound.
    """
    limited = torch.sigmoid(logits).clamp(LOWEST, HIGHEST)
    if not clamp:
        limited = torch.sigmoid(logits + (limited.logit() - logits).detach())
    negative = heatmap < 1
    p, y = limited[negative], heatmap[negative].double()
    total = ((1 - y) ** beta * p**alpha * -torch.log(1 - p)).sum()
    for position in positives:
        p = limited[tuple(position)]
        total = total - (1 - p) ** alpha * torch.log(p)
    return total / max(len(positives), 1)


def positions(index, channel, mask, width):
    """List the objects' (b, c, y, x)."""
    return [
        (b, int(channel[b, m]), int(index[b, m]) // width, int(index[b, m]) % width)
        for b, m in torch.cartesian_prod(*(torch.arange(side) for side in mask.shape)).tolist()
        if mask[b, m]
    ]
