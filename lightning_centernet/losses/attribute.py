"""Loss of the nuScenes attributes."""

from __future__ import annotations

from torch import Tensor

from lightning_centernet.losses.classification import cross_entropy
from lightning_centernet.losses.precision import full_precision
from lightning_centernet.losses.regression import EPSILON
from lightning_centernet.losses.terms import Term, average


def attribute_loss(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Average `attribute_terms`; zero when nothing is labelled."""
    return average([attribute_terms(logits, target, mask)])[0]


def attribute_terms(logits: Tensor, target: Tensor, mask: Tensor) -> list[Term]:
    """Compare the labelled attributes by binary cross entropies (CenterTrack, CenterFusion).

    Args:
        logits: (B, M, A) raw scores of the A attributes at the objects.
        target: (B, M, A), 1 for the attribute that an object has.
        mask: (B, M, A), 1 for the attributes that its kind of object can have.
    """
    return [Term(cross_entropy, full_precision(logits), full_precision(target), mask, epsilon=EPSILON)]
