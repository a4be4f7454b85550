"""Heads of the 3D box: depth, dimensions, projected centre."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lightning_centernet.errors import MissingTargetsError, UserError
from lightning_centernet.geometry.camera import focal_length
from lightning_centernet.heads.objects import Objects
from lightning_centernet.heads.regression import Field, Points, Regression, read_field
from lightning_centernet.heads.spec import target
from lightning_centernet.losses import Elementwise, Named, UncertainLoss, depth_from_logits, full_precision
from lightning_centernet.types import Batch, Detections, Tensors


@dataclass(frozen=True, kw_only=True)
class Depth(Regression):
    """`dep` and `dep_sec`: metres from the camera plane (CenterNet, section 4.1; CenterFusion).

    With more than one channel there is a depth for each class. With the loss `laplace` there are two, the depth and the
    logarithm of its scale. `dep_sec` has no targets of its own, it learns `dep`.

    An object that a crop shows larger looks nearer. So the target is the depth times the annotations' `scale` (B,), the
    extent of the crop relative to the whole picture (CenterTrack); or else what it would be for one common camera.

    Attributes:
        activation: `inverse_sigmoid`, 1 / (sigmoid(x) + 1e-6) - 1, or `linear`, the raw output.
        focal: focal length in input pixels of a common camera: the target is the depth times `focal` over that of the
            annotations' `calibration` (B, 3, 4). One model then serves several cameras.
        rescaled: learn also from crops of another scale; False leaves them out (CenterNet).
    """

    kinds: ClassVar[tuple[type[Named], ...]] = (Elementwise, UncertainLoss)

    activation: Literal["inverse_sigmoid", "linear"] = "inverse_sigmoid"
    focal: float | None = None
    rescaled: bool = True

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: an option has a value that it does not allow, or does not fit the channels.
        """
        super().__post_init__()
        if self.uncertain and self.channels != 2:
            raise UserError(
                f"head `{self.name}` has 2 channels with loss={self.compare.name}, depth and scale, not "
                f"{self.channels}: leave the number out, or set heads.{self.name}.channels=2"
            )
        if self.focal is not None and not 0 < self.focal < math.inf:
            raise UserError(f"head `{self.name}`: focal={self.focal} must be a positive number of pixels, or null")

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

    def encode(self, objects: Objects) -> Tensors:
        """Encode the depths, under the keys that `dep` and `dep_sec` share."""
        return {f"dep{key.removeprefix(self.name)}": values for key, values in super().encode(objects).items()}

    def values(self, objects: Objects) -> tuple[Tensor, Tensor]:
        """Return the depths as they look in the crop; there are none behind the camera."""
        factor = _scale(objects) if self.focal is None else self.focal / focal_length(_calibration(objects, self))
        depth = read_field(objects, "depth", self, channels=1)
        mask = objects.mask & (depth > 0).squeeze(-1)
        return depth * factor[:, None, None], mask if self.rescaled else mask & _whole(objects)

    def activate(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Turn raw outputs into metres, (B, M, 1), those of the object's class."""
        if self.channels > 1:
            prediction = prediction.gather(-1, target(batch, self, "cat").unsqueeze(-1))
        return self.metres(prediction)

    def metres(self, values: Tensor) -> Tensor:
        """Turn raw outputs into metres."""
        return full_precision(values) if self.activation == "linear" else depth_from_logits(values)

    def object_losses(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Compare the depths, each on its own scale."""
        depth = self.metres(prediction[..., :1])
        wanted = target(batch, self, *self.target_keys, like=depth)
        return self.compare(torch.cat([depth, prediction[..., 1:]], dim=-1), wanted).squeeze(-1)

    @property
    def provides(self) -> tuple[str, ...]:
        """The depth, its scale where that is predicted, and the focal length that it is meant for."""
        return ("depth", *["depth_scale"] * self.uncertain, *["focal"] * (self.focal is not None))

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Give each peak the depth of its class; a later depth head replaces the first one's."""
        fields = {} if self.focal is None else {"focal": torch.full_like(detections["scores"], self.focal)}
        if self.uncertain:
            return fields | {"depth": self.metres(values[..., 0]), "depth_scale": values[..., 1].float().exp()}
        if self.channels > 1:
            values = values.gather(-1, detections["labels"].unsqueeze(-1))
        return fields | {"depth": self.metres(values).squeeze(-1)}

    def combine(self, outputs: Tensor) -> Tensor:
        """Average the metres."""
        if self.activation == "linear":
            return super().combine(outputs)
        depths = outputs[:, :, :1] if self.uncertain else outputs
        # They are exp(-x), but for the millionth.
        mean = math.log(len(outputs)) - torch.logsumexp(-depths, dim=0)
        return torch.cat([mean, super().combine(outputs[:, :, depths.shape[2] :])], dim=1)


@dataclass(frozen=True, kw_only=True)
class Dimensions(Field):
    """`dim`: height, width and length in metres (CenterNet, section 4.1).

    Attributes:
        rescaled: learn also from crops of another scale; False leaves them out (CenterNet).
    """

    field: str | None = "dimensions"
    rescaled: bool = True

    def values(self, objects: Objects) -> tuple[Tensor, Tensor]:
        """Return the annotations' numbers, if they are positive."""
        values, mask = super().values(objects)
        mask = mask & (values > 0).all(-1)
        return values, mask if self.rescaled else mask & _whole(objects)


@dataclass(frozen=True, kw_only=True)
class AmodalOffset(Points):
    """`amodel_offset` (the originals' spelling): the projected 3D centre minus the integer 2D centre (CenterTrack).

    Attributes:
        origin: where the offset begins when it is decoded: the `cell`, as it is trained, or the middle of the `box`, as
            in CenterTrack and CenterFusion.
    """

    origin: Literal["cell", "box"] = "cell"

    @property
    def needs(self) -> tuple[str, ...]:
        """The box, if the offset begins there."""
        return ("boxes",) if self.origin == "box" else ()

    @property
    def provides(self) -> tuple[str, ...]:
        """The projected 3D centre."""
        return ("amodal_centers",)

    def values(self, objects: Objects) -> tuple[Tensor, Tensor]:
        """Return the offsets from the integer centres."""
        return read_field(objects, "amodal_centers", self) / objects.grid.stride - objects.cells, objects.mask

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Place the projected 3D centre."""
        if self.origin == "cell":
            return {"amodal_centers": detections["cells"] + values}
        boxes = detections["boxes"]
        return {"amodal_centers": (boxes[..., :2] + boxes[..., 2:]) / 2 + values}


def _scale(objects: Objects) -> Tensor:
    # (B,) of the crops; of annotations that do not say, 1.
    scale = objects.annotations.get("scale")
    return objects.boxes.new_ones(len(objects.boxes)) if scale is None else scale.float()


def _whole(objects: Objects) -> Tensor:
    # (B, 1) bool: the scale is that of the whole picture.
    return ((_scale(objects) - 1).abs() < 1e-6).unsqueeze(-1)


def _calibration(objects: Objects, head: Depth) -> Tensor:
    if "calibration" not in objects.annotations:
        raise MissingTargetsError(
            f"head `{head.name}` with focal={head.focal} needs each image's `calibration` (B, 3, 4), which the data "
            f"set does not give: bring it, or leave heads.{head.name}.focal out"
        )
    return objects.annotations["calibration"].float()
