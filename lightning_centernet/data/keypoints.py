"""Joints in data sets: reading them from COCO files, and moving them with their pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_centernet.data.problems import complain
from lightning_centernet.errors import UserError
from lightning_centernet.geometry.affine import determinant, transform_points
from lightning_centernet.skeleton import Skeleton, make_skeleton

_logger = logging.getLogger(__name__)

Entry: TypeAlias = dict[str, Any]


def move_keypoints(keypoints: Tensor, matrix: Tensor, skeleton: Skeleton | None) -> Tensor:
    """Move joints (n, J, 3) with their picture; in a mirror left and right change places.

    Raises:
        UserError: they are mirrored, and nothing says which change places.
    """
    moved = torch.cat([transform_points(keypoints[..., :2], matrix), keypoints[..., 2:]], dim=-1)
    if determinant(matrix) > 0:
        return moved
    if skeleton is None:
        raise UserError("a mirrored sample has keypoints, but no skeleton: give it one, or set augmentation.flip=0")
    return moved[:, skeleton.flip]


def coco_skeleton(file: object, categories: Sequence[Entry], given: Mapping[str, Any] | None) -> Skeleton | None:
    """Find out what joints there are.

    Args:
        file: names the file in messages.
        categories: the file's; those that have joints name them in `keypoints`, and may have `skeleton`, `flip_pairs`
            (both pairs of numbers from 1) and `sigmas`.
        given: what to use instead, as `make_skeleton` takes it.

    Returns:
        None where nothing names any.

    Raises:
        UserError: two categories have different joints, or something does not fit together.
    """
    named = [entry for entry in categories if entry.get("keypoints")]
    for entry in named[1:]:
        if entry["keypoints"] != named[0]["keypoints"]:
            raise UserError(
                f"{file}: the categories {named[0]['name']!r} and {entry['name']!r} have different keypoints: "
                f"keep one kind in a file"
            )
    values = {key: value for key, value in (given or {}).items() if value is not None}
    if named:
        values = _described(file, named[0]) | {"classes": [entry["name"] for entry in named]} | values
    return make_skeleton(values) if values else None


def _described(file: object, category: Entry) -> dict[str, Any]:
    names, where = category["keypoints"], f"{file}: category {category['name']!r}"
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where}: keypoints must be a list of the joints' names, not {names!r}")
    values = {"names": names, "sigmas": category.get("sigmas")}
    for key, ours in (("skeleton", "edges"), ("flip_pairs", "flip_pairs")):
        pairs = category.get(key) or []
        if not isinstance(pairs, list) or not all(_is_pair(pair, len(names)) for pair in pairs):
            raise UserError(f"{where}: {key} must be pairs of numbers from 1 to {len(names)}, not {pairs}")
        if pairs:
            values[ours] = [[names[number - 1] for number in pair] for pair in pairs]
    return values


def _is_pair(value: object, joints: int) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    return all(isinstance(number, int) and 1 <= number <= joints for number in value)


def coco_keypoints(
    objects: Sequence[Entry], sizes: NDArray[np.int64], skeleton: Skeleton, where: Callable[[Entry], str]
) -> NDArray[np.float32]:
    """Read the joints of annotations.

    Args:
        objects: the annotations; those without `keypoints` have no labelled joints.
        sizes: (n, 2) width and height of their pictures, to count the joints outside.
        skeleton: the joints.
        where: names an annotation in messages.

    Returns:
        (n, J, 3) x, y in pixels and visibility 0, 1 or 2; where that is 0, x and y are NaN.

    Raises:
        UserError: there are not three numbers for each joint, or they are not what they should be.
    """
    joints = len(skeleton.names)
    rows = [_row(entry.get("keypoints"), joints) for entry in objects]
    wrong = [entry for entry, row in zip(objects, rows, strict=True) if row is None]
    needed = f"{3 * joints} numbers, x, y and visibility of {joints} joints"
    complain([f"{where(entry)}: keypoints must be {needed}, not {_short(entry)}: correct it" for entry in wrong])
    nothing = np.zeros((joints, 3))
    values = np.array([nothing if row is None else row for row in rows]).reshape(-1, joints, 3)
    labelled = values[..., 2] != 0
    broken = labelled & ~(np.isfinite(values[..., :2]).all(-1) & np.isin(values[..., 2], (1, 2)))
    complain(
        [
            f"{where(objects[row])}: the joint {skeleton.names[joint]!r} is {values[row, joint].tolist()}: must be "
            f"finite x and y, and a visibility of 0, 1 or 2"
            for row, joint in np.argwhere(broken).tolist()
        ]
    )
    labelled &= ~broken
    _report_outside(values, labelled, sizes, lambda row: where(objects[row]))
    values[~labelled] = (np.nan, np.nan, 0)
    return values.astype(np.float32)


def _row(value: object, joints: int) -> NDArray[np.float64] | None:
    if value is None or value == []:
        return np.zeros((joints, 3))
    try:
        return np.array(value, dtype=np.float64).reshape(joints, 3)
    except (TypeError, ValueError, OverflowError):
        return None


def _short(entry: Entry) -> str:
    value = entry["keypoints"]
    return f"{len(value)} values" if isinstance(value, list) else repr(value)


def _report_outside(
    values: NDArray[np.float64], labelled: NDArray[np.bool_], sizes: NDArray[np.int64], where: Callable[[int], str]
) -> None:
    inside = ((values[..., :2] >= 0) & (values[..., :2] <= sizes[:, None])).all(-1)
    outside = np.argwhere(labelled & ~inside)
    if len(outside):
        message = (
            "%d of %d labelled joints lie outside their pictures, and are evaluated but not trained; the first: %s"
        )
        _logger.warning(message, len(outside), labelled.sum(), where(int(outside[0, 0])))
