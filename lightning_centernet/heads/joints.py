"""The joints of a batch placed on the output grid: what the encoders of all pose heads share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_centernet.errors import MissingTargetsError, UserError
from lightning_centernet.heads.objects import Objects


@dataclass(frozen=True)
class PlacedJoints:
    """The joints of the objects to learn; slots as in the annotations, then the joints.

    Attributes:
        points: (B, M, J, 2) in output cells; zero where there is none.
        cells: (B, M, J, 2) int64, column and row.
        labelled: (B, M, J) bool, the annotations say where the joint is, be it outside the grid.
        inside: (B, M, J) bool, labelled and on the grid.
        visible: (B, M, J) bool, inside and not hidden by anything.
        index: (B, M * J) int64, the cells as y * w + x; 0 where the joint is not on the grid.
    """

    points: Tensor
    cells: Tensor
    labelled: Tensor
    inside: Tensor
    visible: Tensor
    index: Tensor


def place_joints(objects: Objects, head: str, joints: int | None = None) -> PlacedJoints:
    """Place the annotation field `keypoints`, (B, M, J, 3) x, y and visibility 0, 1 or 2, on the grid.

    Args:
        objects: the objects that the joints belong to.
        head: name of the head that asks, for messages.
        joints: their number, where the head knows it.

    Raises:
        MissingTargetsError: the annotations lack the field.
        UserError: they hold another number of joints.
    """
    if "keypoints" not in objects.annotations:
        raise MissingTargetsError(
            f"head `{head}` needs the annotation field `keypoints`, but the data set gives only "
            f"{', '.join(sorted(objects.annotations))}: name the keypoints in the "
            f"categories of COCO files, bring batches that hold the encoded targets, or remove the head"
        )
    keypoints = objects.annotations["keypoints"].float()
    given = keypoints.shape[2]
    if joints not in (None, given):
        raise UserError(
            f"head `{head}` is made for {joints} joints, but the annotations have {given}: set "
            f"heads.hps.channels={2 * given} and heads.hm_hp.channels={given}"
        )
    grid = objects.grid
    points, visibility = keypoints[..., :2] / grid.stride, keypoints[..., 2]
    labelled = (visibility > 0) & points.isfinite().all(-1) & objects.mask.unsqueeze(-1)
    x, y = points.unbind(-1)
    inside = labelled & (x >= 0) & (x < grid.width) & (y >= 0) & (y < grid.height)
    points = torch.where(labelled.unsqueeze(-1), points, 0.0)
    cells = points.clamp(-1e6, 1e6).floor().long()
    index = (cells[..., 1] * grid.width + cells[..., 0]) * inside
    return PlacedJoints(points, cells, labelled, inside, inside & (visibility > 1), index.flatten(1))
