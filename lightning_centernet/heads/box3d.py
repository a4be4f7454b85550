"""Heads of the 3D box: depth, dimensions, observation angle, projected centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.heads.regression import Field, Regression
from lightning_centernet.heads.spec import Head, target
from lightning_centernet.losses import (
    Contribution,
    Elementwise,
    Named,
    RotationAverage,
    UncertainLoss,
    depth_from_logits,
    object_average,
    rotation_terms,
    sin_cos_loss,
)
from lightning_centernet.types import Batch, Detections, Tensors


@dataclass(frozen=True, kw_only=True)
class Depth(Regression):
    """`dep` and `dep_sec`: metres from the camera plane (CenterNet, section 4.1; CenterFusion).

    With more than one channel there is a depth for each class. With the loss `laplace` there are two, the depth and the
    logarithm of its scale. `dep_sec` has no targets of its own, it learns `dep`.

    Attributes:
        activation: `inverse_sigmoid`, 1 / (sigmoid(x) + 1e-6) - 1, or `linear`, the raw output.
    """

    kinds: ClassVar[tuple[type[Named], ...]] = (Elementwise, UncertainLoss)

    activation: Literal["inverse_sigmoid", "linear"] = "inverse_sigmoid"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: an option has a value that it does not allow, or does not fit the channels.
        """
        super().__post_init__()
        if self.uncertain and self.channels != 2:
            raise UserError(
                f"head `{self.name}` has 2 channels with loss={self.compare.name}, depth and scale, not "
                f"{self.channels}: leave the number out"
            )

    @property
    def uncertain(self) -> bool:
        """Whether the head says how sure it is."""
        return isinstance(self.compare, UncertainLoss)

    @property
    def channels_per_class(self) -> int:
        """A depth for each class, or one for all."""
        return int(self.channels > 1 and not self.uncertain)

    @property
    def target_keys(self) -> tuple[str, ...]:
        """Key of the target."""
        return ("dep",)

    @property
    def mask_keys(self) -> tuple[str, ...]:
        """Keys of the mask."""
        return (self.mask,) if self.mask else ("dep_mask", "reg_mask")

    def activate(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Turn raw outputs into metres, (B, M, 1), those of the object's class."""
        if self.channels > 1:
            prediction = prediction.gather(-1, target(batch, self, "cat").unsqueeze(-1))
        return self.metres(prediction)

    def metres(self, values: Tensor) -> Tensor:
        """Turn raw outputs into metres."""
        return values.float() if self.activation == "linear" else depth_from_logits(values)

    def object_losses(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Compare the depths, each on its own scale."""
        depth = self.metres(prediction[..., :1])
        wanted = target(batch, self, *self.target_keys, like=depth)
        return self.compare(torch.cat([depth, prediction[..., 1:]], dim=-1), wanted).squeeze(-1)

    @property
    def provides(self) -> tuple[str, ...]:
        """The depth, and its scale where that is predicted."""
        return ("depth", "depth_scale") if self.uncertain else ("depth",)

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Give each peak the depth of its class; a later depth head replaces the first one's."""
        if self.uncertain:
            return {"depth": self.metres(values[..., 0]), "depth_scale": values[..., 1].float().exp()}
        if self.channels > 1:
            values = values.gather(-1, detections["labels"].unsqueeze(-1))
        return {"depth": self.metres(values).squeeze(-1)}


@dataclass(frozen=True, kw_only=True)
class Dimensions(Field):
    """`dim`: height, width and length in metres (CenterNet, section 4.1)."""

    field: str | None = "dimensions"


@dataclass(frozen=True, kw_only=True)
class Rotation(Head):
    """`rot` and `rot_sec`: the observation angle in two bins, 8 channels (CenterNet, section 4.1; CenterFusion).

    `rot_sec` has no targets of its own, it learns `rot`.

    Attributes:
        loss: of the `bins`; or `sin_cos`, two channels for the sine and the cosine of the angle (CenterPoint).
        average: cross entropy over `labelled` objects (CenterFusion) or over all `slots` (CenterNet, CenterTrack).
    """

    loss: Literal["bins", "sin_cos"] = "bins"
    average: RotationAverage = "labelled"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: an option has a value that it does not allow, or does not fit the channels.
        """
        super().__post_init__()
        wanted = 2 if self.loss == "sin_cos" else 8
        if self.channels != wanted:
            raise UserError(
                f"head `{self.name}` has {wanted} channels with loss={self.loss}, not {self.channels}: leave the "
                f"number out"
            )

    @property
    def target_keys(self) -> tuple[str, ...]:
        """Key of the target."""
        return ("rotbin",)

    def criterion(self, prediction: Tensor, batch: Batch) -> Sequence[Contribution]:
        """Add the losses of the bins and of the angles inside them, or compare sines and cosines."""
        bins, residuals, mask = (target(batch, self, key) for key in ("rotbin", "rotres", "rot_mask"))
        if self.loss == "sin_cos":
            angle = torch.where(bins[..., 0] > 0, residuals[..., 0] - torch.pi / 2, residuals[..., 1] + torch.pi / 2)
            losses = sin_cos_loss(prediction, angle, reduction="none")
            return [object_average(losses, mask, all_slots=self.average == "slots")]
        return rotation_terms(prediction, bins, residuals, mask, average=self.average)

    @property
    def provides(self) -> tuple[str, ...]:
        """The observation angle."""
        return ("alpha",)

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Take the angle from the likelier bin; a later rotation head replaces the first one's."""
        if self.loss == "sin_cos":
            return {"alpha": torch.atan2(values[..., 0].float(), values[..., 1].float())}
        bins = torch.unflatten(values.float(), -1, (2, 4))
        centers = torch.arange(2, device=values.device) * torch.pi - torch.pi / 2
        angles = torch.atan2(bins[..., 2], bins[..., 3]) + centers
        # The originals compare the two `inside` logits only.
        likelier = bins[..., 1].argmax(-1, keepdim=True)
        return {"alpha": angles.gather(-1, likelier).squeeze(-1)}


@dataclass(frozen=True, kw_only=True)
class AmodalOffset(Regression):
    """`amodel_offset` (the originals' spelling): the projected 3D centre minus the integer 2D centre (CenterTrack)."""

    @property
    def provides(self) -> tuple[str, ...]:
        """The projected 3D centre."""
        return ("amodal_centers",)

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Place the projected 3D centre; relative to the cell, as it is trained."""
        return {"amodal_centers": detections["cells"] + values}
