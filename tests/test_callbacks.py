"""DrawPredictions in a real, tiny training run."""

import csv
import logging
import os
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_centernet import callbacks
from lightning_centernet.callbacks import BestCheckpoint, DrawPredictions, LogEveryEpoch
from lightning_centernet.data import street_data
from lightning_centernet.draw import GRAY, class_color
from lightning_centernet.errors import UserError
from lightning_centernet.evaluation import per_image
from lightning_centernet.geometry.camera import alpha_from_rotation, project, project_boxes
from lightning_centernet.skeleton import Skeleton
from tests.draw.pixels import like, shows
from tests.tiny import tiny_model

FILES = ["photos/one.jpg", "photos/two.v2.png", "more/one.jpg", "four.jpg", "five.jpg"]


class Pictures(Dataset):
    """Gray images of 64 x 96 with a car, a person in an ignored region, and an unused slot."""

    def __len__(self):
        return len(FILES)

    def __getitem__(self, index):
        annotations = {
            "boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0], [56.0, 8.0, 90.0, 50.0], [0.0, 0.0, 96.0, 64.0]]),
            "labels": torch.tensor([0, 1, 2]),
            "ignore": torch.tensor([False, True, False]),
            "mask": torch.tensor([True, True, False]),
        }
        return {"image": torch.zeros(3, 64, 96), "annotations": annotations, "file": FILES[index]}


class StandIn(pl.LightningModule):
    """Predicts a bus where the car is; the part of CenterNet that the callback knows."""

    stride = 4
    classes = ("car", "person", "bus", "tree")
    skeleton = None

    def __init__(self, keys=("outputs", "detections")):
        super().__init__()
        self.keys = keys
        self.bias = nn.Parameter(torch.zeros(()))

    def denormalize(self, image):
        return (image + 0.5).mul(255).to(torch.uint8)

    def training_step(self, batch, batch_idx):
        return self.bias**2

    def validation_step(self, batch, batch_idx):
        number = len(batch["image"])
        hm = torch.full((number, 4, 16, 24), -9.0)
        hm[:, 2, 6, 6] = 9.0
        boxes = torch.tensor([[2.0, 2.0, 10.0, 10.0], [12.0, 8.0, 20.0, 14.0]]).expand(number, 2, 4)
        scores, labels = torch.tensor([0.9, 0.1]).expand(number, 2), torch.tensor([2, 3]).expand(number, 2)
        step = {"outputs": {"hm": hm}, "detections": {"boxes": boxes, "scores": scores, "labels": labels}}
        return {key: step[key] for key in self.keys}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(callback, logger=False, **options):
    usual = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(callbacks=[callback], logger=logger, **usual | options)


def fit(tmp_path, callback, model=None, **options):
    loader = DataLoader(Pictures(), batch_size=2)
    trainer(callback, default_root_dir=tmp_path, **options).fit(model or StandIn(), loader, loader)


def written(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*.png"))


def holds(picture, color):
    return (picture == np.array(color)).all(-1).any()


def test_writes_the_first_images_of_each_epoch(tmp_path):
    folder = tmp_path / "a" / "pictures"
    fit(tmp_path, DrawPredictions(folder, images=3), logger=TensorBoardLogger(tmp_path, "board", ""))
    names = ["one.png", "one_2.png", "two.v2.png"]
    assert written(folder) == [f"epoch_{epoch:03d}/{name}" for epoch in (0, 1) for name in names]

    events = EventAccumulator(str(tmp_path / "board"), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {"predictions/one", "predictions/one_2", "predictions/two.v2"}
    assert [event.step for event in events.Images("predictions/one")] == [3, 6]


def test_shows_what_is_there(tmp_path):
    fit(tmp_path, DrawPredictions(tmp_path / "pictures", images=1))
    picture = np.array(Image.open(tmp_path / "pictures" / "epoch_001" / "one.png"))
    assert picture.shape[0] > 384
    assert picture.shape[1] > 3 * 576
    predicted, truth, heat = np.array_split(picture, 3, axis=1)
    car, person, bus, tree = map(class_color, range(4))
    assert [holds(predicted, color) for color in (car, bus, tree)] == [False, True, False]  # the tree's score is low
    for panel, color, left in ((predicted, bus, 6), (truth, car, 4)):  # both boxes lie where the car is
        rows, columns = np.nonzero((panel == np.array(color)).all(-1))
        assert (columns.min() - left, columns.max() + 1 - left, rows.max() + 1 - 24) == (48, 240, 240)
    assert [holds(truth, color) for color in (car, GRAY, person, bus)] == [True, True, False, False]
    rows, columns = np.nonzero(np.abs(heat - np.array(bus, float)).max(-1) < 40)
    assert (rows.mean() + 0.5 - 24, columns.mean() + 0.5 - 2) == pytest.approx(
        (156, 156), abs=2
    )  # cell (6, 6) of 24 pixels


CAMERA = torch.tensor([[60.0, 0, 48, 3], [0, 60, 24, -0.1], [0, 0, 1, 0.002]])
SOLID = {"location": [1.0, 1.6, 9.0], "dimensions": [1.5, 1.7, 4.0], "rotation_y": 0.7}
SKELETON = Skeleton(("left", "right"), (("left", "right"),))


class Solids(Pictures):
    """The same images, with a 3D box and two joints for the first object."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        solid = {name: torch.tensor(value).expand(3, *np.shape(value)).clone() for name, value in SOLID.items()}
        for values in solid.values():
            values[1] = torch.nan
        joints = torch.tensor([[10.0, 50, 2], [30, 58, 2]]).expand(3, 2, 3).clone()
        joints[1:] = 0
        half = torch.tensor([[0.5, 0, 0], [0, 0.5, 0]], dtype=torch.float64)  # of the original's size
        annotations = item["annotations"] | solid | {"keypoints": joints}
        return item | {"annotations": annotations, "calibration": CAMERA, "transform": half}


class Exact(StandIn):
    """Finds the first object, and of it the fields named; positions are on the output grid."""

    skeleton = SKELETON

    def __init__(self, *fields):
        super().__init__()
        self.fields = fields

    def validation_step(self, batch, batch_idx):
        truth = {name: values[:, :1] for name, values in batch["annotations"].items()}
        middle = truth["location"] - truth["dimensions"][..., :1] / 2 * torch.tensor([0, 1, 0])
        pixels = project(middle, batch["calibration"])
        found = {
            "boxes": truth["boxes"] / 4,
            "scores": torch.full(truth["labels"].shape, 0.9),
            "labels": truth["labels"],
            "amodal_centers": pixels / 4,
            "depth": middle[..., 2] + 0.002,
            "dimensions": truth["dimensions"],
            "alpha": alpha_from_rotation(truth["rotation_y"], pixels, batch["calibration"]),
            "keypoints": truth["keypoints"][..., :2] / 4,
            "keypoint_scores": torch.tensor([0.8, 0.7]).expand(*truth["labels"].shape, 2),
        }
        fields = {"boxes", "scores", "labels", *self.fields}
        step = {"outputs": {"hm": torch.full((len(pixels), 4, 16, 24), -9.0)}}
        return step | {"detections": {name: values for name, values in found.items() if name in fields}}


def panels_of(tmp_path, *fields):
    loader = DataLoader(Solids(), batch_size=2)
    run = trainer(DrawPredictions(tmp_path, images=1), default_root_dir=tmp_path)
    run.validate(Exact(*fields), loader, verbose=False)
    picture = np.array(Image.open(tmp_path / "epoch_000" / "one.png"))
    return picture[24:408, 6:582], picture[24:408, 588:1164], picture[24:408, 1170:-6]


def test_solid_boxes_are_lifted_and_shown_from_above(tmp_path):
    predicted, truth, rest = panels_of(tmp_path, "amodal_centers", "depth", "dimensions", "alpha")
    assert rest.shape[1] == 384 + 6 + 576
    car = class_color(0)
    box = (torch.tensor([value]) for value in SOLID.values())
    corners = project_boxes(*box, CAMERA)[0] * 6
    assert all(shows(panel, point, car) for panel in (predicted, truth) for point in corners.numpy())
    assert not shows(predicted, (48, 140), car)  # no 2D box
    assert holds(truth, GRAY)  # an ignored object without a 3D box keeps its 2D box
    above = rest[:, :384]
    assert like(above, car).any()
    assert not like(above[:, 40:], (235, 235, 235)).any()  # the prediction covers the true outline


def test_poses_are_drawn(tmp_path):
    predicted, truth, rest = panels_of(tmp_path, "keypoints", "keypoint_scores")
    assert rest.shape[1] == 576
    for panel in (predicted, truth):
        assert shows(panel, (60, 300), (0, 170, 255), reach=0)
        assert shows(panel, (180, 348), (255, 140, 0), reach=0)
        assert shows(panel, (48, 140), class_color(0))


def test_truth_has_no_more_fields_than_predictions(tmp_path):
    predicted, truth, rest = panels_of(tmp_path)
    assert rest.shape[1] == 576
    for panel in (predicted, truth):
        assert shows(panel, (48, 140), class_color(0))
        assert not shows(panel, (60, 300), (0, 170, 255))


def test_only_what_is_drawn_is_looked_at(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        callbacks, "per_image", lambda found, *rest: seen.append(len(found["scores"])) or per_image(found, *rest)
    )
    run = trainer(DrawPredictions(tmp_path, images=3), default_root_dir=tmp_path)
    run.validate(Exact("amodal_centers", "depth", "dimensions", "alpha"), DataLoader(Solids(), 2), verbose=False)
    assert seen == [2, 1]
    assert len(written(tmp_path)) == 3


def test_draws_all_of_a_small_set_and_needs_no_logger(tmp_path):
    fit(tmp_path, DrawPredictions(tmp_path / "pictures"), logger=CSVLogger(tmp_path))
    assert len(written(tmp_path / "pictures")) == 2 * len(FILES)


def test_nothing_in_the_sanity_check(tmp_path):
    fit(tmp_path, DrawPredictions(tmp_path / "pictures"), num_sanity_val_steps=2, check_val_every_n_epoch=5)
    assert written(tmp_path / "pictures") == []


def test_only_the_first_process_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(pl.Trainer, "is_global_zero", False)
    callback = DrawPredictions(tmp_path / "pictures")
    fit(tmp_path, callback)
    assert not (tmp_path / "pictures").exists()


def test_own_steps_are_reported_once_not_drawn(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "lightning_centernet"):
        fit(tmp_path, DrawPredictions(tmp_path / "pictures"), StandIn(keys=["outputs"]))
    assert [record.getMessage() for record in caplog.records if record.name == "lightning_centernet.callbacks"] == [
        "no predictions are drawn: the validation step or its batch lacks detections"
    ]
    assert written(tmp_path / "pictures") == []


@pytest.mark.parametrize(("heads", "lacking"), [({"hm": 3, "reg": 2}, "boxes"), ({"wh": 2, "reg": 2}, "boxes, hm")])
def test_models_without_boxes_are_trained_all_the_same(tmp_path, caplog, heads, lacking):
    data = street_data(1, 1, input_size=(64, 96), num_workers=0)
    with caplog.at_level(logging.WARNING, "lightning_centernet"):
        trainer(DrawPredictions(tmp_path)).validate(tiny_model(heads, input_size=(64, 96)), data, verbose=False)
    assert f"no predictions are drawn: the validation step or its batch lacks {lacking}" in caplog.text
    assert written(tmp_path) == []


def test_unwritable_directory_is_named_before_training(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/pictures: cannot write"):
        fit(tmp_path, DrawPredictions(tmp_path / "file" / "pictures"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_directory_is_named_before_training(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write"):
        fit(tmp_path, DrawPredictions(tmp_path))


class Scored(StandIn):
    """Validates with a score of its own in each epoch."""

    def on_validation_epoch_end(self):
        self.log("val/map", (0.9, 0.5, 0.95)[self.current_epoch])


def scored_fit(folder, epochs, resumed=None):
    keeper = BestCheckpoint(folder, "{epoch}", monitor="val/map", mode="max")
    loader, options = DataLoader(Pictures()), {"enable_checkpointing": True, "max_epochs": epochs}
    run = trainer(keeper, **options)
    run.fit(Scored(), loader, loader, ckpt_path=resumed, weights_only=True)
    return keeper, run


def test_resumed_run_goes_on_from_the_best_score(tmp_path):
    first, run = scored_fit(tmp_path / "a", 1)
    run.save_checkpoint(tmp_path / "last.ckpt")
    worse, _ = scored_fit(tmp_path / "b", 2, tmp_path / "last.ckpt")
    assert worse.best_model_score == pytest.approx(0.9)
    assert worse.best_model_path == first.best_model_path
    assert not (tmp_path / "b").exists()
    better, _ = scored_fit(tmp_path / "c", 3, tmp_path / "last.ckpt")
    assert better.best_model_score == pytest.approx(0.95)
    assert sorted(file.relative_to(tmp_path) for file in tmp_path.glob("*/*.ckpt")) == [
        Path("a/epoch=0.ckpt"),
        Path("c/epoch=2.ckpt"),
    ]
    Path(first.best_model_path).unlink()
    alone, _ = scored_fit(tmp_path / "d", 2, tmp_path / "last.ckpt")
    assert alone.best_model_path == str(tmp_path / "d/epoch=1.ckpt")


@pytest.mark.parametrize(("accumulated", "steps"), [(1, [4, 9]), (2, [2, 5])])
def test_short_epochs_are_logged(tmp_path, accumulated, steps):
    class Logged(StandIn):
        def training_step(self, batch, batch_idx):
            self.log("train/tot", 1.0)
            return self.bias**2

    board = CSVLogger(tmp_path, "", "")
    run = trainer(LogEveryEpoch(), board, accumulate_grad_batches=accumulated, log_every_n_steps=10)
    run.fit(Logged(), DataLoader(Pictures()))
    with (tmp_path / "metrics.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == steps
