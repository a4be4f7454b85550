"""COCO results files, read back and evaluated by pycocotools."""

import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lightning_centernet.errors import UserError
from lightning_centernet.results import coco_results, write_coco_results

CATEGORY_IDS = (7, 90)


def prediction(image_id, boxes, labels, scores):
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.tensor(scores),
        "image_id": torch.tensor(image_id),
        "file": f"{image_id}.jpg",
    }


@pytest.fixture
def predictions():
    return [
        prediction(397133, [[10.1, 20.2, 30.3, 60.4], [5.0, 5.0, 25.0, 25.0]], [1, 0], [0.9, 0.1]),
        prediction(5, [], [], []),
        prediction(12, [[0.0, 0.0, 40.0, 40.0]], [0], [1 / 3]),
    ]


def test_numbers_are_plain_and_unrounded(predictions):
    first, second, third = coco_results(predictions, CATEGORY_IDS)
    assert first.keys() == {"image_id", "category_id", "bbox", "score"}
    assert [item["category_id"] for item in (first, second, third)] == [90, 7, 7]
    assert [item["image_id"] for item in (first, second, third)] == [397133, 397133, 12]
    x1, y1, x2, y2 = np.array([10.1, 20.2, 30.3, 60.4], np.float32).astype(float).tolist()
    assert first["bbox"] == [x1, y1, x2 - x1, y2 - y1]
    assert third["score"] == float(np.float32(1 / 3))
    assert all(type(number) is float for number in [first["score"], *first["bbox"]])


def test_pycocotools_reads_and_evaluates_the_file(tmp_path, predictions):
    truth = [
        {"id": 1, "image_id": 397133, "category_id": 90, "bbox": [10.1, 20.2, 20.2, 40.2]},
        {"id": 2, "image_id": 12, "category_id": 7, "bbox": [0, 0, 40, 40]},
        {"id": 3, "image_id": 5, "category_id": 7, "bbox": [0, 0, 40, 40]},
    ]
    annotations = {
        "info": {},
        "images": [{"id": 397133}, {"id": 5}, {"id": 12}],
        "categories": [{"id": 7, "name": "car"}, {"id": 90, "name": "person"}],
        "annotations": [item | {"iscrowd": 0, "area": 900.0} for item in truth],
    }
    (tmp_path / "truth.json").write_text(json.dumps(annotations))
    write_coco_results(tmp_path / "new folder" / "results.json", predictions, CATEGORY_IDS)
    coco = COCO(str(tmp_path / "truth.json"))
    evaluation = COCOeval(coco, coco.loadRes(str(tmp_path / "new folder" / "results.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    # person: found; car: one of two found, the first of them: precision 1 up to recall 0.5, 51 of 101 points
    assert evaluation.stats[0] == pytest.approx((1 + 51 / 101) / 2)


def test_writes_all_or_nothing(tmp_path, predictions):
    path = tmp_path / "results.json"
    path.write_text("[]")
    broken = [*predictions, prediction(3, [[0.0, 0.0, float("nan"), 1.0]], [0], [0.5])]
    with pytest.raises(UserError, match=r"image 3: .*not finite"):
        write_coco_results(path, broken, CATEGORY_IDS)
    assert path.read_text() == "[]"
    write_coco_results(path, [], CATEGORY_IDS)
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_path_is_named(tmp_path, predictions):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/results\.json: cannot write"):
        write_coco_results(tmp_path / "file" / "results.json", predictions, CATEGORY_IDS)
    with pytest.raises(UserError, match="cannot write"):
        write_coco_results(tmp_path, predictions, CATEGORY_IDS)
