"""Fake data sets, written in their true formats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
from PIL import Image


class FakeObject(NamedTuple):
    name: str
    box: tuple[float, float, float, float]  # x1 y1 x2 y2
    ignore: bool = False


class FakePicture(NamedTuple):
    stem: str
    width: int
    height: int
    objects: tuple[FakeObject, ...]

    @property
    def file_name(self) -> str:
        return f"{self.stem}.png"

    def pixels(self) -> np.ndarray:
        """Gray noise, with each object a rectangle in the colour of its place among the objects."""
        image = np.random.default_rng(len(self.stem)).integers(90, 130, (self.height, self.width, 3), dtype=np.uint8)
        image[0, 0] = list(self.stem.encode()[-3:])  # no two pictures are the same
        for number, item in enumerate(self.objects):
            x1, y1, x2, y2 = (round(side) for side in item.box)
            image[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = (250, 40 * number % 250, 10)
        return image


CLASSES = ("bird", "cat", "dog")

# One picture without objects, one upright, one with a box across the border and an ignored one.
PICTURES = (
    FakePicture("pic_a", 64, 48, (FakeObject("cat", (4, 8, 30, 40)), FakeObject("dog", (32, 4, 60, 20)))),
    FakePicture("pic_b", 40, 80, (FakeObject("dog", (0, 0, 40, 80)),)),
    FakePicture("pic_c", 64, 48, ()),
    FakePicture(
        "pic_d", 64, 64, (FakeObject("bird", (-5, 10, 20, 30)), FakeObject("cat", (30, 30, 60, 50), ignore=True))
    ),
)


def fake_pictures(count: int) -> tuple[FakePicture, ...]:
    """Make pictures of one object each."""
    return tuple(
        FakePicture(f"many_{number:03d}", 48, 32, (FakeObject(CLASSES[number % 3], (5, 5, 20 + number % 9, 25)),))
        for number in range(count)
    )


def write_pictures(folder: Path, pictures: Sequence[FakePicture]) -> Path:
    for picture in pictures:
        file = folder / picture.file_name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.pixels()).save(file)
    return folder


def coco_content(
    pictures: Sequence[FakePicture] = PICTURES, category_ids: Mapping[str, int] | None = None
) -> dict[str, list[dict]]:
    """Make what a COCO file holds; the ids are 1-based, the annotations stand in reverse order of the pictures."""
    category_ids = category_ids or {"dog": 90, "cat": 17, "bird": 3}
    annotations = [
        {"image_id": image_id, "category_id": category_ids[item.name], "iscrowd": int(item.ignore), "bbox": _xywh(item)}
        for image_id, picture in reversed(list(enumerate(pictures, start=1)))
        for item in picture.objects
    ]
    return {
        "images": [
            {"id": number, "file_name": picture.file_name, "width": picture.width, "height": picture.height}
            for number, picture in enumerate(pictures, start=1)
        ],
        "annotations": [
            {"id": number, "area": 0.5 * item["bbox"][2] * item["bbox"][3]} | item
            for number, item in enumerate(annotations, start=100)
        ],
        "categories": [{"id": number, "name": name} for name, number in category_ids.items()],
    }


def _xywh(item: FakeObject) -> list[float]:
    x1, y1, x2, y2 = item.box
    return [x1, y1, x2 - x1, y2 - y1]


def write_coco(
    folder: Path, pictures: Sequence[FakePicture] = PICTURES, content: dict[str, list[dict]] | None = None
) -> tuple[Path, Path]:
    """Write a COCO data set; `content` instead of what the pictures say. Returns the JSON file and the folder."""
    images = write_pictures(folder / "images", pictures)
    file = folder / "instances.json"
    file.write_text(json.dumps(coco_content(pictures) if content is None else content))
    return file, images


def write_voc(root: Path, splits: Mapping[str, Sequence[FakePicture]] | None = None) -> Path:
    """Write a Pascal VOC folder."""
    splits = splits or {"train": PICTURES[:3], "val": PICTURES[3:], "test": PICTURES[2:]}
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for split, pictures in splits.items():
        (root / f"ImageSets/Main/{split}.txt").write_text("".join(f"{picture.stem}\n" for picture in pictures))
        write_pictures(root / "JPEGImages", pictures)
        for picture in pictures:
            ET.ElementTree(voc_annotation(picture)).write(root / f"Annotations/{picture.stem}.xml")
    return root


def voc_annotation(picture: FakePicture) -> ET.Element:
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = "JPEGImages"
    ET.SubElement(root, "filename").text = picture.file_name
    size = ET.SubElement(root, "size")
    for key, value in (("width", picture.width), ("height", picture.height), ("depth", 3)):
        ET.SubElement(size, key).text = str(value)
    for item in picture.objects:
        element = ET.SubElement(root, "object")
        ET.SubElement(element, "name").text = item.name
        ET.SubElement(element, "difficult").text = str(int(item.ignore))
        box = ET.SubElement(element, "bndbox")
        for key, side in zip(("xmin", "ymin", "xmax", "ymax"), item.box, strict=True):
            ET.SubElement(box, key).text = str(side)
    return root


SQUARE = ("left_top", "right_top", "right_bottom", "left_bottom")  # the joints of a fake object: corners of its box


def pose_content(pictures: Sequence[FakePicture] = PICTURES) -> dict[str, list[dict]]:
    """Make what a COCO file with keypoints holds: cats and dogs have joints, but for the first annotation."""
    content = coco_content(pictures)
    for category in content["categories"]:
        if category["name"] != "bird":
            category |= {"keypoints": list(SQUARE), "skeleton": [[1, 2], [3, 4]], "sigmas": [0.1, 0.1, 0.2, 0.2]}
    for number, annotation in enumerate(content["annotations"]):
        x, y, width, height = annotation["bbox"]
        corners = [[x, y, 2], [x + width, y, 1], [x + width, y + height, 2], [x, y + height, 2]]
        if number % 3 == 1:
            corners[3] = [0, 0, 0]
        flat = [value for corner in corners for value in corner] if number else [0] * 12
        annotation |= {"keypoints": flat, "num_keypoints": sum(value > 0 for value in flat[2::3])}
    return content
