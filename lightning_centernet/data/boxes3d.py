"""3D boxes in data sets: which can be used, moving them with their pictures, checking them against their 2D boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_centernet.data.problems import remark
from lightning_centernet.data.sample import Sample
from lightning_centernet.geometry.affine import determinant, transform_points
from lightning_centernet.geometry.boxes import upright_iou
from lightning_centernet.geometry.boxes3d import corners
from lightning_centernet.geometry.camera import LARGEST_ANGLE, mirror_angle, project, project_boxes

_NEAR = 0.1  # metres: what is closer has no projection
UNKNOWN = {"alpha": -10, "dimensions": -1, "location": -1000, "rotation_y": -10}  # what KITTI writes
_RULES = {
    "dimensions": "are not positive",
    "location": "is not in front of the camera",
    "alpha": "is not in [-pi, pi]",
    "rotation_y": "is not in [-pi, pi]",
}

Floats = NDArray[np.float64]


def usable_boxes3d(
    columns: Mapping[str, Floats], calibrations: Floats, describe: Callable[[int], str]
) -> dict[str, Floats]:
    """Take the 3D boxes that can be; of the others what depends on the mistake becomes NaN, and they are reported.

    Args:
        columns: `dimensions` (n, 3), `location` (n, 3), `alpha` (n, 1) and `rotation_y` (n, 1), as the files state
            them; in rows of `UNKNOWN` nothing is stated.
        calibrations: (n, 3, 4), each object's camera.
        describe: names an object in the report.

    Returns:
        The same, angles as (n,), with `depth` (n,) and `amodal_centers` (n, 2), float64.
    """
    possible = _possible(columns)
    _report(columns, possible, describe)
    fields = {name: np.where(known[:, None], columns[name], np.nan) for name, known in possible.items()}
    fields["depth"] = fields["location"][:, 2]
    fields["amodal_centers"] = _projected_middles(fields["location"], fields["dimensions"], calibrations)
    for name in ("alpha", "rotation_y"):
        fields[name] = np.clip(fields[name][:, 0], -np.pi, np.pi)
    return fields


def _possible(columns: Mapping[str, Floats]) -> dict[str, NDArray[np.bool_]]:
    finite = {name: np.asarray(np.isfinite(columns[name]).all(axis=1)) for name in _RULES}
    rules = {
        "dimensions": (columns["dimensions"] > 0).all(axis=1),
        "location": columns["location"][:, 2] > 0,
        "alpha": np.abs(columns["alpha"][:, 0]) <= LARGEST_ANGLE,
        "rotation_y": np.abs(columns["rotation_y"][:, 0]) <= LARGEST_ANGLE,
    }
    return {name: finite[name] & rule for name, rule in rules.items()}


def _report(
    columns: Mapping[str, Floats], possible: Mapping[str, NDArray[np.bool_]], describe: Callable[[int], str]
) -> None:
    lines = {
        (row, name): f"{describe(row)}: {name} {columns[name][row].tolist()} {rule}"
        for name, rule in _RULES.items()
        for row in np.flatnonzero((columns[name] != UNKNOWN[name]).any(axis=1) & ~possible[name]).tolist()
    }
    affected = f"{len({row for row, _ in lines})} of {len(columns['alpha'])} objects"
    remark(f"{affected} have an impossible value, and are used without what depends on it", list(lines.values()))


def _projected_middles(location: Floats, dimensions: Floats, calibrations: Floats) -> Floats:
    middle = location.copy()
    middle[:, 1] -= dimensions[:, 0] / 2
    pixels = project(torch.from_numpy(middle).unsqueeze(1), torch.from_numpy(calibrations))
    return np.asarray(pixels.squeeze(1).numpy(), dtype=np.float64)


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
    if determinant(matrix) < 0:
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
    overlaps = upright_iou(hulls.clamp(min=0).minimum(hulls.new_tensor([width, height] * 2)), objects["boxes"].double())
    return torch.where(objects["ignore"] | behind, torch.nan, overlaps)
