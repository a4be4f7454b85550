"""The head of the nuScenes attributes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_centernet.heads.spec import Head, target
from lightning_centernet.losses import attribute_loss
from lightning_centernet.types import Batch, Detections, Tensors


@dataclass(frozen=True, kw_only=True)
class Attributes(Head):
    """`nuscenes_att`: what an object is doing, of the eight attributes of nuScenes (CenterTrack, CenterFusion)."""

    def criterion(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Average the cross entropies of the attributes that the object's kind can have."""
        attributes, mask = (target(batch, self, key, like=prediction) for key in (self.name, f"{self.name}_mask"))
        return attribute_loss(prediction, attributes, mask)

    @property
    def provides(self) -> tuple[str, ...]:
        """The probabilities."""
        return ("attributes",)

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Give the attributes' probabilities, (B, K, 8)."""
        return {"attributes": values.float().sigmoid()}
