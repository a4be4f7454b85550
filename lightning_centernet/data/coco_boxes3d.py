"""3D boxes in COCO files, as CenterTrack's and CenterFusion's converters write them of nuScenes and KITTI.

An image has `calib`, the 3 x 4 projection of the camera's frame to its pixels. An annotation has `dim` (height, width,
length), `location` (middle of the bottom), `rotation_y` and `alpha`; of nuScenes also `attributes`, a number that the
file's own `attributes` names, and `velocity_cam` or, in the camera's frame as well, `velocity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_centernet.data.boxes3d import UNKNOWN, usable_boxes3d
from lightning_centernet.data.calibration import as_projection
from lightning_centernet.data.coco_file import CocoFile, Entry, numbers
from lightning_centernet.data.problems import complain, remark
from lightning_centernet.errors import UserError
from lightning_centernet.geometry.camera import alpha_from_rotation

AlphaOrigin: TypeAlias = Literal["projected", "file"]
Floats: TypeAlias = NDArray[np.float64]

ATTRIBUTES = (
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.moving",
    "pedestrian.standing",
    "pedestrian.sitting_lying_down",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)
_COLUMNS = {
    "dimensions": ("dim", 3),
    "location": ("location", 3),
    "alpha": ("alpha", 1),
    "rotation_y": ("rotation_y", 1),
}
_NO_VELOCITY = -1000  # what the originals write is below


def has_cameras(coco: CocoFile) -> bool:
    """Tell whether a file states cameras, without which there are no 3D boxes."""
    return any("calib" in image for image in coco.images)


def remark_on_lost_boxes3d(coco: CocoFile) -> None:
    """Warn of the 3D boxes of a file without cameras."""
    lost = [annotation for annotation in coco.annotations if {"dim", "location"} <= annotation.keys()]
    summary = f"{len(lost)} of {len(coco.annotations)} annotations have a 3D box that is left out, for want of cameras"
    remark(summary, [f"{coco.where(each)}: has a 3D box, but no image has a calib: add it for 3D" for each in lost])


def coco_cameras(coco: CocoFile) -> dict[int, Floats]:
    """Read the camera of each image, by its id.

    Raises:
        UserError: an image has none, or one that is none; inside `collect_problems` it is left out.
    """
    cameras, problems = {}, []
    for image in coco.images:
        matrix, problem = as_projection(image.get("calib"))
        if matrix is None:
            given = f"{problem}: it is {str(image['calib'])[:200]}" if "calib" in image else "is missing"
            where = f"{coco.path}: image {image['id']} ({image['file_name']})"
            problems.append(f"{where}: calib {given}: give the camera's projection, 3 rows of 4 numbers")
        else:
            cameras[image["id"]] = matrix
    complain(problems)
    return cameras


def coco_boxes3d(
    coco: CocoFile, objects: Sequence[Entry], cameras: Floats, regions: NDArray[np.bool_], alpha: AlphaOrigin
) -> dict[str, NDArray[np.float32]]:
    """Read the 3D boxes of annotations, and what nuScenes says beside.

    Args:
        coco: the file.
        objects: its annotations to read; those without a key lack what it says.
        cameras: (n, 3, 4), each one's.
        regions: (n,) which of them are no objects, but regions where all is ignored.
        alpha: the `file`'s; or `projected`, that of `rotation_y` where the projected centre is seen, from which it is
            decoded. The converter of nuScenes takes the middle of the 2D box, which differs for truncated objects.

    Returns:
        The fields of 3D boxes; `velocity` (n, 3) and `attributes` (n, 8), 1 for one of `ATTRIBUTES`, if the file has
        them. NaN where unknown or impossible.

    Raises:
        UserError: something is not what it should be.
    """
    columns = {name: _column(coco, objects, key, (width,), UNKNOWN[name]) for name, (key, width) in _COLUMNS.items()}
    for name, column in columns.items():
        column[regions] = UNKNOWN[name]
    fields = usable_boxes3d(columns, cameras, lambda row: coco.where(objects[row]))
    if alpha == "projected":
        computed = _projected_alpha(fields, cameras)
        fields["alpha"] = np.where(np.isfinite(computed), computed, fields["alpha"])
    fields |= _velocity(coco, objects) | _attributes(coco, objects)
    return {name: column.astype(np.float32) for name, column in fields.items()}


def _projected_alpha(fields: Mapping[str, Floats], cameras: Floats) -> Floats:
    rotation_y, centers, projections = (
        torch.from_numpy(values) for values in (fields["rotation_y"], fields["amodal_centers"], cameras)
    )
    angles = alpha_from_rotation(rotation_y.unsqueeze(1), centers.unsqueeze(1), projections).squeeze(1)
    return np.asarray(angles.numpy())


def _velocity(coco: CocoFile, objects: Sequence[Entry]) -> dict[str, Floats]:
    key = next((key for key in ("velocity_cam", "velocity") if any(key in each for each in objects)), None)
    if key is None:
        return {}
    velocity = _column(coco, objects, key, (3, 4), np.nan)
    return {"velocity": np.where((velocity > _NO_VELOCITY).all(axis=1, keepdims=True), velocity, np.nan)}


def _attributes(coco: CocoFile, objects: Sequence[Entry]) -> dict[str, Floats]:
    if coco.attributes is None:
        return {}
    if not (isinstance(coco.attributes, dict) and all(map(_is_number, coco.attributes.values()))):
        needed = 'must map names to numbers, such as {"vehicle.moving": 6}: correct it, or leave it out'
        complain([f"{coco.path}: attributes {str(coco.attributes)[:200]} {needed}"])
        return {}
    unknown = sorted(set(coco.attributes) - {*ATTRIBUTES, ""})
    if unknown:
        raise UserError(f"{coco.path}: attributes: {unknown[0]!r} is none of nuScenes': {', '.join(ATTRIBUTES)}")
    places = {None: -1, 0: -1} | {
        number: ATTRIBUTES.index(name) if name else -1 for name, number in coco.attributes.items()
    }
    given = [annotation.get("attributes") for annotation in objects]
    wrong = [row for row, number in enumerate(given) if isinstance(number, list | dict | bool) or number not in places]
    of_file = ", ".join(f"{number} {name}" for name, number in coco.attributes.items() if name)
    complain([f"{coco.where(objects[row])}: attributes {given[row]!r} is none of {of_file}" for row in wrong])
    without = set(wrong)
    chosen = np.array([-1 if row in without else places[number] for row, number in enumerate(given)], np.int64)
    return {"attributes": np.vstack([np.eye(len(ATTRIBUTES)), np.full(len(ATTRIBUTES), np.nan)])[chosen]}


def _column(coco: CocoFile, objects: Sequence[Entry], key: str, widths: Sequence[int], unknown: float) -> Floats:
    # Of values as wide as any of `widths`, what the first, the narrowest, takes.
    rows = [value if isinstance(value, list) else [value] for value in (entry.get(key) for entry in objects)]
    known = [len(row) in widths and all(map(_is_number, row)) for row in rows]
    wrong = [entry for entry, fits in zip(objects, known, strict=True) if not fits and entry.get(key) is not None]
    needed = " or ".join(map(str, widths))
    complain([f"{coco.where(entry)}: {key} must be {needed} number(s), not {entry[key]!r}" for entry in wrong])
    width = widths[0]
    return numbers([row[:width] if fits else [unknown] * width for row, fits in zip(rows, known, strict=True)], width)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
