"""Poses from the command line, on tiny data in the true format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightning_centernet import CenterNet
from tests.cli.conftest import TINY, Run
from tests.fakes import PICTURES, SQUARE, coco_content, pose_content, write_coco

FIT = ["fit", "heads=multi_pose", "data=coco", *TINY, "scheduler=none", "backbone.name=resnet10t", "logger=csv"]
FIT += ["trainer.max_epochs=1", "trainer.precision=32", "output_dir=out"]
SCORES = ("map", "oks_map", "oks_map_50", "hps", "hm_hp", "hp_offset")


def words(content: dict[str, list[dict]]) -> list[str]:
    file, images = write_coco(Path("pose"), PICTURES, content)
    return [f"data.train_annotations={file}", f"data.train_images={images}", f"data.val_annotations={file}"]


def test_poses_are_learned_measured_and_predicted(run: Run, capsys: pytest.CaptureFixture) -> None:
    data = words(pose_content())
    assert run(*FIT, *data) == 0
    metrics = Path("out/csv/metrics.csv").read_text()
    for score in SCORES:
        assert f"val/{score}" in metrics
    checkpoint = next(Path("out").glob("checkpoints/last.ckpt"))
    model = CenterNet.load_from_checkpoint(checkpoint)
    assert (model.heads["hps"].channels, model.heads["hm_hp"].channels) == (8, 4)
    assert model.skeleton.names == SQUARE
    assert model.metrics["val"].sigmas == (0.1, 0.1, 0.2, 0.2)
    capsys.readouterr()
    few = ["data=coco", *data, "data.num_workers=0", "trainer.accelerator=cpu", f"ckpt_path={checkpoint}"]
    assert run("validate", *few) == 0
    rows = capsys.readouterr().out
    for score in SCORES:
        assert f"val/{score} " in rows
    assert run("predict", f"ckpt_path={checkpoint}", "source=pose/images", "output_dir=found", "trainer=cpu") == 0
    found = json.loads(Path("found/predictions.json").read_text())
    assert all(len(result["bbox"]) == 4 and len(result["keypoints"]) == 12 for result in found)
    assert {result["category_id"] for result in found} <= {3, 17, 90}
    tested = [*few[:3], *(word.replace("val_", "test_") for word in few[3:4]), *few[4:]]
    assert run("test", *tested, "callbacks=[progress,coco_results]", "output_dir=tested") == 0
    results = json.loads(Path("tested/coco/keypoints.json").read_text())
    assert all(result.keys() == {"image_id", "category_id", "keypoints", "score"} for result in results)
    assert len(results) == len(json.loads(Path("tested/coco/bbox.json").read_text())) > 0


def test_joints_that_the_file_does_not_name(run: Run, capsys: pytest.CaptureFixture) -> None:
    content = pose_content()
    for category in content["categories"]:
        category.pop("keypoints", None)
    data = words(content)
    assert run(*FIT, *data, "data.keypoints={names:[a,b,c,d]}", "debug=fast") == 1
    assert "a, b, c, d are not known: set data.keypoints.sigmas" in capsys.readouterr().err
    given = "data.keypoints={names:[a,b,c,d],flip_pairs:[[a,b]],sigmas:[0.1,0.1,0.1,0.1]}"
    assert run(*FIT, *data, given, "debug=fast") == 0


def test_other_joints_than_those_of_the_training(run: Run, capsys: pytest.CaptureFixture) -> None:
    assert run(*FIT, *words(pose_content()), "callbacks=checkpoints") == 0
    other = pose_content()
    for category in other["categories"]:
        if "keypoints" in category:
            category["keypoints"] = [f"{name}_corner" for name in SQUARE]
    for content, named in ((other, "left_top_corner"), (coco_content(), "none")):
        few = ["data=coco", *words(content), "data.num_workers=0", "trainer.accelerator=cpu"]
        assert run("validate", "ckpt_path=out/checkpoints/last.ckpt", *few) == 1
        assert f"right_bottom, left_bottom, but the data has {named}" in capsys.readouterr().err


def test_data_without_joints(run: Run, capsys: pytest.CaptureFixture) -> None:
    assert run(*FIT, *words(coco_content())) == 1
    assert "head `hps` needs its number of channels" in capsys.readouterr().err


def test_boxes_alone_of_data_with_joints(run: Run) -> None:
    detection = [word for word in FIT if word != "heads=multi_pose"]
    assert run(*detection, *words(pose_content())) == 0
    assert "oks_map" not in Path("out/csv/metrics.csv").read_text()
