"""KITTI's object benchmark: image_2/<frame>.png, label_2/<frame>.txt, calib/<frame>.txt, ImageSets/<split>.txt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_centernet.data.boxes3d import usable_boxes3d
from lightning_centernet.data.images import ImageDataset, read_size
from lightning_centernet.data.kitti_calibration import read_projection
from lightning_centernet.data.kitti_lines import COLUMNS, NUMBERS, TYPES, read_lines
from lightning_centernet.data.problems import complain
from lightning_centernet.data.records import ObjectTable, Picture, assemble
from lightning_centernet.errors import UserError

CLASSES = ("Pedestrian", "Car", "Cyclist")  # CenterNet's, in its order
ALL_FRAMES = "all"
_SIMILAR = {"Van": "Car", "Truck": "Car", "Person_sitting": "Pedestrian"}  # to be ignored, as in CenterNet

Floats = NDArray[np.float64]


class _Object(NamedTuple):
    picture: int
    type: str
    values: list[float]
    where: str


def read_kitti(
    root: str | Path, split: str = ALL_FRAMES, classes: Sequence[str] = CLASSES, folder: str = "training"
) -> ImageDataset:
    """Read frames of KITTI's object benchmark.

    Objects of a type similar to a class (Van and Truck to Car, Person_sitting to Pedestrian) are ignored as that class,
    DontCare regions as any, other types are left out. Besides those of 3D boxes, the fields are `types`, which index
    `TYPES`, and `truncation` and `occlusion`, as the metrics of KITTI want them. What is
    impossible of a 3D box, and what depends on it, becomes NaN and is reported; the rest, and the 2D box, stay.

    Args:
        root: the folder that holds `folder` and ImageSets.
        split: the name of a list in ImageSets, such as train or val; or all frames that there are.
        classes: types to find, by label.
        folder: training, or testing, which has no labels.

    Raises:
        UserError: something is missing, broken or unknown; the message names it.
    """
    base = Path(root) / folder
    unknown = [name for name in classes if name not in TYPES[:-1]]
    if unknown:
        raise UserError(f"classes={list(classes)}: KITTI has no {unknown[0]!r}: choose from {', '.join(TYPES[:-1])}")
    pictures, objects = list[Picture](), list[_Object]()
    for stem in _frames(Path(root), base, split):
        picture, calibration = _picture(base, stem), read_projection(base / "calib" / f"{stem}.txt")
        if picture is not None and calibration is not None:
            objects += [each for each in _objects(base, stem, len(pictures)) if _label(each.type, classes)]
            pictures.append(picture._replace(calibration=calibration))
    calibrations = np.array([picture.calibration for picture in pictures]).reshape(-1, 3, 4)
    records, skipped = assemble(f"{base} ({split})", pictures, _table(objects, classes, calibrations))
    return ImageDataset(records, classes, range(1, len(classes) + 1), skipped)


def _frames(root: Path, base: Path, split: str) -> list[str]:
    if not (base / "image_2").is_dir():
        found = ", ".join(sorted(path.name for path in root.iterdir())[:20]) if root.is_dir() else "no such folder"
        raise UserError(f"{base}/image_2: no such folder ({root} holds: {found}): give the folder that holds training")
    if split == ALL_FRAMES:
        frames = sorted(path.stem for path in (base / "image_2").iterdir())
    else:
        file = root / "ImageSets" / f"{split}.txt"
        if not file.is_file():
            splits = ", ".join(sorted(path.stem for path in file.parent.glob("*.txt"))) or "none"
            raise UserError(
                f"{file}: no such split (there are: {splits}): write one frame's name a line, or choose `{ALL_FRAMES}`"
            )
        frames = file.read_text(encoding="utf-8-sig", errors="surrogateescape").split()
    if not frames:
        complain([f"{base} ({split}): there are no frames: fill it, or choose another split"])
    wrong = [stem for stem in frames if not stem.isdecimal()]
    complain([f"{base} ({split}): frames are named by numbers, such as 000123, not {stem!r}" for stem in wrong])
    return [stem for stem in frames if stem.isdecimal()]


def _picture(base: Path, stem: str) -> Picture | None:
    files = [base / "image_2" / f"{stem}{suffix}" for suffix in (".png", ".jpg")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        complain([f"{files[0]}: no such picture file, though a split lists {stem!r}"])
        return None
    return Picture(file, int(stem), *read_size(file))


def _objects(base: Path, stem: str, picture: int) -> Iterator[_Object]:
    file = base / "label_2" / f"{stem}.txt"
    if file.is_file():
        for line in read_lines(file, (NUMBERS, NUMBERS + 1)):  # results have a score behind
            yield _Object(picture, line.type, line.values[:NUMBERS], line.where)
    elif base.name != "testing":
        complain([f"{file}: no such label file: add it, empty if there are no objects"])


def _label(name: str, classes: Sequence[str]) -> tuple[int, bool] | None:
    """Find a type's label, and whether it is ignored; None if it is left out."""
    if name == "DontCare":
        return -1, True
    if name in classes:
        return list(classes).index(name), False
    similar = _SIMILAR.get(name, "")
    return (list(classes).index(similar), True) if similar in classes else None


def _table(objects: Sequence[_Object], classes: Sequence[str], calibrations: Floats) -> ObjectTable:
    values = np.array([each.values for each in objects]).reshape(len(objects), NUMBERS)
    columns = dict(zip(COLUMNS, np.split(values, np.cumsum(list(COLUMNS.values()))[:-1], axis=1), strict=True))
    pictures = np.array([each.picture for each in objects], dtype=np.int64)
    labels = np.array([_label(each.type, classes) for each in objects], dtype=np.int64).reshape(-1, 2)
    fields = usable_boxes3d(columns, calibrations[pictures], lambda row: objects[row].where)
    fields |= {name: columns[name][:, 0] for name in ("truncation", "occlusion")}
    boxes = columns["boxes"]
    return ObjectTable(
        pictures=pictures,
        boxes=boxes,
        labels=labels[:, 0],
        ignore=labels[:, 1] > 0,
        fields={name: column.astype(np.float32) for name, column in fields.items()}
        | {"types": np.array([TYPES.index(each.type) for each in objects], dtype=np.int64)},
        describe=lambda row: f"{objects[row].where}: box {boxes[row].tolist()}",
    )
