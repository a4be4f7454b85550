"""Loss of the nuScenes attributes."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor


def attribute_loss(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Average the binary cross entropy over the labelled attributes (CenterTrack, CenterFusion).

    Args:
        logits: (B, M, A) raw scores of the A attributes at the objects.
        target: (B, M, A), 1 for the attribute that an object has.
        mask: (B, M, A), 1 for the attributes that its kind of object can have.

    Returns:
        A float32 scalar; zero when nothing is labelled.
    """
    weight = mask.float()
    loss = F.binary_cross_entropy_with_logits(logits.float(), target.float(), weight=weight, reduction="sum")
    return loss / (weight.sum() + 1e-4)
