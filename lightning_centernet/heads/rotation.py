"""The head of the observation angle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.geometry.camera import LARGEST_ANGLE
from lightning_centernet.geometry.mirror import negate
from lightning_centernet.heads.objects import Objects
from lightning_centernet.heads.regression import read_field
from lightning_centernet.heads.spec import Head, target
from lightning_centernet.losses import Contribution, RotationAverage, object_average, rotation_terms, sin_cos_loss
from lightning_centernet.types import Batch, Detections, Tensors


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
                f"number out, or set heads.{self.name}.channels={wanted}"
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

    def encode(self, objects: Objects) -> Tensors:
        """Encode the angles in [-pi, pi], under the keys that `rot` and `rot_sec` share."""
        alpha = read_field(objects, "alpha", self, channels=1).squeeze(-1)
        mask = objects.mask & (alpha.abs() <= LARGEST_ANGLE)
        bins, residuals = encode_rotation(alpha)
        bins, residuals = bins * mask.unsqueeze(-1), torch.where(mask.unsqueeze(-1), residuals, 0.0)
        return {"rotbin": bins, "rotres": residuals, "rot_mask": mask.float()}

    @property
    def provides(self) -> tuple[str, ...]:
        """The observation angle."""
        return ("alpha",)

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Take the angle from the likelier bin; a later rotation head replaces the first one's."""
        if self.loss == "sin_cos":
            return {"alpha": torch.atan2(values[..., 0].float(), values[..., 1].float())}
        bins = torch.unflatten(values.float(), -1, (2, 4))
        first, second = torch.atan2(bins[..., 2], bins[..., 3]).unbind(-1)
        # The originals compare the two `inside` logits only; of equal ones they take the second.
        inside = bins[..., 0, 1] > bins[..., 1, 1]
        return {"alpha": torch.where(inside, first - torch.pi / 2, second + torch.pi / 2)}

    def mirror(self, output: Tensor, joints: Sequence[int]) -> Tensor:
        """Turn the angle to pi minus it: it stays in its bin, as far from the middle on the other side."""
        return negate(output, 1) if self.loss == "sin_cos" else negate(output, 2, 6)


def encode_rotation(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Put angles into two bins that overlap by 60 degrees on both sides.

    Args:
        alpha: (...) radians in [-pi, pi].

    Returns:
        (..., 2) int64, 1 where the angle is in the bin, about -pi / 2 and about pi / 2; and (..., 2), how far the angle
        lies beyond the middle of each bin that it is in.
    """
    edge = torch.pi / 6
    first = (alpha < edge) | (alpha > torch.pi - edge)
    second = (alpha > -edge) | (alpha < edge - torch.pi)
    bins = torch.stack([first, second], dim=-1)
    residuals = torch.stack([alpha + torch.pi / 2, alpha - torch.pi / 2], dim=-1)
    return bins.long(), torch.where(bins, residuals, 0.0)
