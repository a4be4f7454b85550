"""PoseMetrics against pycocotools run on files, and against itself over several processes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lightning_centernet.errors import UserError
from lightning_centernet.metrics import DetectionMetrics, PoseMetrics
from tests.metrics.test_detection import fake_images

CLASSES = ("car", "person", "50")
SIGMAS = (0.05, 0.1, 0.2, 0.15, 0.08)
KEYS = ("oks_map", "oks_map_50", "oks_map_75", "oks_map_medium", "oks_map_large", "oks_mar_20")


def fake_poses(number, joints=5, seed=0):
    """Give the objects joints, some unlabelled, some objects none; and the detections those of an object, moved."""
    random = torch.Generator().manual_seed(seed)
    return [with_joints(*image, joints, random) for image in fake_images(number, seed)]


def with_joints(prediction, target, joints, random):
    objects, found = len(target["labels"]), len(prediction["labels"])
    true, guessed = (spread(image["boxes"], joints, random) for image in (target, prediction))
    visibility = torch.randint(3, (objects, joints, 1), generator=random).float()
    visibility[torch.rand(objects, generator=random) < 0.2] = 0
    moved = true + torch.randn(true.shape, generator=random) * 3
    guessed = torch.cat([moved, guessed[objects:]]) if found else guessed
    true[visibility.squeeze(-1) == 0] = torch.nan
    return prediction | {"keypoints": guessed}, target | {"keypoints": torch.cat([true, visibility], -1)}


def spread(boxes, joints, random):
    share = torch.rand(len(boxes), joints, 2, generator=random)
    return boxes[:, None, :2] + share * (boxes[:, None, 2:] - boxes[:, None, :2])


def measure(images, metric=None, sigmas=SIGMAS):
    metric = metric or PoseMetrics(CLASSES, sigmas)
    for prediction, target in images:
        metric.update([prediction], [target])
    return {key: float(value) for key, value in metric.compute().items()}


def official(images, folder, sigmas):
    """Write both files, in COCO's formats, and run the official tool on them."""
    truth, found = [], []
    for prediction, target in images:
        fields = [target[key].tolist() for key in ("boxes", "labels", "ignore", "area", "keypoints")]
        for (x1, y1, x2, y2), label, ignore, area, joints in zip(*fields, strict=True):
            flat = np.nan_to_num(np.array(joints)).flatten().tolist()
            truth.append(
                {
                    "id": len(truth) + 1, "image_id": int(target["image_id"]), "category_id": label, "area": area,
                    "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": int(ignore), "keypoints": flat,
                    "num_keypoints": sum(value > 0 for value in flat[2::3]),
                }
            )  # fmt: skip
        for label, score, joints in zip(
            *(prediction[k].tolist() for k in ("labels", "scores", "keypoints")), strict=True
        ):
            flat = [value for x, y in joints for value in (x, y, 1)]
            entry = {"image_id": int(target["image_id"]), "category_id": label, "score": score, "keypoints": flat}
            found.append(entry)
    categories = [{"id": label, "name": name} for label, name in enumerate(CLASSES)]
    content = {"info": {}, "images": [{"id": int(t["image_id"])} for _, t in images], "categories": categories}
    (folder / "truth.json").write_text(json.dumps(content | {"annotations": truth}))
    (folder / "found.json").write_text(json.dumps(found))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / "truth.json"))
        evaluation = COCOeval(coco, coco.loadRes(str(folder / "found.json")), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("backend", ["faster_coco_eval", "pycocotools"])
@pytest.mark.parametrize("sigmas", [SIGMAS, (0.3,), tuple(np.linspace(0.02, 0.3, 21))])
def test_equals_the_official_tool(backend, sigmas, tmp_path):
    images = fake_poses(30, len(sigmas))
    result = measure(images, PoseMetrics(CLASSES, sigmas, backend=backend))
    expected = official(images, tmp_path, sigmas)
    np.testing.assert_allclose([result[key] for key in KEYS], expected[:6], rtol=1e-6)
    assert 0.1 < result["oks_map"] < 0.9


def test_sigmas_matter():
    images = fake_poses(10)
    assert measure(images, sigmas=(0.02,) * 5)["oks_map"] < measure(images, sigmas=(0.3,) * 5)["oks_map"]


def test_boxes_are_measured_too():
    images = fake_poses(8)
    metric = DetectionMetrics(CLASSES)
    metric.update(*[list(items) for items in zip(*images, strict=True)])
    scores = measure(images)
    assert {key: value for key, value in scores.items() if key not in KEYS} == {
        key: float(value) for key, value in metric.compute().items()
    }


def test_perfect_poses():
    """One detection of each object that has labelled joints."""
    perfect = []
    for _, target in fake_poses(6):
        joints = target["keypoints"][(target["keypoints"][..., 2] > 0).any(-1)]
        chosen = {key: target[key][(target["keypoints"][..., 2] > 0).any(-1)] for key in ("boxes", "labels")}
        found = chosen | {"scores": torch.ones(len(joints)), "keypoints": joints[..., :2].nan_to_num()}
        perfect.append((found, target))
    assert measure(perfect)["oks_map"] == pytest.approx(1)


def test_an_image_counts_once_whatever_the_order():
    images = fake_poses(12)
    assert measure(images[7:] + images[:9] + images[3:4]) == measure(images)


def test_region_of_all_classes():
    (prediction, target), *_ = fake_poses(1)
    crowd = torch.ones(len(target["labels"]), dtype=torch.bool)
    everywhere = target | {"labels": torch.full_like(target["labels"], -1), "ignore": crowd}
    assert measure([(prediction, everywhere)])["oks_map"] == -1


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_nothing_at_all():
    (prediction, target), *_ = fake_poses(1)
    none = {name: values[:0] if values.ndim else values for name, values in target.items()}
    silent = {name: values[:0] if values.ndim else values for name, values in prediction.items()}
    unlabelled = target | {"keypoints": torch.zeros_like(target["keypoints"])}
    for images in ([], [(silent, none)], [(prediction, none)], [(prediction, unlabelled)]):
        assert {key: value for key, value in measure(images).items() if key.startswith("oks")} == dict.fromkeys(
            KEYS[:3], -1.0
        )
    assert measure([(silent, target)])["oks_map"] == 0


def test_prints_nothing(capfd):
    for backend in ("faster_coco_eval", "pycocotools"):
        measure(fake_poses(4), PoseMetrics(CLASSES, SIGMAS, backend=backend))
    assert capfd.readouterr() == ("", "")


def test_another_number_of_joints():
    images = fake_poses(2, joints=4)
    with pytest.raises(UserError, match=r"keypoints of the shape \(\d+, 5, 2\), not \(\d+, 4, 2\)"):
        measure(images)
    with pytest.raises(UserError, match="not none"):
        measure(fake_images(1))
    with pytest.raises(UserError, match="positive numbers"):
        PoseMetrics(CLASSES, (0.1, 0))


SHARES = {"repeated by the sampler": ([0, 2, 4, 6], [1, 3, 5, 0]), "one idle": (list(range(7)), [])}


def evaluate_on_rank(rank, folder):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    images = fake_poses(7)
    results = [measure([images[index] for index in share[rank]]) for share in SHARES.values()]
    Path(folder, f"{rank}.pkl").write_bytes(pickle.dumps(results))
    torch.distributed.destroy_process_group()


def test_processes_agree_with_one(tmp_path):
    torch.multiprocessing.spawn(evaluate_on_rank, (str(tmp_path),), nprocs=2)
    expected = measure(fake_poses(7))
    for rank in range(2):
        assert pickle.loads((tmp_path / f"{rank}.pkl").read_bytes()) == [expected] * len(SHARES)
