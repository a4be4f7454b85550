from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_centernet.data import DetectionData, coco_data, read_coco, voc_data
from lightning_centernet.errors import UserError
from tests.fakes import CLASSES, PICTURES, coco_content, fake_pictures, write_coco, write_voc

SMALL: dict[str, Any] = {"input_size": (32, 48), "batch_size": 2, "num_workers": 0}


class Watcher(LightningModule):
    """Learns nothing, and remembers what it was shown in each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[tuple[Any, ...]]] = {}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        chance = torch.cat([batch["transform"].flatten(1), batch["color"].flatten(1)], dim=1).tolist()
        self.seen.setdefault(self.current_epoch, []).extend(zip(batch["file"], map(tuple, chance), strict=True))
        return self.weight

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log("val/nothing", 0.0, batch_size=len(batch["file"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path, epochs: int, **options: Any) -> Trainer:
    return Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0, **options,
    )  # fmt: skip


def many(folder: Path, **options: Any) -> DetectionData:
    file, images = write_coco(folder, fake_pictures(8))
    return coco_data(file, images, val_annotations=file, **SMALL | options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("moment", [{"monitor": "val/nothing"}, {"save_on_train_epoch_end": True}])
def test_resumed_training_sees_what_one_run_sees(tmp_path: Path, moment: dict[str, Any]) -> None:
    straight, first, resumed = Watcher(), Watcher(), Watcher()
    data = {"num_workers": 1, "seed": 5}
    trainer(tmp_path, 3, enable_checkpointing=False).fit(straight, many(tmp_path, **data))
    checkpoint = ModelCheckpoint(tmp_path / "kept", **moment)
    trainer(tmp_path, 1, callbacks=[checkpoint]).fit(first, many(tmp_path, **data))
    second = trainer(tmp_path, 3, enable_checkpointing=False)
    second.fit(resumed, many(tmp_path, **data), ckpt_path=checkpoint.best_model_path)
    assert [len(straight.seen[epoch]) for epoch in range(3)] == [8, 8, 8]
    assert straight.seen[0] != straight.seen[1]
    assert first.seen == {0: straight.seen[0]}
    assert resumed.seen == {epoch: straight.seen[epoch] for epoch in (1, 2)}


@pytest.mark.filterwarnings("ignore")
def test_skipped_pictures_are_reported_when_training_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = many(tmp_path, on_error="skip")
    (tmp_path / "images/many_003.png").write_bytes(b"broken")
    with caplog.at_level(logging.WARNING):
        trainer(tmp_path, 1, enable_checkpointing=False).fit(Watcher(), data)
    messages = [text for text in caplog.messages if "many_003.png: cannot be read" in text]
    assert len(messages) == 2  # as a picture of the training set, and of the validation set, which is the same here
    assert all("skipped 1 of 8" in text for text in messages)


@pytest.mark.filterwarnings("ignore")
def test_broken_picture_stops_training_and_names_itself(tmp_path: Path) -> None:
    data = many(tmp_path, num_workers=1)
    (tmp_path / "images/many_003.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"^[^\n]*many_003\.png: cannot be read as a picture[^\n]*$"):
        trainer(tmp_path, 1, enable_checkpointing=False).fit(Watcher(), data)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [{"overfit_batches": 1}, {"limit_train_batches": 1, "limit_val_batches": 0}])
def test_lightnings_own_limits(tmp_path: Path, options: dict[str, Any]) -> None:
    model = Watcher()
    trainer(tmp_path, 2, enable_checkpointing=False, **options).fit(model, many(tmp_path))
    assert [len(seen) for seen in model.seen.values()] == [2, 2]


@pytest.mark.filterwarnings("ignore")
def test_mistakes_in_validation_data_show_before_training(tmp_path: Path) -> None:
    file, images = write_coco(tmp_path)
    model, data = Watcher(), coco_data(file, images, val_annotations=tmp_path / "none.json", **SMALL)
    with pytest.raises(UserError, match=r"none\.json: no such annotation file"):
        trainer(tmp_path, 1, enable_checkpointing=False).fit(model, data)
    assert model.seen == {}


@pytest.mark.filterwarnings("ignore")
def test_without_validation_data(tmp_path: Path) -> None:
    file, images = write_coco(tmp_path)
    data = DetectionData(lambda: read_coco(file, images), **SMALL)
    trainer(tmp_path, 1, enable_checkpointing=False).fit(Watcher(), data)
    with pytest.raises(UserError, match="no test data set is given, only train"):
        data.test_dataloader()


def test_train_is_augmented_and_shuffled_and_the_others_are_not(tmp_path: Path) -> None:
    data = many(tmp_path)
    train, val = list(data.train_dataloader()), list(data.val_dataloader())
    files = [[Path(file).stem for batch in batches for file in batch["file"]] for batches in (train, val)]
    assert files[1] == [picture.stem for picture in fake_pictures(8)]
    assert files[0] != files[1]
    assert sorted(files[0]) == files[1]
    identity = torch.eye(3, 4)
    assert all((batch["color"] != identity).flatten(1).any(1).all() for batch in train)
    assert all((batch["color"] == identity).all() for batch in val)
    assert len({tuple(one.flatten().tolist()) for batch in val for one in batch["transform"]}) == 1


def test_augmentation_can_be_left_out(tmp_path: Path) -> None:
    batch = next(iter(many(tmp_path, augmentation=None).train_dataloader()))
    assert (batch["color"] == torch.eye(3, 4)).all()


@pytest.mark.parametrize(("batch_size", "sizes"), [(3, [3, 3]), (8, [8]), (20, [8])])
def test_last_batch(tmp_path: Path, batch_size: int, sizes: list[int]) -> None:
    loader = many(tmp_path, batch_size=batch_size).train_dataloader()
    assert [len(batch["file"]) for batch in loader] == sizes


def test_every_picture_is_validated(tmp_path: Path) -> None:
    assert [len(batch["file"]) for batch in many(tmp_path, batch_size=3).val_dataloader()] == [3, 3, 2]


def test_each_data_set_is_read_once_and_only_when_needed(tmp_path: Path) -> None:
    file, images = write_coco(tmp_path)
    reads: list[str] = []

    def source(name: str) -> Any:
        return lambda: reads.append(name) or read_coco(file, images)

    data = DetectionData(source("train"), source("val"), source("test"), **SMALL)
    assert reads == []
    data.val_dataloader()
    assert (data.classes, data.category_ids) == (CLASSES, (3, 17, 90))
    assert reads == ["val"]
    data.train_dataloader()
    data.train_dataloader()
    assert data.classes == CLASSES
    assert reads == ["val", "train"]


def test_pictures_held_out_of_a_coco_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, images = write_coco(tmp_path, fake_pictures(20))
    with caplog.at_level(logging.INFO):
        data = coco_data(file, images, val_fraction=0.2, seed=1, **SMALL)
        train, val = ({record.file for record in data.dataset(name).records} for name in ("train", "val"))
    assert (len(train), len(val), len(train & val)) == (16, 4, 0)
    assert "no validation file: 16 pictures train, 4 are held out (val_fraction)" in caplog.messages


def test_voc(tmp_path: Path) -> None:
    data = voc_data(write_voc(tmp_path), **SMALL)
    assert data.classes == CLASSES
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [3, 1, 2]
    (batch,) = data.test_dataloader()
    assert batch["ground_truth"]["mask"].sum(1).tolist() == [0, 2]
    assert voc_data(tmp_path, classes=["dog", "cat", "bird"], **SMALL).classes == ("dog", "cat", "bird")
    (tmp_path / "ImageSets/Main/test.txt").unlink()
    with pytest.raises(UserError, match="no test data set"):
        voc_data(tmp_path, **SMALL).test_dataloader()


def test_validation_file_of_other_categories(tmp_path: Path) -> None:
    file, images = write_coco(tmp_path)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(coco_content(category_ids={"dog": 1, "cat": 2, "bird": 3})))
    data = coco_data(file, images, val_annotations=other, **SMALL)
    data.train_dataloader()
    with pytest.raises(UserError, match=r"the val data set has the categories .*, train has .*: make them agree"):
        data.val_dataloader()


def test_more_objects_than_slots_are_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, images = write_coco(tmp_path)
    data = coco_data(file, images, val_annotations=file, max_objects=1, **SMALL | {"batch_size": 4})
    with caplog.at_level(logging.WARNING):
        (batch,) = data.val_dataloader()
        data.train_dataloader()
        data.train_dataloader()
    (message,) = caplog.messages
    assert "2 of 4 training pictures hold more than max_objects=1 objects (up to 2)" in message
    assert batch["annotations"]["boxes"].shape[1] == 1
    assert batch["ground_truth"]["mask"].sum() == 5


def test_nothing_to_learn(tmp_path: Path) -> None:
    file, images = write_coco(tmp_path, PICTURES[2:3])
    data = DetectionData(lambda: read_coco(file, images), lambda: read_coco(file, images), **SMALL)
    assert len(data.dataset("val")) == 1
    with pytest.raises(UserError, match="the train data set has no objects"):
        data.train_dataloader()


def test_empty_data_set(tmp_path: Path) -> None:
    file, images = write_coco(tmp_path, (), coco_content(()))
    images.mkdir()
    with pytest.raises(UserError, match="its list 'images' is empty"):
        DetectionData(lambda: read_coco(file, images), **SMALL).train_dataloader()


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"max_objects": 0}, {"seed": -1}, {"on_error": "ignore"}, {"input_size": 5}]
)
def test_impossible_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(wrong))}="):
        DetectionData(**SMALL | wrong)
