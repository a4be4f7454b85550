"""The same pictures as Pascal VOC and as COCO JSON give the same records."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from lightning_centernet.data import ImageDataset, read_coco, read_voc
from tests.fakes import PICTURES, write_voc

SHARED = os.environ.get("LIGHTNING_CENTERNET_SHARED")
BCCD = Path(SHARED or "") / "data/bccd"


def twin(dataset: ImageDataset, folder: Path) -> Path:
    """Write what was read of a VOC split as a COCO file."""
    objects = [(record.image_id, index, record.annotations) for record in dataset.records
               for index in range(len(record.annotations["labels"]))]  # fmt: skip
    content = {
        "images": [
            {"id": one.image_id, "file_name": one.file.name, "width": one.width, "height": one.height}
            for one in dataset.records
        ],
        "annotations": [
            {"id": number, "image_id": image_id, "category_id": dataset.category_ids[columns["labels"][index]],
             "bbox": xywh(columns["boxes"][index].tolist()),
             "area": float(columns["area"][index]), "iscrowd": int(columns["ignore"][index])}
            for number, (image_id, index, columns) in enumerate(objects)
        ],
        "categories": [{"id": n, "name": name} for n, name in zip(dataset.category_ids, dataset.classes, strict=True)],
    }  # fmt: skip
    (folder / "twin.json").write_text(json.dumps(content))
    return folder / "twin.json"


def xywh(box: list[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def assert_same(voc: ImageDataset, coco: ImageDataset) -> None:
    assert (voc.classes, voc.category_ids, len(voc)) == (coco.classes, coco.category_ids, len(coco))
    for ours, theirs in zip(voc.records, coco.records, strict=True):
        assert (ours.file, ours.image_id, ours.width, ours.height) == (
            theirs.file, theirs.image_id, theirs.width, theirs.height
        )  # fmt: skip
        assert ours.annotations.keys() == theirs.annotations.keys()
        for name, column in ours.annotations.items():
            assert column.dtype == theirs.annotations[name].dtype
            np.testing.assert_array_equal(column, theirs.annotations[name])


def test_fake_twins(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"train": PICTURES})
    voc = read_voc(root, "train")
    assert_same(voc, read_coco(twin(voc, tmp_path), root / "JPEGImages"))


@pytest.mark.skipif(not BCCD.is_dir(), reason="needs LIGHTNING_CENTERNET_SHARED, the folder that holds data/bccd")
@pytest.mark.parametrize(
    ("split", "pictures", "boxes", "skipped"), [("train", 205, 2804, 1), ("val", 87, 1137, 1), ("test", 72, 945, 0)]
)
def test_real_twins(tmp_path: Path, split: str, pictures: int, boxes: int, skipped: int) -> None:
    voc = read_voc(BCCD, split)
    assert voc.classes == ("Platelets", "RBC", "WBC")
    assert (len(voc), len(voc.skipped)) == (pictures, skipped)
    assert sum(len(record.annotations["labels"]) for record in voc.records) == boxes
    assert_same(voc, read_coco(twin(voc, tmp_path), BCCD / "JPEGImages"))
