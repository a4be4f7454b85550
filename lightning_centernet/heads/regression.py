"""Heads that regress numbers at an object's centre."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.heads.objects import Objects
from lightning_centernet.heads.spec import Head, Location, target
from lightning_centernet.losses import Average, Elementwise, regression_loss
from lightning_centernet.types import Batch, Detections, Tensors


@dataclass(frozen=True, kw_only=True)
class Regression(Head):
    """Regress `channels` numbers at the centre of each object.

    On its own it is a complete head for any numeric field of the annotations. The batch holds `<name>` (B, M, channels)
    and `<name>_mask`, of the same shape or (B, M); `reg_mask` serves all heads, as in CenterNet's batches.

    Attributes:
        loss_name: the elementwise loss.
        average: what to divide by; labelled `objects` for smooth L1, as in CenterNet, labelled `elements` otherwise.
        mask: key of the mask, if not one of the above.
        dense: supervise the whole peak of an object from `dense_<name>` and `dense_<name>_mask`, (B, channels, h, w).
        field: key of the annotations and of the detections that holds the numbers; the head's name unless given.
    """

    loss_name: Elementwise = "l1"
    average: Average | None = None
    mask: str | None = None
    dense: bool = False
    field: str | None = None

    @property
    def at(self) -> Location:
        """The centres, or the whole map where it is dense."""
        return "map" if self.dense else "center"

    @property
    def target_keys(self) -> tuple[str, ...]:
        """Keys of the target, the first that exists is used."""
        return (f"dense_{self.name}",) if self.dense else (self.name,)

    @property
    def mask_keys(self) -> tuple[str, ...]:
        """Keys of the mask, the first that exists is used."""
        if self.mask:
            return (self.mask,)
        return (f"dense_{self.name}_mask",) if self.dense else (f"{self.name}_mask", "reg_mask")

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Average the elementwise loss over the labelled values."""
        return regression_loss(
            self.activate(prediction, batch),
            target(batch, self, *self.target_keys),
            target(batch, self, *self.mask_keys),
            loss=self.loss_name,
            average=self.average or ("objects" if self.loss_name == "smooth_l1" else "elements"),
        )

    def activate(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Turn raw outputs into the physical values that the targets hold."""
        return prediction

    def encode(self, objects: Objects) -> Tensors:
        """Copy the annotations' field, leaving out objects where it is NaN."""
        values, labelled = self.values(objects)
        labelled = (labelled & values.isfinite().all(-1)).unsqueeze(-1)
        values = torch.where(labelled, values, 0.0)
        return {self.name: values, f"{self.name}_mask": labelled.float().expand_as(values)}

    def values(self, objects: Objects) -> tuple[Tensor, Tensor]:
        """Return each object's numbers, (B, M, channels), and which objects have them, (B, M) bool."""
        field = self.field or self.name
        if field not in objects.annotations:
            raise UserError(
                f"head `{self.name}` needs the annotation field `{field}`, but the data set gives only "
                f"{', '.join(sorted(objects.annotations))}: read it (`data.fields=[{field}]` for COCO files), or bring "
                f"batches that hold the encoded target `{self.name}`, or remove the head"
            )
        values = objects.annotations[field].float()
        values = values if values.ndim == 3 else values.unsqueeze(-1)
        if values.shape[-1] != self.channels:
            raise UserError(
                f"head `{self.name}` has {self.channels} channels, but the annotation field `{field}` has "
                f"{values.shape[-1]} numbers per object: set heads.{self.name}.channels={values.shape[-1]}"
            )
        return values, objects.mask

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Hand the values on under the field's name."""
        return {self.field or self.name: values}
