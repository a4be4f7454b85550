"""COCO's result files of an evaluation, read by the official tool."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.distributed
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lightning_centernet.data import coco_data
from lightning_centernet.errors import UserError
from lightning_centernet.result_files import CocoResults, KittiResults
from lightning_centernet.results import write_coco_results
from lightning_centernet.testing import FakeData
from tests.fakes import PICTURES, SQUARE, pose_content, write_coco
from tests.test_docs import run_python
from tests.tiny import DETECTION, quiet_trainer, tiny_model

POSES = {"hm": 3, "wh": 2, "reg": 2, "hps": 8, "hm_hp": 4, "hp_offset": 2}
TOLERANT = [5.0] * 4  # sigmas that forgive an untrained model
BOXES = ("map", "map_50", "map_75")
OKS = tuple(f"oks_{name}" for name in BOXES)


@pytest.fixture
def file(tmp_path):
    content = pose_content()
    for category in content["categories"]:
        if "sigmas" in category:
            category["sigmas"] = TOLERANT
    return write_coco(tmp_path, PICTURES, content)[0]


def data_of(file):
    own = {"train_annotations": file, "train_images": file.parent / "images"}
    test = {"test_annotations": file, "test_images": file.parent / "images"}
    return coco_data(**own, **test, val_fraction=0.5, input_size=(64, 64), batch_size=2, num_workers=0)


def model_of(data, heads=POSES, **skeleton):
    classes, category_ids = ("bird", "cat", "dog"), (3, 17, 90)
    return tiny_model(heads, classes=classes, category_ids=category_ids, input_size=(64, 64), **skeleton).eval()


def test_the_official_tool_gives_the_metrics_of_the_test(file, tmp_path):
    data = data_of(file)
    model = model_of(data, skeleton={"names": SQUARE, "sigmas": TOLERANT})
    trainer = quiet_trainer(callbacks=[CocoResults(tmp_path / "coco")])
    (scores,) = trainer.test(model, data, verbose=False)
    official = run_python("pose.md")["official"]
    stats = official(str(file), str(tmp_path / "coco/keypoints.json"), np.array(TOLERANT))
    np.testing.assert_allclose([scores[f"test/{name}"] for name in OKS], stats[:3], atol=1e-6)
    assert scores["test/oks_map"] > 0.1
    coco = COCO(str(file))
    evaluation = COCOeval(coco, coco.loadRes(str(tmp_path / "coco/bbox.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    np.testing.assert_allclose([scores[f"test/{name}"] for name in BOXES], evaluation.stats[:3], atol=1e-6)


def test_they_hold_what_predict_finds_and_nothing_of_an_earlier_epoch(file, tmp_path):
    data = data_of(file)
    model, results = model_of(data, skeleton={"names": SQUARE, "sigmas": TOLERANT}), CocoResults(tmp_path / "coco")
    trainer = quiet_trainer(callbacks=[results])
    trainer.test(model, data, verbose=False)
    trainer.validate(model, data, verbose=False)
    found = [image for batch in quiet_trainer().predict(model, data.val_dataloader()) for image in batch]
    assert 0 < len(found) < len(PICTURES)
    for kind in ("bbox", "keypoints"):
        write_coco_results(tmp_path / "expected.json", found, model.category_ids, kind)
        expected = json.loads((tmp_path / "expected.json").read_text())
        assert json.loads((tmp_path / f"coco/{kind}.json").read_text()) == expected


def test_boxes_alone(file, tmp_path):
    data = data_of(file)
    quiet_trainer(callbacks=[CocoResults(tmp_path / "coco")]).test(model_of(data, DETECTION), data, verbose=False)
    assert [path.name for path in (tmp_path / "coco").iterdir()] == ["bbox.json"]


def test_joints_alone(file, tmp_path):
    data = data_of(file)
    heads = {name: channels for name, channels in POSES.items() if name != "wh"}
    model = model_of(data, heads, skeleton={"names": SQUARE, "sigmas": TOLERANT})
    quiet_trainer(callbacks=[CocoResults(tmp_path / "coco")]).test(model, data, verbose=False)
    assert [path.name for path in (tmp_path / "coco").iterdir()] == ["keypoints.json"]
    results = json.loads((tmp_path / "coco/keypoints.json").read_text())
    assert results
    assert all(result.keys() == {"image_id", "category_id", "keypoints", "score"} for result in results)


@pytest.mark.parametrize("callback", [CocoResults, KittiResults])
@pytest.mark.parametrize("heads", [{"hm": 3, "reg": 2}, {"wh": 2, "reg": 2}])
def test_models_that_find_nothing_to_write(file, tmp_path, callback, heads):
    data = data_of(file)
    with pytest.raises(UserError, match=f"result files need boxes.* only the heads {', '.join(heads)}: add hm and"):
        quiet_trainer(callbacks=[callback(tmp_path)]).test(model_of(data, heads), data, verbose=False)


@pytest.mark.parametrize("callback", [CocoResults, KittiResults])
def test_batches_without_the_images_numbers(tmp_path, callback):
    trainer = quiet_trainer(callbacks=[callback(tmp_path)])
    with pytest.raises(UserError, match="give every batch `image_id`"):
        trainer.validate(tiny_model(), FakeData(DETECTION), verbose=False)


def test_each_field_of_a_batch_is_copied_once(tmp_path, monkeypatch):
    fields = {"boxes": torch.rand(5, 4), "scores": torch.rand(5), "image_id": torch.tensor(0)}
    images = [fields | {"image_id": torch.tensor(number)} for number in range(7)]
    copied, results = [], CocoResults(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "cpu", lambda tensor: copied.append(tensor) or tensor)
        results.on_validation_batch_end(quiet_trainer(), tiny_model(), {"images": images}, {})
    assert len(copied) == len(fields)
    assert list(results.found) == list(range(7))
    assert all(torch.equal(image["boxes"], fields["boxes"]) for image in results.found.values())


def test_several_processes(file, tmp_path, monkeypatch):
    """Each has a part of the images, and one image is seen by both."""
    data, results = data_of(file), CocoResults(tmp_path / "coco")
    model = model_of(data, DETECTION)
    trainer = quiet_trainer(callbacks=[results])
    trainer.test(model, data, verbose=False)
    alone = json.loads((tmp_path / "coco/bbox.json").read_text())
    parts = [{image: results.found[image] for image in images} for images in ((4, 1, 2), (3, 1))]
    results.found = parts[0]

    def gather(ranks, mine):
        assert mine is results.found
        ranks[:] = parts

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    monkeypatch.setattr(type(trainer), "world_size", 2)
    results.on_test_epoch_end(trainer, model)
    assert json.loads((tmp_path / "coco/bbox.json").read_text()) == alone
