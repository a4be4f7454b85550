"""Heads of the human pose: joints regressed from the centre, and joints as peaks of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.geometry.gather import gather
from lightning_centernet.geometry.gaussian import gaussian_rows
from lightning_centernet.geometry.joints import boxes_around, snap_to_peaks
from lightning_centernet.geometry.mirror import reorder
from lightning_centernet.geometry.peaks import highest_peaks
from lightning_centernet.geometry.regions import fill_boxes
from lightning_centernet.heads.heatmap import Heatmap
from lightning_centernet.heads.joints import PlacedJoints, place_joints
from lightning_centernet.heads.objects import Objects
from lightning_centernet.heads.regression import Points
from lightning_centernet.heads.spec import Location, raw_output, target
from lightning_centernet.losses import Elementwise, KeypointLoss, Named
from lightning_centernet.types import Batch, Detections, Outputs, Tensors

Hidden = Literal["ignored", "learned"]


@dataclass(frozen=True, kw_only=True)
class Joints(Points):
    """`hps`: each joint minus the integer centre, in output cells, x before y (CenterNet, section 4.2).

    The loss `oks` takes an object's area from the target of `wh`. Joints outside the image are not learned. The batch
    also gets `has_joints` (B, M), the objects that have labelled joints: with `heads.wh.mask=has_joints` only these
    train their boxes, as in CenterNet.
    """

    kinds: ClassVar[tuple[type[Named], ...]] = (Elementwise, KeypointLoss)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: an option has a value that it does not allow, or there is not one sigma for each joint.
        """
        super().__post_init__()
        if self.channels % 2:
            raise UserError(f"head `{self.name}`: {self.channels} channels are not two for each joint")
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

    def encode(self, objects: Objects) -> Tensors:
        """Encode each joint on the grid, whether it is visible or hidden, at the centre or over the object's peak."""
        joints = place_joints(objects, self.name, self.channels // 2)
        targets = _dense(self.name, objects, joints) if self.dense else _sparse(self.name, objects, joints)
        return targets | {"has_joints": joints.labelled.any(-1).float()}

    @property
    def provides(self) -> tuple[str, ...]:
        """The joints, and how sure they are."""
        return ("keypoints", "keypoint_scores")

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Place the joints, (B, K, J, 2); each has the score of its object."""
        joints = torch.unflatten(values, -1, (-1, 2)) + detections["cells"].unsqueeze(2)
        return {"keypoints": joints, "keypoint_scores": detections["scores"].unsqueeze(-1).expand(joints.shape[:-1])}

    def mirror(self, output: Tensor, joints: Sequence[int]) -> Tensor:
        """Mirror the joints; left and right change places."""
        _check_mirror(self.name, self.channels // 2, joints)
        return reorder(super().mirror(output, joints), [2 * joint + axis for joint in joints for axis in (0, 1)])


def _sparse(name: str, objects: Objects, joints: PlacedJoints) -> Tensors:
    inside = joints.inside.unsqueeze(-1)
    offsets = torch.where(inside, joints.points - objects.cells.unsqueeze(2), 0.0)
    return {name: offsets.flatten(2), f"{name}_mask": inside.float().expand_as(offsets).flatten(2)}


def _dense(name: str, objects: Objects, joints: PlacedJoints) -> Tensors:
    shape = (objects.grid.height, objects.grid.width)
    deviation = (2 * objects.radii.double() + 1) / 6
    rows = gaussian_rows(objects.cells, objects.radii, deviation, shape).flatten(2)
    # Drawn one after another: an object takes a cell where its peak reaches the highest of those before it.
    before = F.pad(rows.float().cummax(dim=1).values, (0, 0, 1, 0))[:, :-1]
    taken = (rows > 0) & (rows >= before)
    number = torch.arange(1, rows.shape[1] + 1, device=rows.device)[:, None]
    cells = torch.arange(rows.shape[2], device=rows.device)
    here = torch.stack([cells % shape[1], cells // shape[1]], dim=-1)
    values, masks = [], []
    for joint in range(joints.points.shape[2]):
        inside = joints.inside[:, :, joint, None]
        owner = (taken & inside).mul(number).amax(1).unsqueeze(-1)
        points = F.pad(joints.points[:, :, joint], (0, 0, 1, 0)).gather(1, owner.expand(-1, -1, 2))
        values.append(torch.where(owner > 0, points - here, 0.0).mT)
        masks.append((rows * inside).float().amax(1, keepdim=True).expand(-1, 2, -1))
    dense, mask = (torch.unflatten(torch.cat(parts, dim=1), 2, shape) for parts in (values, masks))
    return {f"dense_{name}": dense, f"dense_{name}_mask": mask}


@dataclass(frozen=True, kw_only=True)
class JointHeatmap(Heatmap):
    """`hm_hp`: where each kind of joint is, whomever it belongs to (CenterNet, section 4.2).

    Regressed joints move to its peaks. The defaults are CenterTrack's, with CenterNet's in brackets.

    Attributes:
        hidden: joints that something hides, of visibility 1, count neither way (or are `learned` like visible ones).
        unlabelled: the whole box of an object counts neither way for its joints that are not labelled (or is
            `background` but for the labelled ones).
        threshold: least score of a peak, 0.2 (0.1).
        max_distance: how far a joint may move to a peak, in longer sides of the box; anywhere in the box (0.3).
        offset: what places a peak in its cell where there is no `hp_offset`: the head `reg` (or the cell's `middle`).
    """

    hidden: Hidden = "ignored"
    unlabelled: Literal["ignored", "background"] = "ignored"
    threshold: float = 0.2
    max_distance: float | None = None
    offset: Literal["reg", "middle"] = "reg"

    @property
    def channels_per_class(self) -> int:
        """None: there is a map for each joint."""
        return 0

    @property
    def positives(self) -> tuple[str, str, str]:
        """Keys of the listed joints' cells, kinds and mask."""
        return "hp_ind", "joint", "hm_hp_mask"

    def encode(self, objects: Objects) -> Tensors:
        """Draw a peak for each joint, and keep the loss away from where nobody knows whether there are joints."""
        joints = place_joints(objects, self.name, self.channels)
        learned = joints.inside if self.hidden == "learned" else joints.visible
        level = 0.9999 if self.focal == "dense" else 1.0
        unknown = objects.ignored.unsqueeze(-1).expand_as(learned)
        if self.unlabelled == "ignored":
            unknown = unknown | (objects.mask.unsqueeze(-1) & ~joints.labelled)
        kinds = torch.arange(self.channels, device=learned.device).expand_as(learned).flatten(1)
        boxes, radii = (each.repeat_interleave(self.channels, dim=1) for each in (objects.boxes.long(), objects.radii))
        heatmap, cells = objects.blank(self.channels), joints.cells.flatten(1, 2)
        self.draw(heatmap, cells, kinds, radii, (joints.inside & ~learned).flatten(1))
        if level < 1:
            heatmap.clamp_(max=level)
        self.draw(heatmap, cells, kinds, radii, learned.flatten(1))
        fill_boxes(heatmap, boxes, kinds, unknown.flatten(1), level)
        return {
            self.name: heatmap,
            "hp_ind": joints.index,
            "joint": kinds * joints.inside.flatten(1),
            "hm_hp_mask": learned.flatten(1).float(),
        }

    @property
    def needs(self) -> tuple[str, ...]:
        """The regressed joints, which say whose a peak is."""
        return ("keypoints",)

    @property
    def uses(self) -> tuple[str, ...]:
        """The box, in which all joints of an object must lie."""
        return ("boxes",)

    @property
    def provides(self) -> tuple[str, ...]:
        """The joints, and how sure they are."""
        return ("keypoints", "keypoint_scores")

    def decode_outputs(self, outputs: Outputs, index: Tensor, detections: Detections) -> Tensors:
        """Move the regressed joints to the nearest peaks; these have the peaks' scores, the others their object's."""
        scores, peaks = self._find_peaks(outputs, index.shape[1])
        joints = detections["keypoints"]
        boxes = detections["boxes"] if "boxes" in detections else boxes_around(joints)
        joints, found = snap_to_peaks(joints, scores, peaks, boxes, max_distance=self.max_distance)
        return {"keypoints": joints, "keypoint_scores": torch.where(found > 0, found, detections["keypoint_scores"])}

    def _find_peaks(self, outputs: Outputs, k: int) -> tuple[Tensor, Tensor]:
        """Find the `k` best peaks of each joint: scores (B, J, k), 0 below the threshold, and places (B, J, k, 2)."""
        maps = raw_output(outputs, self)
        logits, index = highest_peaks(maps.flatten(0, 1).unsqueeze(1), k)
        scores = logits.sigmoid() * (logits.sigmoid() > self.threshold)
        index = torch.unflatten(index, 0, maps.shape[:2])
        cells = torch.stack([index % maps.shape[3], index // maps.shape[3]], dim=-1).float()
        name = "hp_offset" if "hp_offset" in outputs else self.offset
        if name not in outputs:
            return scores.view(index.shape), cells + 0.5
        offsets = gather(outputs[name], index.flatten(1)).float()
        return scores.view(index.shape), cells + offsets.view_as(cells)

    def mirror(self, output: Tensor, joints: Sequence[int]) -> Tensor:
        """Let left and right change places."""
        _check_mirror(self.name, self.channels, joints)
        return reorder(output, joints)


@dataclass(frozen=True, kw_only=True)
class JointOffset(Points):
    """`hp_offset`: the part of a joint's position that its integer cell loses (CenterNet, section 4.2).

    Attributes:
        hidden: joints that something hides, of visibility 1, are `ignored` (CenterTrack) or `learned` (CenterNet).
    """

    hidden: Hidden = "ignored"

    @property
    def at(self) -> Location:
        """The joints."""
        return "joint"

    @property
    def mask_keys(self) -> tuple[str, ...]:
        """Keys of the mask; CenterNet's batches call it `hp_mask`."""
        return ("hp_offset_mask", "hp_mask")

    def encode(self, objects: Objects) -> Tensors:
        """Encode the fraction of each joint on the grid."""
        joints = place_joints(objects, self.name)
        learned = (joints.inside if self.hidden == "learned" else joints.visible).unsqueeze(-1)
        offsets = torch.where(joints.inside.unsqueeze(-1), joints.points - joints.cells, 0.0)
        mask = learned.float().expand_as(offsets)
        return {self.name: offsets.flatten(1, 2), "hp_offset_mask": mask.flatten(1, 2), "hp_ind": joints.index}


def _check_mirror(head: str, count: int, joints: Sequence[int]) -> None:
    if len(joints) != count:
        raise UserError(
            f"head `{head}` has {count} joints, but nothing says which of them change places in a mirror: give the "
            f"model its skeleton, such as {{'names': ['left_eye', 'right_eye', ...]}}, or do not flip"
        )
