"""3D boxes in data sets: moving them with their pictures, and checking them against their 2D boxes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_centernet.data.sample import Sample
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


def projected_overlaps(sample: Sample) -> Tensor:
    """Compare 3D boxes, projected, with the 2D boxes of a picture: where they differ, the calibration is wrong.

    Returns:
        (n,) IoU; NaN for objects without a 3D box, ignored ones, and those that reach behind the camera.
    """
    objects = {name: torch.from_numpy(column) for name, column in sample.annotations.items()}
    if sample.calibration is None or "location" not in objects:
        return torch.full((len(objects["boxes"]),), torch.nan)
    location, dimensions, rotation_y = (objects[name].double() for name in ("location", "dimensions", "rotation_y"))
    pixels = project_boxes(location, dimensions, rotation_y, torch.from_numpy(sample.calibration).double())
    hulls = torch.cat([pixels.amin(1), pixels.amax(1)], dim=-1)
    behind = (corners(location, dimensions, rotation_y)[..., 2] < _NEAR).any(-1)
    height, width = sample.image.shape[:2]
    overlaps = _overlaps(hulls.clamp(min=0).minimum(hulls.new_tensor([width, height] * 2)), objects["boxes"].double())
    return torch.where(objects["ignore"] | behind, torch.nan, overlaps)


def _overlaps(first: Tensor, second: Tensor) -> Tensor:
    sides = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    common = sides.clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    return common / (areas[0] + areas[1] - common)
