"""Several data sets at once: their batches, their classes, and a training through the command line."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from lightning import Trainer

from lightning_centernet import CenterNet, UserError
from lightning_centernet.data import SeveralData, coco_data, several_data
from tests.cli.conftest import Run, run  # noqa: F401 - a fixture
from tests.fakes import coco_content, fake_pictures, write_coco
from tests.tiny import DETECTION, TinyBackbone, quiet_trainer

COMMON = {"input_size": (64, 96), "batch_size": 2, "num_workers": 0}
HEADS = DETECTION | {"speed": {"kind": "regression", "channels": 1}}


def write(folder, name, pictures, speed=False, **options):
    content = coco_content(fake_pictures(pictures), **options)
    for number, annotation in enumerate(content["annotations"]) if speed else ():
        annotation["speed"] = 0.5 * number
    file, images = write_coco(folder / name, fake_pictures(pictures), content)
    return {"train_annotations": file, "train_images": images, "val_annotations": file}


@pytest.fixture
def sets(tmp_path):
    """Six pictures with speeds, four without."""
    return {
        "moving": partial(coco_data, **write(tmp_path, "moving", 6, speed=True), fields=["speed"]),
        "still": partial(coco_data, **write(tmp_path, "still", 4)),
    }


@pytest.mark.parametrize(("mode", "steps"), [("max_size_cycle", 3), ("min_size", 2), ("max_size", 3)])
def test_training(sets, mode, steps):
    data = several_data(sets, mode, **COMMON)
    model = CenterNet(TinyBackbone(), HEADS, classes=data.classes, input_size=(64, 96), head_width=8)
    trainer = quiet_trainer(max_epochs=2)
    trainer.fit(model, data)
    assert trainer.global_step == 2 * steps
    assert {"train/speed", "val/speed", "val/map"} <= set(trainer.callback_metrics)


def test_batches(sets):
    data = several_data(sets, **COMMON)
    data.trainer = None
    batches = list(data.train_dataloader())
    first = [batch[0] for batch in batches]
    assert len(batches) == 3
    assert all("speed" in batch["moving"]["annotations"] for batch in first)
    assert not any("speed" in batch["still"]["annotations"] for batch in first)
    assert len({file for batch in first for file in batch["moving"]["file"]}) == 6


def test_every_process_reads_its_own_part(sets, monkeypatch):
    monkeypatch.setattr(Trainer, "world_size", 2)
    seen = []
    for rank in (0, 1):
        monkeypatch.setattr(Trainer, "global_rank", rank)
        data = several_data(sets, **COMMON)
        data.trainer = quiet_trainer()
        seen.append({file for batch, *_ in data.train_dataloader() for file in batch["still"]["file"]})
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 4


def test_own_keywords_come_first(sets):
    sets["still"] = partial(sets["still"], batch_size=1)
    data = several_data(sets, **COMMON)
    assert [each.batch_size for each in data.sets.values()] == [2, 1]
    assert data.batch_size == 2


def test_first_one_is_validated(sets):
    data = several_data(sets, **COMMON)
    assert len(data.dataset("val")) == 6
    assert data.dataset("train") is data.sets["moving"].dataset("train")


def test_other_classes(sets, tmp_path):
    file = write(tmp_path, "others", 4, category_ids={"dog": 1, "cat": 2, "bird": 3})
    sets["others"] = partial(coco_data, **file)
    with pytest.raises(UserError, match=r"sets.others: has the categories \{1: 'dog'.*, the first one \{3: 'bird'"):
        several_data(sets, **COMMON).setup("fit")


def test_none():
    with pytest.raises(UserError, match=r"data\.sets: names no data set"):
        SeveralData({})


def test_command_line(run: Run, sets, tmp_path):  # noqa: F811 - the fixture
    listed = {
        name: {"_target_": "lightning_centernet.data.coco_data", "_partial_": True}
        | {key: value if isinstance(value, list) else str(value) for key, value in make.keywords.items()}
        for name, make in sets.items()
    }
    (tmp_path / "own/data").mkdir(parents=True)
    (tmp_path / "own/data/both.yaml").write_text("defaults: [several]\nsets: " + json.dumps(listed))
    words = ["--config-dir=own", "data=both", "data.num_workers=0", "data.batch_size=2", "data.input_size=[64,96]"]
    words += ["+heads.speed={kind: regression, channels: 1}", "backbone=resnet10t", "model.head_width=8", "trainer=cpu"]
    assert run("fit", *words, "trainer.max_epochs=1", "scheduler=none", "callbacks=checkpoints", "output_dir=out") == 0
    weights = torch.load("out/checkpoints/last.ckpt", weights_only=True)
    assert weights["global_step"] == 3
    assert run("validate", *words, "ckpt_path=out/checkpoints/last.ckpt") == 0
