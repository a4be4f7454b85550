"""3D boxes in data sets: moving them with their pictures, and checking them against their 2D boxes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_centernet.data.sample import Record
from lightning_centernet.geometry.affine import transform_points
from lightning_centernet.geometry.boxes3d import corners
from lightning_centernet.geometry.camera import mirror_angle, project_boxes

_NEAR = 0.1  # metres: what is closer has no projection


def move_boxes3d(objects: Mapping[str, Tensor], matrix: Tensor) -> dict[str, Tensor]:
    """Move what objects have of 3D boxes with their picture; a mirrored picture shows the mirrored world.

    Args:
        objects: of one picture.
        matrix: (2, 3), the picture's to the warped one's pixels.

    Returns:
        The fields that change.
    """
    moved = {}
    if "amodal_centers" in objects:
        moved["amodal_centers"] = transform_points(objects["amodal_centers"], matrix)
    if torch.linalg.det(matrix[:, :2]) < 0:
        moved |= {name: mirror_angle(objects[name]) for name in ("alpha", "rotation_y") if name in objects}
        sign = torch.tensor([-1.0, 1.0, 1.0])
        moved |= {name: objects[name] * sign for name in ("location", "velocity") if name in objects}
    return moved


def projected_overlaps(record: Record) -> Tensor:
    """Compare 3D boxes, projected, with the 2D boxes of a picture.

    Returns:
        (n,) IoU; NaN for objects without a 3D box, ignored ones, and those that reach behind the camera.
    """
    objects = {name: torch.from_numpy(record.annotations[name]) for name in ("boxes", "ignore")}
    if record.calibration is None or "location" not in record.annotations:
        return torch.full((len(objects["boxes"]),), torch.nan)
    names = ("location", "dimensions", "rotation_y")
    location, dimensions, rotation_y = (torch.from_numpy(record.annotations[name]).double() for name in names)
    pixels = project_boxes(location, dimensions, rotation_y, torch.from_numpy(record.calibration).double())
    hulls = torch.cat([pixels.amin(1), pixels.amax(1)], dim=-1) if len(pixels) else pixels.new_zeros(0, 4)
    behind = (corners(location, dimensions, rotation_y)[..., 2] < _NEAR).any(-1)
    sides = hulls.new_tensor([record.width, record.height]).repeat(2)
    overlaps = _overlaps(hulls.clamp(min=0).minimum(sides), objects["boxes"].double())
    return torch.where(objects["ignore"] | behind, torch.nan, overlaps)


def _overlaps(first: Tensor, second: Tensor) -> Tensor:
    sides = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    common = sides.clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    return common / (areas[0] + areas[1] - common)
