"""COCO JSON: images, annotations and categories in one file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.images import ImageDataset
from lightning_centernet.data.keypoints import coco_keypoints, coco_skeleton
from lightning_centernet.data.problems import complain
from lightning_centernet.data.records import ObjectTable, Picture, assemble, present
from lightning_centernet.errors import UserError

Entry: TypeAlias = dict[str, Any]

_NEEDED = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}
_RESERVED = ("boxes", "labels", "ignore", "mask")


def read_coco(
    annotations: str | Path,
    images: str | Path,
    fields: Sequence[str] = (),
    keypoints: Mapping[str, Any] | None = None,
) -> ImageDataset:
    """Read a COCO annotation file.

    Labels follow the categories in ascending order of their ids, which may be any. Crowds (`iscrowd`, or `ignore` as
    some converters write) are ignored in training and evaluation. Images without annotations are kept. Joints are read
    where a category names its `keypoints`.

    Args:
        annotations: the JSON file.
        images: the folder that `file_name` counts from.
        fields: further keys of an annotation to read, each a number or a list of numbers; float32, NaN where absent.
        keypoints: `names`, `edges`, `flip_pairs` or `sigmas` of the joints, in place of what the file says.

    Raises:
        UserError: something is missing, broken or unknown; the message names it.
    """
    file = Path(annotations)
    content = _load(file)
    classes, category_ids = _categories(file, content)
    pictures = _pictures(file, content, Path(images))
    if not content["images"]:
        complain([f"{file}: its list 'images' is empty: there is nothing to read"])
    rows = {picture.image_id: row for row, picture in enumerate(pictures)}
    labels = {category: label for label, category in enumerate(category_ids)}
    objects = _known(file, content, rows, labels)
    columns = {name: _field(file, objects, name) for name in fields if name != "keypoints"}
    skeleton = coco_skeleton(file, content["categories"], keypoints)
    if skeleton:
        sizes = np.array([pictures[rows[entry["image_id"]]][2:] for entry in objects], np.int64).reshape(-1, 2)
        columns["keypoints"] = coco_keypoints(objects, sizes, skeleton, lambda entry: _where(file, entry))
    elif "keypoints" in fields:
        raise UserError(f"{file}: no category names its keypoints: set data.keypoints.names=[...]")
    table = _table(file, objects, rows, labels, columns)
    records, skipped = assemble(str(file), pictures, table)
    return ImageDataset(records, classes, category_ids, skipped, skeleton)


def _load(file: Path) -> dict[str, list[Entry]]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: no such annotation file ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{file}: is not JSON ({error}): export it again") from error
    for key, needed in _NEEDED.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise UserError(f"{file}: has no list {key!r}: a COCO file is an object of images, annotations, categories")
        content[key] = _complete(file, key, content[key], needed)
    for key in ("images", "categories"):
        content[key] = _numbered(file, key, content[key])
    return dict(content)


def _complete(file: Path, key: str, entries: Sequence[Entry], needed: Sequence[str]) -> list[Entry]:
    names = set(needed)
    complete = [entry for entry in entries if isinstance(entry, dict) and names <= entry.keys()]
    if len(complete) < len(entries):
        broken = [entry for entry in entries if not isinstance(entry, dict) or not names <= entry.keys()]
        complain([f"{file}: {key} need the keys {', '.join(needed)}: add them to {_short(entry)}" for entry in broken])
    return complete


def _numbered(file: Path, key: str, entries: Sequence[Entry]) -> list[Entry]:
    wrong = [entry for entry in entries if not isinstance(entry["id"], int)]
    complain([f"{file}: the ids of {key} must be whole numbers: change that of {_short(entry)}" for entry in wrong])
    return [entry for entry in entries if isinstance(entry["id"], int)]


def _short(entry: object) -> str:
    text = json.dumps(entry)
    return text if len(text) < 200 else f"{text[:200]}..."


def _categories(file: Path, content: Mapping[str, list[Entry]]) -> tuple[list[str], list[int]]:
    entries = sorted(content["categories"], key=lambda entry: entry["id"])
    classes, category_ids = [str(entry["name"]) for entry in entries], [entry["id"] for entry in entries]
    complain([f"{file}: category {value!r} stands twice in 'categories': keep one" for value in _twice(classes)])
    complain([f"{file}: category id {value} stands twice in 'categories': keep one" for value in _twice(category_ids)])
    return classes, category_ids


def _twice(values: Sequence[Hashable]) -> list[Hashable]:
    return [value for value, count in Counter(values).items() if count > 1]


def _pictures(file: Path, content: Mapping[str, list[Entry]], folder: Path) -> list[Picture]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of pictures")
    try:
        pictures = [
            Picture(folder / entry["file_name"], entry["id"], int(entry["width"]), int(entry["height"]))
            for entry in content["images"]
        ]
    except (TypeError, ValueError) as error:
        raise UserError(f"{file}: an image's file_name, width or height is wrong ({error}): correct it") from error
    repeated = _twice([picture.image_id for picture in pictures])
    complain([f"{file}: image id {value} stands twice in 'images': give each image its own" for value in repeated])
    first = {picture.image_id: picture for picture in reversed(pictures)}
    return present(list(first.values())[::-1])


def _known(
    file: Path, content: Mapping[str, list[Entry]], rows: Mapping[int, int], labels: Mapping[int, int]
) -> list[Entry]:
    repeated = _twice([entry["id"] for entry in content["annotations"] if isinstance(entry.get("id"), int)])
    complain([f"{file}: annotation id {value} stands twice: give each annotation its own" for value in repeated])
    objects = content["annotations"]
    for key, known in (("image_id", {entry["id"] for entry in content["images"]}), ("category_id", set(labels))):
        unknown = [entry for entry in objects if not _is_in(entry[key], known)]
        complain([f"{_where(file, entry)}: {key} {entry[key]!r} is not declared in the file" for entry in unknown])
        if unknown:
            objects = [entry for entry in objects if _is_in(entry[key], known)]
    return [entry for entry in objects if entry["image_id"] in rows]


def _is_in(value: object, known: Collection[int]) -> bool:
    return isinstance(value, int | float) and value in known


def _where(file: Path, entry: Entry) -> str:
    return f"{file}: annotation {entry.get('id', _short(entry))}"


def _table(
    file: Path,
    objects: Sequence[Entry],
    rows: Mapping[int, int],
    labels: Mapping[int, int],
    fields: Mapping[str, NDArray[np.float32]],
) -> ObjectTable:
    boxes = _numbers([entry["bbox"] for entry in objects], 4)
    boxes[:, 2:] += boxes[:, :2]
    return ObjectTable(
        pictures=np.array([rows[entry["image_id"]] for entry in objects], dtype=np.int64),
        boxes=boxes,
        labels=np.array([labels[entry["category_id"]] for entry in objects], dtype=np.int64),
        ignore=np.array([bool(entry.get("iscrowd") or entry.get("ignore")) for entry in objects], dtype=np.bool_),
        area=_numbers([entry.get("area", np.nan) for entry in objects], 1)[:, 0],
        fields=fields,
        describe=lambda row: f"{_where(file, objects[row])}: bbox {objects[row]['bbox']}",
    )


def _numbers(values: Sequence[Any], width: int) -> NDArray[np.float64]:
    """Make an (n, width) array at once, or row by row with NaN for rows that hold something else than numbers."""
    try:
        return np.array(values, dtype=np.float64).reshape(len(values), width)
    except (TypeError, ValueError):
        return np.array([_row(value, width) for value in values], dtype=np.float64)


def _row(value: object, width: int) -> NDArray[np.float64]:
    try:
        return np.array(value, dtype=np.float64).reshape(width)
    except (TypeError, ValueError):
        return np.full(width, np.nan)


def _field(file: Path, objects: Sequence[Entry], name: str) -> NDArray[np.float32]:
    if name in _RESERVED:
        raise UserError(f"{file}: the field name {name!r} is taken: rename it in the file")
    values = [entry.get(name) for entry in objects]
    given = next((value for value in values if value is not None), None)
    if objects and given is None:
        keys = ", ".join(sorted({key for entry in objects for key in entry}))
        raise UserError(f"{file}: no annotation has the field {name!r}; their keys are {keys}")
    width = len(given) if isinstance(given, list) else 1
    column = _numbers([np.full(width, np.nan) if value is None else value for value in values], width)
    wrong = [row for row in np.flatnonzero(~np.isfinite(column).all(axis=1)).tolist() if values[row] is not None]
    needed = f"is not {width} finite number(s): correct it, or leave it out where unknown"
    complain([f"{_where(file, objects[row])}: {name} {values[row]!r} {needed}" for row in wrong])
    return (column if isinstance(given, list) else column[:, 0]).astype(np.float32)
