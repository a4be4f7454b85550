"""The head of the nuScenes attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lightning_centernet.heads.spec import Head, target
from lightning_centernet.losses import Contribution, attribute_terms
from lightning_centernet.types import Batch, Detections, Tensors


@dataclass(frozen=True, kw_only=True)
class Attributes(Head):
    """`nuscenes_att`: what an object is doing, of the eight attributes of nuScenes (CenterTrack, CenterFusion)."""

    @property
    def target_keys(self) -> tuple[str, ...]:
        """Key of the target."""
        return (self.name,)

    def criterion(self, prediction: Tensor, batch: Batch) -> Sequence[Contribution]:
        """Average the cross entropies of the attributes that the object's kind can have."""
        attributes, mask = (target(batch, self, key, like=prediction) for key in (self.name, f"{self.name}_mask"))
        return attribute_terms(prediction, attributes, mask)

    @property
    def provides(self) -> tuple[str, ...]:
        """The probabilities."""
        return ("attributes",)

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Give the attributes' probabilities, (B, K, 8)."""
        return {"attributes": values.float().sigmoid()}
