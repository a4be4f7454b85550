"""COCO JSON: images, annotations and categories in one file."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.coco_boxes3d import (
    AlphaOrigin,
    coco_boxes3d,
    coco_cameras,
    has_cameras,
    remark_on_lost_boxes3d,
)
from lightning_centernet.data.coco_file import CocoFile, Entry, load_coco, numbers, twice
from lightning_centernet.data.coco_labels import Labels, coco_labels
from lightning_centernet.data.images import ImageDataset, read_size
from lightning_centernet.data.keypoints import coco_keypoints, coco_skeleton
from lightning_centernet.data.problems import complain
from lightning_centernet.data.records import ObjectTable, Picture, assemble, present
from lightning_centernet.errors import UserError

_logger = logging.getLogger(__name__)

_RESERVED = ("boxes", "labels", "ignore", "mask")


def read_coco(
    annotations: str | Path,
    images: str | Path,
    fields: Sequence[str] = (),
    keypoints: Mapping[str, Any] | None = None,
    *,
    classes: Sequence[str] | None = None,
    ignored: Mapping[str, str | None] | None = None,
    alpha: AlphaOrigin = "projected",
) -> ImageDataset:
    """Read a COCO annotation file.

    Crowds (`iscrowd`, or `ignore` as some converters write) are ignored in training and evaluation. Images without
    annotations are kept. Joints are read where a category names its `keypoints`, 3D boxes where images have a `calib`,
    see `coco_boxes3d`.

    Args:
        annotations: the JSON file.
        images: the folder that `file_name` counts from.
        fields: further keys of an annotation to read, each a number or a list of numbers; float32, NaN where absent.
        keypoints: `names`, `edges`, `flip_pairs` or `sigmas` of the joints, in place of what the file says.
        classes: names of the categories to find, by label; None for all, in ascending order of their ids.
        ignored: categories that are ignored as another class, or as any where that is None.
        alpha: of 3D boxes: `projected`, computed from `rotation_y` where the projected centre is seen; or the `file`'s.

    Raises:
        UserError: something is missing, broken or unknown; the message names it.
    """
    if alpha not in ("projected", "file"):
        raise UserError(f"alpha={alpha!r}: must be `projected` or `file`")
    coco = load_coco(Path(annotations))
    labels = coco_labels(coco, classes, ignored)
    pictures = _pictures(coco, Path(images))
    rows = {picture.image_id: row for row, picture in enumerate(pictures)}
    objects = _known(coco, rows, labels)
    seen_in = [rows[entry["image_id"]] for entry in objects]
    found = [entry for entry in coco.categories if entry["id"] in labels.category_ids]
    skeleton = coco_skeleton(coco.path, found, keypoints)
    if "keypoints" in fields and not skeleton:
        raise UserError(f"{coco.path}: no category names its keypoints: set data.keypoints.names=[...]")
    columns = {name: _field(coco, objects, name) for name in fields if name != "keypoints"}
    if skeleton:
        sizes = np.array([(pictures[row].width, pictures[row].height) for row in seen_in], np.int64).reshape(-1, 2)
        columns["keypoints"] = coco_keypoints(objects, sizes, skeleton, coco.where)
    if has_cameras(coco):
        cameras = np.array([pictures[row].calibration for row in seen_in]).reshape(-1, 3, 4)
        regions = np.array([labels.of_category[entry["category_id"]][0] < 0 for entry in objects], np.bool_)
        columns = coco_boxes3d(coco, objects, cameras, regions, alpha) | columns  # what is asked for stays as it is
    table = _table(coco, objects, seen_in, labels, columns)
    records, skipped = assemble(str(coco.path), pictures, table)
    return ImageDataset(records, labels.classes, labels.category_ids, skipped, skeleton)


def _pictures(coco: CocoFile, folder: Path) -> list[Picture]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of pictures")
    if not coco.images:
        complain([f"{coco.path}: its list 'images' is empty: there is nothing to read"])
    pictures = [_picture(coco, entry, folder) for entry in coco.images]
    repeated = twice([picture.image_id for picture in pictures])
    complain([f"{coco.path}: image id {value} stands twice in 'images': give each image its own" for value in repeated])
    first = {picture.image_id: picture for picture in reversed(pictures)}
    pictures = present(list(first.values())[::-1])
    if not has_cameras(coco):
        remark_on_lost_boxes3d(coco)
        return pictures
    cameras = coco_cameras(coco)
    return [each._replace(calibration=cameras[each.image_id]) for each in pictures if each.image_id in cameras]


def _picture(coco: CocoFile, entry: Entry, folder: Path) -> Picture:
    try:
        path = folder / entry["file_name"]
        if {"width", "height"} <= entry.keys():
            return Picture(path, entry["id"], int(entry["width"]), int(entry["height"]))
    except (TypeError, ValueError) as error:
        raise UserError(f"{coco.path}: an image's file_name, width or height is wrong ({error}): correct it") from error
    # The originals' converters of KITTI leave the size out. That a file is missing is said later.
    return Picture(path, entry["id"], *(read_size(path) if path.is_file() else (0, 0)))


def _known(coco: CocoFile, rows: Mapping[int, int], labels: Labels) -> list[Entry]:
    repeated = twice([entry["id"] for entry in coco.annotations if isinstance(entry.get("id"), int)])
    complain([f"{coco.path}: annotation id {value} stands twice: give each annotation its own" for value in repeated])
    objects = coco.annotations
    for key, entries in (("image_id", coco.images), ("category_id", coco.categories)):
        declared = {entry["id"] for entry in entries}
        unknown = [entry for entry in objects if not _is_in(entry[key], declared)]
        complain([f"{coco.where(entry)}: {key} {entry[key]!r} is not declared in the file" for entry in unknown])
        if unknown:
            objects = [entry for entry in objects if _is_in(entry[key], declared)]
    wanted = [entry for entry in objects if entry["category_id"] in labels.of_category]
    if len(wanted) < len(objects):
        message = "%s: left out %d of %d annotations, of categories that are neither in classes nor in ignored"
        _logger.info(message, coco.path, len(objects) - len(wanted), len(objects))
    return [entry for entry in wanted if entry["image_id"] in rows]


def _is_in(value: object, known: Collection[int]) -> bool:
    return isinstance(value, int | float) and value in known


def _table(
    coco: CocoFile,
    objects: Sequence[Entry],
    seen_in: Sequence[int],
    labels: Labels,
    fields: Mapping[str, NDArray[np.float32]],
) -> ObjectTable:
    boxes = numbers([entry["bbox"] for entry in objects], 4)
    boxes[:, 2:] += boxes[:, :2]
    meanings = [labels.of_category[entry["category_id"]] for entry in objects]
    crowds = [bool(entry.get("iscrowd") or entry.get("ignore")) for entry in objects]
    return ObjectTable(
        pictures=np.array(seen_in, dtype=np.int64),
        boxes=boxes,
        labels=np.array([label for label, _ in meanings], dtype=np.int64),
        ignore=np.array([crowd or aside for crowd, (_, aside) in zip(crowds, meanings, strict=True)], dtype=np.bool_),
        area=numbers([entry.get("area", np.nan) for entry in objects], 1)[:, 0],
        fields=fields,
        describe=lambda row: f"{coco.where(objects[row])}: bbox {objects[row]['bbox']}",
    )


def _field(coco: CocoFile, objects: Sequence[Entry], name: str) -> NDArray[np.float32]:
    if name in _RESERVED:
        raise UserError(f"{coco.path}: the field name {name!r} is taken: rename it in the file")
    values = [entry.get(name) for entry in objects]
    given = next((value for value in values if value is not None), None)
    if objects and given is None:
        keys = ", ".join(sorted({key for entry in objects for key in entry}))
        raise UserError(f"{coco.path}: no annotation has the field {name!r}; their keys are {keys}")
    width = len(given) if isinstance(given, list) else 1
    column = numbers([np.full(width, np.nan) if value is None else value for value in values], width)
    wrong = [row for row in np.flatnonzero(~np.isfinite(column).all(axis=1)).tolist() if values[row] is not None]
    needed = f"is not {width} finite number(s): correct it, or leave it out where unknown"
    complain([f"{coco.where(objects[row])}: {name} {values[row]!r} {needed}" for row in wrong])
    return (column if isinstance(given, list) else column[:, 0]).astype(np.float32)
