"""Heads that regress numbers at an object's centre."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_centernet.errors import MissingTargetsError, UserError
from lightning_centernet.geometry.mirror import mirror_points
from lightning_centernet.heads.objects import Objects
from lightning_centernet.heads.spec import Head, Location, target, without_encoder
from lightning_centernet.losses import (
    Average,
    Contribution,
    Elementwise,
    Named,
    named_loss,
    object_average,
    regression_terms,
)
from lightning_centernet.types import Batch, Detections, Tensors


@dataclass(frozen=True, kw_only=True)
class Regression(Head):
    """Regress `channels` numbers at the centre of each object.

    The batch holds `<name>` (B, M, channels) and `<name>_mask`, of the same shape or (B, M); `reg_mask` serves all
    heads, as in CenterNet's batches.

    Attributes:
        loss: name of the elementwise loss, or a mapping of its `name` and its options (docs/losses.md).
        average: what to divide by; labelled `objects` for smooth L1, as in CenterNet, and where a loss compares whole
            objects; labelled `elements` otherwise.
        mask: key of the mask, if not one of the above.
        dense: supervise the whole peak of an object from `dense_<name>` and `dense_<name>_mask`, (B, channels, h, w).
    """

    kinds: ClassVar[tuple[type[Named], ...]] = (Elementwise,)

    loss: str | Mapping[str, Any] = "l1"
    average: Average | None = None
    mask: str | None = None
    dense: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: an option has a value that it does not allow.
        """
        super().__post_init__()
        compare = self.compare
        if self.dense and not isinstance(compare, Elementwise):
            raise UserError(f"head `{self.name}`: loss={compare.name} compares objects: drop dense=true")

    @cached_property
    def compare(self) -> Named:
        """The loss."""
        try:
            return named_loss(self.loss, *self.kinds)
        except UserError as error:
            raise UserError(f"head `{self.name}`: {error}") from None

    @property
    def at(self) -> Location:
        """The centres, or the whole map where it is dense."""
        return "map" if self.dense else "center"

    @property
    def prefix(self) -> str:
        """What the keys of target and mask begin with, where there is not one row of numbers for each object."""
        return "dense_" if self.dense else ""

    @property
    def target_keys(self) -> tuple[str, ...]:
        """Keys of the target, the first that exists is used."""
        return (f"{self.prefix}{self.name}",)

    @property
    def mask_keys(self) -> tuple[str, ...]:
        """Keys of the mask, the first that exists is used: the head's own, or one that serves several."""
        return (self.mask,) if self.mask else (f"{self.prefix}{self.name}_mask", f"{self.prefix or 'reg_'}mask")

    def criterion(self, prediction: Tensor, batch: Batch) -> Tensor | Sequence[Contribution]:
        """Average the loss over the labelled values, or objects."""
        mask = target(batch, self, *self.mask_keys)
        if not isinstance(self.compare, Elementwise):
            return [object_average(self.object_losses(prediction, batch), mask, all_slots=self.average == "slots")]
        values = self.activate(prediction, batch)
        wanted = target(batch, self, *self.target_keys, like=values)
        usual: Average = "objects" if self.compare.name == "smooth_l1" else "elements"
        return regression_terms(values, wanted, mask, loss=self.compare, average=self.average or usual)

    def object_losses(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of each object, (B, M), for the kinds of losses that compare whole objects."""
        raise NotImplementedError

    def activate(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Turn raw outputs into the physical values that the targets hold."""
        return prediction

    def encode(self, objects: Objects) -> Tensors:
        """Encode each object's numbers, leaving out those that are NaN."""
        values, labelled = self.values(objects)
        labelled = (labelled & values.isfinite().all(-1)).unsqueeze(-1)
        values = torch.where(labelled, values, 0.0)
        return {self.name: values, f"{self.name}_mask": labelled.float().expand_as(values)}

    def values(self, objects: Objects) -> tuple[Tensor, Tensor]:
        """Return each object's numbers, (B, M, channels), and which objects have them, (B, M) bool.

        Raises:
            UserError: they cannot be made from annotations.
        """
        raise without_encoder(self.name)


@dataclass(frozen=True, kw_only=True)
class Points(Regression):
    """Regress points, x before y, relative to the corner of the cell that they are read at."""

    def mirror(self, output: Tensor, joints: Sequence[int]) -> Tensor:
        """Count from the other side of the cell."""
        return mirror_points(output)


@dataclass(frozen=True, kw_only=True)
class Field(Regression):
    """Regress a numeric field of the annotations: a head that needs no code, only its name and channels.

    Attributes:
        field: key of the annotations, (B, M) or (B, M, channels), and of the detections; the head's name unless given.
    """

    field: str | None = None

    @property
    def key(self) -> str:
        """Where annotations and detections hold the numbers."""
        return self.field or self.name

    @property
    def provides(self) -> tuple[str, ...]:
        """The field."""
        return (self.key,)

    def values(self, objects: Objects) -> tuple[Tensor, Tensor]:
        """Return the annotations' numbers.

        Raises:
            UserError: the annotations lack the field, or it has another number of values per object.
        """
        return read_field(objects, self.key, self), objects.mask

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Hand the numbers on."""
        return {self.key: values}


def read_field(objects: Objects, key: str, head: Head, channels: int | None = None) -> Tensor:
    """Take a field of the annotations, (B, M, channels) float32; as many channels as the head has, unless given.

    Raises:
        UserError: the annotations lack the field, or it has another number of values per object.
    """
    if key not in objects.annotations:
        raise MissingTargetsError(
            f"head `{head.name}` needs the annotation field `{key}`, but the data set gives only "
            f"{', '.join(sorted(objects.annotations))}: read it (`data.fields=[{key}]` for COCO files), bring "
            f"batches that hold the encoded target `{head.target_keys[0]}`, or remove the head"
        )
    values = objects.annotations[key].float()
    values = values if values.ndim == 3 else values.unsqueeze(-1)
    if values.shape[-1] != (channels or head.channels):
        raise UserError(
            f"head `{head.name}` has {channels or head.channels} channels, but the annotation field `{key}` has "
            f"{values.shape[-1]} numbers per object: set heads.{head.name}.channels={values.shape[-1]}"
        )
    return values
