"""COCO results files, read back and evaluated by pycocotools."""

import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lightning_centernet.errors import UserError
from lightning_centernet.metrics import PoseMetrics
from lightning_centernet.results import coco_results, write_coco_results
from tests.metrics.test_pose import CLASSES as POSE_CLASSES
from tests.metrics.test_pose import SIGMAS, fake_poses

CATEGORY_IDS = (7, 90)
POSE_IDS = (3, 1, 90)
OKS = ("oks_map", "oks_map_50", "oks_map_75", "oks_map_medium", "oks_map_large", "oks_mar_20")
BOXES = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")


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


def test_slots_without_a_detection_are_left_out(predictions):
    empty = prediction(12, [[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 5.0, 5.0]], [0, 1], [0.0, 0.25])
    (found,) = coco_results([empty], CATEGORY_IDS)
    assert (found["category_id"], found["score"]) == (90, 0.25)


def test_metrics_leave_out_the_same_slots():
    """Empty slots are read at cell (0, 0), where a true object may be."""
    images, slots = fake_poses(12), []
    for found, meant in images:
        joints = meant["keypoints"][..., :2].nan_to_num()
        there = {"boxes": meant["boxes"], "labels": meant["labels"], "keypoints": joints}
        there["scores"] = torch.zeros(len(joints))
        together = {name: torch.cat([found[name], values]) for name, values in there.items()}
        slots.append((found | together, meant))
    plain, padded = (PoseMetrics(POSE_CLASSES, SIGMAS) for _ in range(2))
    for metric, pairs in ((plain, images), (padded, slots)):
        metric.update(*map(list, zip(*pairs, strict=True)))
    assert padded.compute() == plain.compute()
    written, expected = (coco_results([found for found, _ in pairs], POSE_IDS) for pairs in (slots, images))
    assert written == expected


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


def pose(image_id, count, seed=0):
    random = torch.Generator().manual_seed(seed)
    low = 100 * torch.rand(count, 2, generator=random)
    found = prediction(image_id, [], [0] * count, torch.rand(count, generator=random).tolist())
    boxes = torch.cat([low, low + 20 + 60 * torch.rand(count, 2, generator=random)], dim=-1)
    joints = low[:, None] + 60 * torch.rand(count, 5, 2, generator=random)
    return found | {"boxes": boxes, "keypoints": joints}


def test_poses():
    for result, joints in zip(coco_results([pose(4, 3)], CATEGORY_IDS), pose(4, 3)["keypoints"], strict=True):
        x, y, visibility = (result["keypoints"][place::3] for place in range(3))
        assert list(zip(x, y, strict=True)) == [tuple(joint) for joint in joints.double().tolist()]
        assert visibility == [1] * 5
    assert coco_results([pose(4, 0)], CATEGORY_IDS) == []


def test_one_evaluation_alone(tmp_path):
    everything = coco_results([pose(4, 2), pose(5, 0)], CATEGORY_IDS)
    for kind, others in (("bbox", {"keypoints"}), ("keypoints", {"bbox"}), (None, set())):
        write_coco_results(tmp_path / "part.json", [pose(4, 2), pose(5, 0)], CATEGORY_IDS, kind)
        expected = [{key: value for key, value in result.items() if key not in others} for result in everything]
        assert json.loads((tmp_path / "part.json").read_text()) == expected


def test_poses_that_are_not_finite(tmp_path):
    broken = pose(9, 2)
    broken["keypoints"][1, 2, 0] = torch.inf
    with pytest.raises(UserError, match=r"image 9: .*not finite"):
        write_coco_results(tmp_path / "results.json", [broken], CATEGORY_IDS, "keypoints")


def test_the_official_evaluation_of_the_file_gives_what_our_metric_gives(tmp_path):
    """Also where the file's ids of images and categories are its own."""
    images = fake_poses(30)
    metric, predictions, truth = PoseMetrics(POSE_CLASSES, SIGMAS), [], []
    for found, target in images:
        metric.update([found], [target])
        predictions.append(found | {"image_id": 3 * target["image_id"] + 1000})
        truth += list(annotations_of(target))
    categories = [{"id": number, "name": name} for number, name in zip(POSE_IDS, POSE_CLASSES, strict=True)]
    pictures = [{"id": int(image["image_id"])} for image in predictions]
    content = {"info": {}, "images": pictures, "categories": categories}
    content["annotations"] = [entry | {"id": number} for number, entry in enumerate(truth, 1)]
    (tmp_path / "truth.json").write_text(json.dumps(content))
    scores = metric.compute()
    for kind, names in (("keypoints", OKS), ("bbox", BOXES)):
        write_coco_results(tmp_path / "found.json", predictions, POSE_IDS, kind)
        coco = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(coco, coco.loadRes(str(tmp_path / "found.json")), kind)
        if kind == "keypoints":
            evaluation.params.kpt_oks_sigmas = np.array(SIGMAS)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        np.testing.assert_allclose([float(scores[name]) for name in names], evaluation.stats[: len(names)], rtol=1e-6)
        assert 0.1 < evaluation.stats[0] < 0.9


def annotations_of(target):
    fields = [target[key].tolist() for key in ("boxes", "labels", "ignore", "area", "keypoints")]
    for (x1, y1, x2, y2), label, ignore, area, joints in zip(*fields, strict=True):
        flat = np.nan_to_num(np.array(joints)).flatten().tolist()
        yield {
            "image_id": 3 * int(target["image_id"]) + 1000, "category_id": POSE_IDS[label], "iscrowd": int(ignore),
            "bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, "keypoints": flat,
            "num_keypoints": sum(value > 0 for value in flat[2::3]),
        }  # fmt: skip
