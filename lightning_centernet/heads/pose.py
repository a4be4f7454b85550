"""Heads of the human pose: joints regressed from the centre, and joints as peaks of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.heads.heatmap import Heatmap
from lightning_centernet.heads.objects import Objects
from lightning_centernet.heads.regression import Regression
from lightning_centernet.heads.spec import Location, target, without_encoder
from lightning_centernet.losses import Elementwise, KeypointLoss, Named
from lightning_centernet.types import Batch, Detections, Tensors


@dataclass(frozen=True, kw_only=True)
class Joints(Regression):
    """`hps`: each joint minus the integer centre, in output cells, x before y (CenterNet, section 4.2).

    The loss `oks` takes an object's area from the target of `wh`.
    """

    kinds: ClassVar[tuple[type[Named], ...]] = (Elementwise, KeypointLoss)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: an option has a value that it does not allow, or there is not one sigma for each joint.
        """
        super().__post_init__()
        sigmas = dict(self.compare.options).get("sigmas")
        if isinstance(sigmas, tuple) and 2 * len(sigmas) != self.channels:
            raise UserError(
                f"head `{self.name}`: {len(sigmas)} sigmas do not fit {self.channels} channels, two for each joint: "
                f"set heads.{self.name}.loss.sigmas=[...]"
            )

    def object_losses(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Compare the joints, in proportion to the object's size."""
        wanted = target(batch, self, *self.target_keys, like=prediction)
        mask = target(batch, self, *self.mask_keys)
        visible = (mask if mask.ndim == prediction.ndim else mask.unsqueeze(-1)).expand_as(prediction)
        width, height = target(batch, self, "wh").to(prediction.dtype).unbind(-1)
        joints, wanted_joints, labels = (torch.unflatten(each, -1, (-1, 2)) for each in (prediction, wanted, visible))
        return self.compare(joints, wanted_joints, area=width * height, visible=labels.amax(-1))

    @property
    def provides(self) -> tuple[str, ...]:
        """The joints."""
        return ("keypoints",)

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Place the joints, (B, K, J, 2)."""
        return {"keypoints": torch.unflatten(values, -1, (-1, 2)) + detections["cells"].unsqueeze(2)}


@dataclass(frozen=True, kw_only=True)
class JointHeatmap(Heatmap):
    """`hm_hp`: where each kind of joint is, whomever it belongs to (CenterNet, section 4.2)."""

    @property
    def channels_per_class(self) -> int:
        """None: there is a map for each joint."""
        return 0

    @property
    def positives(self) -> tuple[str, str, str]:
        """Keys of the listed joints' cells, kinds and mask."""
        return "hp_ind", "joint", "hm_hp_mask"

    def encode(self, objects: Objects) -> Tensors:
        """Refuse: joints are not encoded from annotations."""
        raise without_encoder(self.name)


@dataclass(frozen=True, kw_only=True)
class JointOffset(Regression):
    """`hp_offset`: the part of a joint's position that its integer cell loses (CenterNet, section 4.2)."""

    @property
    def at(self) -> Location:
        """The joints."""
        return "joint"

    @property
    def mask_keys(self) -> tuple[str, ...]:
        """Keys of the mask; CenterNet's batches call it `hp_mask`."""
        return ("hp_offset_mask", "hp_mask")

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Add nothing: the offsets belong to joints, not to centres."""
        return {}
