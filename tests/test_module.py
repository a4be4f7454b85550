"""The LightningModule: its steps, its logs, and what a user overrides."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR, StepLR
from torch.utils.data import DataLoader

from lightning_centernet import CenterNet, UserError
from lightning_centernet.data import coco_data
from lightning_centernet.heads import STANDARD
from lightning_centernet.testing import FakeData, fake_batch, fake_outputs
from tests.fakes import CLASSES
from tests.tiny import DETECTION, SIZE, TinyBackbone, logged, quiet_trainer, tiny_model

ALL = {name: standard.channels or {"hps": 10, "hm_hp": 5}.get(name, 3) for name, standard in STANDARD.items()}
MAP_KEYS = {"map", "map_50", "map_75", "map_small", "map_medium", "mar_100"}  # no object is large
pytestmark = pytest.mark.filterwarnings(
    "ignore:The '.*' does not have many workers", "ignore:The number of training batches", "ignore:.*GPU available"
)


class OwnHeads(nn.Module):
    """A backbone that gives lists of dicts."""

    def __init__(self, stacks=2):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: nn.Conv2d(3, channels, 4, 4) for name, channels in DETECTION.items()})
            for _ in range(stacks)
        )

    def forward(self, image):
        return [{name: layer(image) for name, layer in stack.items()} for stack in self.layers]


class TwoStacks(TinyBackbone):
    def forward(self, image):
        features = super().forward(image)
        return [features, features.relu()]


BACKBONES = {
    "by hand": TinyBackbone,
    "two stacks": TwoStacks,
    "own heads": OwnHeads,
    "spec": lambda: {"name": "test_resnet", "neck_channels": 8},
}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_fit_and_test_on_fake_batches(backbone):
    model, trainer = tiny_model(backbone=BACKBONES[backbone]()), quiet_trainer()
    before = {name: value.clone() for name, value in model.state_dict().items() if value.is_floating_point()}
    trainer.fit(model, FakeData(DETECTION))
    assert logged(trainer, "train") == logged(trainer, "val") == {"tot", *DETECTION}
    assert all(value.isfinite() for value in trainer.callback_metrics.values())
    changed = [name for name in before if not torch.equal(before[name], model.state_dict()[name])]
    assert changed
    trainer.test(model, FakeData(DETECTION), verbose=False)
    assert logged(trainer, "test") == {"tot", *DETECTION}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_fit_test_and_predict_on_a_data_set(backbone, coco):
    data = coco_data(**coco)
    model = tiny_model(backbone=BACKBONES[backbone](), classes=data.classes, input_size=(64, 96))
    trainer = quiet_trainer()
    trainer.fit(model, data)
    assert logged(trainer, "train") == {"tot", *DETECTION}
    metrics = MAP_KEYS | {f"map_{name}" for name in CLASSES}
    assert logged(trainer, "val") == {"tot", *DETECTION} | metrics
    trainer.test(model, data, verbose=False)
    assert logged(trainer, "test") == {"tot", *DETECTION} | metrics
    images = [image for batch in trainer.predict(model, data.val_dataloader()) for image in batch]
    assert sorted(int(image["image_id"]) for image in images) == [1, 2, 3, 4]
    for image in images:
        assert image["boxes"].shape == (20, 4)
        assert image["scores"].shape == image["labels"].shape == (20,)
        assert image["boxes"].isfinite().all()


def test_all_heads_together():
    model, trainer = tiny_model(ALL), quiet_trainer()
    trainer.fit(model, FakeData(ALL))
    assert logged(trainer, "train") == logged(trainer, "val") == {"tot", *STANDARD}
    assert all(value.isfinite() for value in trainer.callback_metrics.values())


@pytest.mark.parametrize("name", [name for name in STANDARD if name != "hm"])
def test_a_head_without_a_heat_map_trains(name):
    trainer = quiet_trainer()
    trainer.fit(tiny_model({name: ALL[name]}), FakeData({name: ALL[name]}, batches=1))
    assert logged(trainer, "train") == logged(trainer, "val") == {"tot", name}


def test_logged_values_are_those_of_the_loss():
    model, data = tiny_model(optimizer=partial(SGD, lr=0.0)), FakeData(DETECTION, batches=3)
    trainer = quiet_trainer()
    trainer.fit(model, data)
    stats = [model.criterion(model(batch["image"]), batch)[1] for batch in data.batches]
    for name in ("tot", *DETECTION):
        mean = torch.stack([each[name] for each in stats]).mean()
        torch.testing.assert_close(trainer.callback_metrics[f"val/{name}"], mean.detach())
        torch.testing.assert_close(trainer.callback_metrics[f"train/{name}"], stats[-1][name].detach())


@pytest.mark.parametrize("stage", ["train", "val"])
def test_logs_know_the_batch_and_are_reduced_over_ranks_in_validation(stage, monkeypatch):
    calls, model = {}, tiny_model()
    monkeypatch.setattr(model, "log", lambda name, value, **options: calls.update({name: options}))
    monkeypatch.setattr(model, "log_dict", lambda values, **options: calls.update(dict.fromkeys(values, options)))
    quiet_trainer().fit(model, FakeData(DETECTION, batch_size=3))
    calls = {name: options for name, options in calls.items() if name.startswith(stage)}
    assert set(calls) == {f"{stage}/{name}" for name in ("tot", *DETECTION)}
    for options in calls.values():
        assert options["batch_size"] == 3
        assert options.get("sync_dist", False) == (stage == "val")


@pytest.mark.parametrize(("interval", "steps"), [(2, [2, 4, 5]), (3, [3, 5]), (100, [5]), (0, [5])])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_training_is_logged_at_the_interval_and_at_the_end(interval, steps, accumulated, monkeypatch):
    model, logged_steps, batches = tiny_model(), [], 5 * accumulated
    monkeypatch.setattr(model, "log_dict", lambda *_, **__: logged_steps.append(model.trainer.global_step))
    trainer = quiet_trainer(log_every_n_steps=interval, accumulate_grad_batches=accumulated, limit_val_batches=0)
    trainer.fit(model, FakeData(DETECTION, batches=batches))
    assert logged_steps == steps
    assert trainer.progress_bar_metrics["train/tot"] == model.loss_stats["tot"].item()


def test_mean_average_precision_of_perfect_outputs(coco):
    """A network that gives the targets themselves finds every object, in original pixels."""

    class Perfect(CenterNet):
        def validation_step(self, batch, batch_idx):
            self.truth = batch
            return super().validation_step(batch, batch_idx)

        def forward(self, image):
            if not hasattr(self, "truth"):
                return super().forward(image)
            outputs = {"hm": (self.truth["hm"] == 1) * 20.0 - 10}
            for name in ("wh", "reg"):
                cells = torch.zeros(len(image), 2, outputs["hm"][0, 0].numel())
                for values, index, values_of in zip(cells, self.truth["ind"], self.truth[name], strict=True):
                    values[:, index.flip(0)] = values_of.flip(0).mT  # so that the first slots win
                outputs[name] = cells.view(len(image), 2, *outputs["hm"].shape[2:])
            return [outputs]

    data = coco_data(**coco)
    model = tiny_model(kind=Perfect, classes=data.classes, input_size=(256, 384), optimizer=partial(SGD, lr=0.0))
    data = coco_data(**coco | {"input_size": (256, 384)})
    trainer = quiet_trainer()
    scores = trainer.validate(model, data, verbose=False)[0]
    # boxes at the border lose a cell, as in the originals
    assert scores["val/map_50"] == 1
    assert scores["val/map"] > 0.9


class TestBatchesInTheOriginalsKeys:
    def test_centertrack(self):
        batch = fake_batch(DETECTION)
        assert "annotations" not in batch
        model = tiny_model()
        loss = model.training_step(model.on_after_batch_transfer(batch | {"meta": {"c": 1}, "pre_img": None}, 0), 0)
        loss.backward()
        assert loss.isfinite()

    def test_centernet(self):
        """`input`, one `reg_mask` for all, no list of classes; with the dense focal loss."""
        batch = fake_batch(DETECTION)
        theirs = {name: batch[name] for name in ("hm", "wh", "reg", "ind")}
        theirs |= {"input": batch["image"], "reg_mask": batch["mask"].byte(), "meta": {}}
        heads = {"hm": {"channels": 3, "focal": "dense"}, "wh": 2, "reg": 2}
        trainer = quiet_trainer()
        loader = DataLoader([theirs], batch_size=None)
        trainer.fit(tiny_model(heads), loader, loader)
        assert logged(trainer, "train") == logged(trainer, "val") == {"tot", *DETECTION}

    def test_prediction_of_plain_images(self):
        model = tiny_model()
        loader = DataLoader([{"image": torch.zeros(2, 3, *SIZE, dtype=torch.uint8)}], batch_size=None)
        ((first, second),) = quiet_trainer().predict(model, loader)
        assert first["boxes"].shape == (20, 4)
        torch.testing.assert_close(first["boxes"], second["boxes"])
        assert first["boxes"].max() > SIZE[1] / 4  # pixels, not cells

    def test_missing_target_is_named(self):
        batch = fake_batch(DETECTION)
        del batch["wh"]
        loader = DataLoader([batch], batch_size=None)
        with pytest.raises(UserError, match=r"no batch of the epoch had targets for head `wh` \(`wh`\): add them"):
            quiet_trainer().fit(tiny_model(), loader)


class TestOptimization:
    @pytest.mark.parametrize(("steps", "factor"), [(2, 0.25), (1, 0.5)])
    def test_schedule_of_epochs(self, steps, factor):
        model = tiny_model(optimizer=partial(SGD, lr=0.1), scheduler=partial(StepLR, step_size=1, gamma=0.5))
        trainer = quiet_trainer(max_epochs=steps)
        trainer.fit(model, FakeData(DETECTION, batches=3))
        assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * factor)

    def test_schedule_of_steps(self):
        model = tiny_model(optimizer=partial(SGD, lr=0.1), scheduler=partial(OneCycleLR, max_lr=1.0))
        trainer = quiet_trainer(max_epochs=2)
        trainer.fit(model, FakeData(DETECTION, batches=3))
        (config,) = trainer.lr_scheduler_configs
        assert config.interval == "step"
        assert config.scheduler.total_steps == 6
        assert config.scheduler.last_epoch == 6

    def test_same_seed_same_result(self):
        results = []
        for _ in range(2):
            model, trainer = tiny_model(optimizer=partial(SGD, lr=0.01)), quiet_trainer(deterministic=True)
            trainer.fit(model, FakeData(DETECTION))
            results.append((trainer.callback_metrics, model.state_dict()))
        for first, second in zip(*results, strict=True):
            assert set(first) == set(second)
            assert all(torch.equal(first[name], second[name]) for name in first)

    def test_learning(self):
        model = tiny_model(optimizer=partial(torch.optim.Adam, lr=0.01))
        trainer = quiet_trainer(max_epochs=12)
        losses = []
        model.on_train_epoch_end = lambda: losses.append(float(trainer.callback_metrics["train/tot"]))
        trainer.fit(model, FakeData(DETECTION, batches=2))
        assert losses[-1] < 0.9 * losses[0]  # the images are noise


class TestRefusals:
    def test_size(self):
        with pytest.raises(UserError, match="input_size=512"):
            tiny_model(input_size=512)

    def test_classes_that_do_not_fit_the_heat_map(self):
        with pytest.raises(UserError, match="head `hm` has 3 channels, but 2 classes need 2"):
            tiny_model(classes=["cat", "dog"])

    def test_ids_that_do_not_fit_the_classes(self):
        with pytest.raises(UserError, match="2 category_ids for 3 classes"):
            tiny_model(classes=["cat", "dog", "cow"], category_ids=[1, 2])

    def test_name_in_place_of_a_backbone(self):
        with pytest.raises(UserError, match=r"backbone='resnet18': must be a module, or a mapping such as"):
            tiny_model(backbone="resnet18")

    def test_option_of_the_backbone(self):
        with pytest.raises(UserError, match="backbone: unknown option pretrain; it takes name, neck_channels, pretrai"):
            tiny_model(backbone={"name": "test_resnet", "pretrain": True})


def test_unused_classes_get_numbers():
    model = tiny_model()
    assert model.classes == ("0", "1", "2")
    assert model.category_ids == (1, 2, 3)


def test_first_loss_is_that_of_the_bias():
    """The heat map starts near 0.1 everywhere, as RetinaNet's advice wants."""
    model, batch = tiny_model(), fake_batch(DETECTION)
    _, stats = model.criterion(model(batch["image"]), batch)
    constant = fake_outputs(DETECTION)
    constant["hm"] = torch.full_like(constant["hm"], -math.log(9))
    _, expected = model.criterion(constant, batch)
    torch.testing.assert_close(stats["hm"], expected["hm"], rtol=0.1, atol=0)
