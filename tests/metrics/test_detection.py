"""DetectionMetrics against pycocotools run by hand, and against itself over several processes."""

import contextlib
import io
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
from torch import nn

from lightning_centernet.errors import UserError
from lightning_centernet.metrics import DetectionMetrics

CLASSES = ("car", "person", "50")
KEYS = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")


def fake_images(number, seed=0):
    """Make objects and noisy detections of them; some images hold nothing, in some nothing is detected."""
    random = torch.Generator().manual_seed(seed)
    return [fake_image(image_id, random) for image_id in range(number)]


def fake_image(image_id, random):
    objects, noise = (0 if image_id % 5 == 2 else 7), (0 if image_id % 5 == 3 else 6)
    sizes = torch.tensor([16.0, 60.0, 200.0])[torch.randint(3, (objects, 1), generator=random)]
    corner = torch.randint(0, 4000, (objects, 2), generator=random) / 8  # eighths of a pixel are exact in float32
    boxes = torch.cat([corner, corner + sizes * (1 + torch.randint(0, 4, (objects, 2), generator=random) / 8)], 1)
    labels = torch.randint(0, 3, (objects,), generator=random)
    target = {
        "boxes": boxes,
        "labels": labels,
        "ignore": torch.rand(objects, generator=random) < 0.2,
        "area": (boxes[:, 2:] - boxes[:, :2]).prod(1) * 0.75,
        "image_id": torch.tensor(image_id),
    }
    moved = boxes + torch.randint(-32, 32, boxes.shape, generator=random) / 8
    stray = torch.randint(0, 2000, (noise, 2), generator=random) / 8
    found = torch.cat([moved, torch.cat([stray, stray + 40], 1)]) if noise else torch.zeros(0, 4)
    guessed = torch.cat([labels, torch.randint(0, 3, (noise,), generator=random)]) if noise else labels[:0]
    scores = torch.randint(1, 20, (len(found),), generator=random) / 20  # with ties
    prediction = {"boxes": found, "labels": guessed, "scores": scores, "image_id": target["image_id"]}
    return prediction, target


def measure(images, metric=None):
    metric = metric or DetectionMetrics(CLASSES)
    for prediction, target in images:
        metric.update([prediction], [target])
    return {key: float(value) for key, value in metric.compute().items()}


def coco_by_hand(images, labels=(0, 1, 2)):
    """Evaluate with pycocotools from its own file format; returns the twelve numbers of its summary."""
    truth, found = [], []
    for prediction, target in images:
        for box, label, ignore, area in zip(
            *(target[k].tolist() for k in ("boxes", "labels", "ignore", "area")), strict=True
        ):
            truth.append(annotation(target, box, label) | {"iscrowd": int(ignore), "area": area, "id": len(truth) + 1})
        for box, label, score in zip(*(prediction[k].tolist() for k in ("boxes", "labels", "scores")), strict=True):
            found.append(annotation(target, box, label) | {"score": score})
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": int(target["image_id"])} for _, target in images],
        "categories": [{"id": label, "name": CLASSES[label]} for label in range(3)],
        "annotations": truth,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.params.catIds = list(labels)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def annotation(target, box, label):
    x1, y1, x2, y2 = box
    return {"image_id": int(target["image_id"]), "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1]}


@pytest.mark.parametrize("backend", ["faster_coco_eval", "pycocotools"])
def test_equals_pycocotools_by_hand(backend):
    images = fake_images(40)
    result = measure(images, DetectionMetrics(CLASSES, backend=backend))
    expected = coco_by_hand(images)
    np.testing.assert_allclose([result[key] for key in KEYS], expected[:6], rtol=1e-6)
    np.testing.assert_allclose(result["mar_100"], expected[8], rtol=1e-6)
    for label, key in enumerate(["map_car", "map_person", "map_class_50"]):
        np.testing.assert_allclose(result[key], coco_by_hand(images, [label])[0], rtol=1e-6)
    assert 0.1 < result["map"] < 0.9


def test_thresholds_are_exact():
    """An IoU of just 0.6 is a match at 0.6, which torchmetrics' own float32 thresholds deny."""
    ten = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    prediction = {"boxes": torch.tensor([[0.0, 0.0, 6.0, 10.0]]), "labels": torch.tensor([0]), "scores": torch.ones(1)}
    target = {"boxes": ten, "labels": torch.tensor([0]), "image_id": torch.tensor(0)}
    assert measure([(prediction, target)])["map"] == pytest.approx(0.3)


def test_an_image_counts_once_whatever_the_order():
    images = fake_images(12)
    repeated = images[7:] + images[:9] + images[3:4]
    assert measure(repeated) == measure(images)


def test_region_of_all_classes_excuses_every_class():
    region = torch.tensor([[100.0, 100.0, 300.0, 300.0]])
    inside = torch.tensor([[110.0, 110.0, 150.0, 150.0]]).repeat(3, 1)
    objects = torch.tensor([[0.0, 0.0, 40.0, 40.0]]).repeat(3, 1)
    prediction = {
        "boxes": torch.cat([inside, objects]),
        "labels": torch.tensor([0, 1, 2, 0, 1, 2]),
        "scores": torch.tensor([0.9, 0.9, 0.9, 0.5, 0.5, 0.5]),
    }
    target = {
        "boxes": torch.cat([region, objects]),
        "labels": torch.tensor([-1, 0, 1, 2]),
        "ignore": torch.tensor([True, False, False, False]),
        "image_id": torch.tensor(0),
    }
    assert measure([(prediction, target)])["map"] == pytest.approx(1.0)
    bare = target | {key: target[key][1:] for key in ("boxes", "labels", "ignore")}
    assert measure([(prediction, bare)])["map"] == pytest.approx(0.5)


def nothing(image_id, *, keys=("boxes", "labels", "scores")):
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)}
    return {key: empty[key] for key in keys} | {"image_id": torch.tensor(image_id)}


def test_absent_sizes_and_classes_have_no_key():
    (prediction, target), *_ = fake_images(1)
    small = {key: value[target["area"] < 32**2] for key, value in target.items() if key != "image_id"}
    result = measure(
        [(prediction, small | {"image_id": target["image_id"], "labels": torch.zeros_like(small["labels"])})]
    )
    assert set(result) == {"map", "map_50", "map_75", "map_small", "mar_100", "map_car"}


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_nothing_at_all():
    undefined = {"map": -1.0, "map_50": -1.0, "map_75": -1.0}
    prediction, target = fake_images(1)[0]
    assert measure([]) == undefined
    assert measure([(nothing(0), nothing(0))]) == undefined
    assert measure([(prediction, nothing(0))]) == undefined
    assert measure([(nothing(0), target)])["map"] == 0
    slots = {"boxes": target["boxes"], "labels": target["labels"], "scores": torch.zeros(len(target["labels"]))}
    assert measure([(slots, target)]) == measure([(nothing(0), target)])


def test_prints_nothing_and_leaves_its_input_alone(capfd):
    images = fake_images(4)
    before = pickle.dumps(images)
    for backend in ("faster_coco_eval", "pycocotools"):
        measure(images, DetectionMetrics(CLASSES, backend=backend))
    assert capfd.readouterr() == ("", "")
    assert pickle.dumps(images) == before


def test_goes_on_after_compute_and_starts_anew_after_reset():
    images = fake_images(12)
    metric = DetectionMetrics(CLASSES)
    measure(images[:6], metric)
    assert measure(images[6:], metric) == measure(images)
    metric.reset()
    assert measure(images[:6], metric) == measure(images[:6])


def test_casts_and_pickles_keep_the_boxes():
    images = fake_images(8)
    module = nn.ModuleDict({"metric": DetectionMetrics(CLASSES)})
    measure(images[:4], module["metric"])
    module = pickle.loads(pickle.dumps(module.to(torch.bfloat16).half().cpu()))
    assert measure(images[4:], module["metric"]) == measure(images)


def test_scalars_under_their_device():
    metric = DetectionMetrics(CLASSES)
    metric.update(*[list(items) for items in zip(*fake_images(3), strict=True)])
    assert all(value.shape == () and value.device == metric.device for value in metric.compute().values())


def test_repeated_class_name_is_refused():
    with pytest.raises(UserError, match=r"car.*more than once"):
        DetectionMetrics(["car", "person", "car"])


CASES = {  # what each rank sees of seven images, for a group of 3 and of 2 processes
    "repeated by the sampler": ([0, 3, 6], [1, 4, 0], [2, 5, 1]),
    "two ranks idle": ([], [1, 2, 3, 4, 5, 6, 0], []),
    "uneven": ([0, 1, 2, 3, 4], [5], [6]),
    "repeated by the sampler of two": ([0, 2, 4, 6], [1, 3, 5, 0]),
    "one rank of two idle": (list(range(7)), []),
}


def evaluate_on_rank(rank, folder):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=3)
    groups = {3: None, 2: torch.distributed.new_group([0, 1])}
    images = fake_images(7)
    results = {}
    for name, case in CASES.items():
        if rank < len(case):
            metric = DetectionMetrics(CLASSES)
            metric.process_group = groups[len(case)]
            results[name] = measure([images[index] for index in case[rank]], metric)
    results["nothing"] = measure([])
    Path(folder, f"{rank}.pkl").write_bytes(pickle.dumps(results))
    torch.distributed.destroy_process_group()


def test_processes_agree_with_one(tmp_path):
    torch.multiprocessing.spawn(evaluate_on_rank, (str(tmp_path),), nprocs=3)
    expected = measure(fake_images(7))
    for rank in range(3):
        results = pickle.loads((tmp_path / f"{rank}.pkl").read_bytes())
        assert results.pop("nothing")["map"] == -1
        assert results == {name: expected for name, case in CASES.items() if rank < len(case)}
