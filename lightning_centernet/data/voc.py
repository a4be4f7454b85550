"""Pascal VOC folders: ImageSets/Main/<split>.txt, Annotations/<stem>.xml, JPEGImages/<stem>.jpg."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from lightning_centernet.data.images import ImageDataset, read_size
from lightning_centernet.data.problems import complain
from lightning_centernet.data.records import ObjectTable, Picture, assemble
from lightning_centernet.errors import UserError

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_FLAG = re.compile(r"\s+-1$|\s{2,}[01]$")  # how per-class lists mark a picture: "name -1", "name  0", "name  1"
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class _Object(NamedTuple):
    picture: int
    name: str
    box: tuple[float, ...]
    ignore: bool
    where: str


def read_voc(root: str | Path, split: str, classes: Sequence[str] | None = None, first_pixel: int = 0) -> ImageDataset:
    """Read one split of a Pascal VOC folder.

    Labels follow `classes`, category ids count from 1, image ids count from 0 through the split. `difficult` objects
    are ignored in training and evaluation. A picture is found by the annotation's stem, else by its `filename`.

    Args:
        root: the folder that holds ImageSets, Annotations and JPEGImages.
        split: the name of a list in ImageSets/Main, such as train, val, test or trainval.
        classes: the class names by label; left out, the sorted names found in all splits.
        first_pixel: how the boxes count. 0: xmin ... ymax are positions in [0, width], taken as they stand, as
            torchvision does and as LabelImg, CVAT and most tools write them. 1: they are indices of the first and last
            pixel, counted from 1, as in the original Pascal VOC; xmin and ymin then lose one, as in Detectron2.

    Raises:
        UserError: something is missing, broken or unknown; the message names it.
    """
    root = Path(root)
    names = tuple(classes) if classes is not None else voc_classes(root)
    images = _images(root)
    pictures: list[Picture] = []
    objects: list[_Object] = []
    stems = _stems(root, split)
    if not stems:
        complain([f"{root}/ImageSets/Main/{split}.txt: lists no picture: fill it, or choose another split"])
    for image_id, (file, tree) in enumerate(_trees(root, stems)):
        picture = _picture(image_id, file, tree, images)
        if picture is not None:
            objects += _objects(len(pictures), file, tree, names)
            pictures.append(picture)
    records, skipped = assemble(f"{root} ({split})", pictures, _table(objects, names, first_pixel))
    return ImageDataset(records, names, range(1, len(names) + 1), skipped)


def voc_classes(root: str | Path) -> tuple[str, ...]:
    """Collect the sorted class names of all splits of a Pascal VOC folder."""
    root = Path(root)
    stems = sorted({stem for split in _splits(root) for stem in _stems(root, split)})
    stems = [stem for stem in stems if _annotation(root, stem).is_file()]
    names = {_name(item) for _, tree in _trees(root, stems) for item in tree.findall("object")}
    return tuple(sorted(names - {""}))


def _folder(root: Path, name: str) -> Path:
    folder = root / name
    if not folder.is_dir():
        found = ", ".join(sorted(path.name for path in root.iterdir())[:20]) if root.is_dir() else "no such folder"
        raise UserError(f"{root}: no folder {name} in it (found: {found}): give the folder that holds ImageSets")
    return folder


def _splits(root: Path) -> list[str]:
    return sorted(path.stem for path in _folder(root, "ImageSets/Main").glob("*.txt"))


def _stems(root: Path, split: str) -> list[str]:
    file = _folder(root, "ImageSets/Main") / f"{split}.txt"
    if not file.is_file():
        raise UserError(f"{file}: no such split; those there are: {', '.join(_splits(root)) or 'none'}")
    lines = file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    return [stem for line in lines if (stem := _FLAG.sub("", line.rstrip()).strip())]


def _annotation(root: Path, stem: str) -> Path:
    return root / "Annotations" / f"{stem}.xml"


def _trees(root: Path, stems: Sequence[str]) -> Iterator[tuple[Path, Element]]:
    for stem in stems:
        file = _annotation(root, stem)
        try:
            yield file, ElementTree.parse(file).getroot()
        except FileNotFoundError:
            complain([f"{file}: no such annotation, but a split lists {stem!r}: add it, or remove it from the list"])
        except ElementTree.ParseError as error:
            complain([f"{file}: is not XML ({error}): export it again"])


def _images(root: Path) -> dict[str, Path]:
    files = sorted(_folder(root, "JPEGImages").iterdir())
    by_name = {file.name: file for file in files}
    return by_name | {file.stem: file for file in files if file.suffix.lower() in _SUFFIXES}


def _picture(image_id: int, file: Path, tree: Element, images: Mapping[str, Path]) -> Picture | None:
    image = images.get(file.stem) or images.get(tree.findtext("filename", ""))
    if image is None:
        complain([f"{file}: no picture {file.stem}{'|'.join(_SUFFIXES)} or {tree.findtext('filename')} in JPEGImages"])
        return None
    width, height = (_number(tree.findtext(f"size/{side}")) for side in ("width", "height"))
    if not (width > 0 and height > 0):  # labelling tools leave it out, or write 0
        width, height = read_size(image)
    return Picture(image, image_id, int(width), int(height))


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _name(item: Element) -> str:
    return item.findtext("name", "").strip()


def _objects(picture: int, file: Path, tree: Element, classes: Sequence[str]) -> Iterator[_Object]:
    for number, item in enumerate(tree.findall("object"), start=1):
        where = f"{file}: object {number} ({_name(item)})"
        box = item.find("bndbox")
        if _name(item) not in classes:
            complain([f"{where}: its class is not one of {', '.join(classes)}: rename it, or add it to `classes`"])
        elif box is None:
            complain([f"{where}: has no bndbox: add xmin, ymin, xmax, ymax"])
        else:
            sides = {side: box.findtext(side) for side in _SIDES}
            where = f"{where}: bndbox {' '.join(f'{side}={value}' for side, value in sides.items())}"
            ignore = item.findtext("difficult", "0").strip() == "1"
            yield _Object(picture, _name(item), tuple(map(_number, sides.values())), ignore, where)


def _table(objects: Sequence[_Object], classes: Sequence[str], first_pixel: int) -> ObjectTable:
    boxes = np.array([item.box for item in objects], dtype=np.float64).reshape(-1, 4)
    boxes[:, :2] -= first_pixel
    return ObjectTable(
        pictures=np.array([item.picture for item in objects], dtype=np.int64),
        boxes=boxes,
        labels=np.array([classes.index(item.name) for item in objects], dtype=np.int64),
        ignore=np.array([item.ignore for item in objects], dtype=np.bool_),
        describe=lambda row: objects[row].where,
    )
