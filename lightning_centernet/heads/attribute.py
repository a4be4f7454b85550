"""The head of the nuScenes attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_centernet.heads.objects import Objects
from lightning_centernet.heads.regression import read_field
from lightning_centernet.heads.spec import Head, mean_probability, target
from lightning_centernet.losses import Contribution, attribute_terms
from lightning_centernet.types import Batch, Detections, Tensors

_KINDS = [2, 3, 3]  # attributes of cycles, of pedestrians, of vehicles


@dataclass(frozen=True, kw_only=True)
class Attributes(Head):
    """`nuscenes_att`: what an object is doing, of the eight attributes of nuScenes (CenterTrack, CenterFusion)."""

    @property
    def target_keys(self) -> tuple[str, ...]:
        """Key of the target."""
        return (self.name,)

    def encode(self, objects: Objects) -> Tensors:
        """Encode the attribute that each object has; what its kind of object cannot have is masked."""
        attributes = read_field(objects, "attributes", self)
        known = (objects.mask & attributes.isfinite().all(-1)).unsqueeze(-1)
        attributes = torch.where(known, attributes, 0.0)
        kinds = [part.amax(-1, keepdim=True).expand_as(part) for part in torch.split(attributes, _KINDS, dim=-1)]
        return {self.name: attributes, f"{self.name}_mask": torch.cat(kinds, dim=-1)}

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

    def combine(self, outputs: Tensor) -> Tensor:
        """Average the probabilities."""
        return mean_probability(outputs)
