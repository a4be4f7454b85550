"""Losses that are NaN or infinite, put into real training runs."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch.optim import SGD, Adam, AdamW
from torch.utils.data import DataLoader

from lightning_centernet import CenterNet, UserError
from lightning_centernet.testing import fake_batch
from tests.tiny import DETECTION, quiet_trainer, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:The '.*' does not have many workers", "ignore:The number of training")
NAN, INF = float("nan"), float("inf")


def loader(*bad, batches=6, head="wh", value=NAN):
    """Batches whose images have names; in the `bad` ones an object of a head, or the image, has no number."""
    made = [fake_batch(DETECTION, seed=seed) for seed in range(batches)]
    for number, batch in enumerate(made):
        batch |= {"file": [f"{number}_{name}.jpg" for name in "ab"], "image_id": torch.tensor([10, 20]) + number}
        if number in bad:
            batch[head][0, 0, 0] = value
    return DataLoader(made, batch_size=None)


def fit(model, data, **options):
    trainer = quiet_trainer(**options)
    trainer.fit(model, data)
    return trainer


class TestRaising:
    @pytest.mark.parametrize("value", [NAN, INF, -INF])
    @pytest.mark.parametrize("head", ["wh", "reg"])
    def test_head_step_and_images_are_named(self, value, head):
        message = rf"step 3 \(epoch 0, batch 3\): the loss of {head} is (nan|inf) \(hm [\d.]+, "
        message += r"(wh|reg) [\d.]+\); images: file 3_a.jpg, 3_b.jpg; image_id 13, 23\. "
        with pytest.raises(UserError, match=message):
            fit(tiny_model(), loader(3, head=head, value=value))

    def test_several_heads(self):
        class Both(CenterNet):
            def forward(self, image):
                return [{name: output * NAN for name, output in stack.items()} for stack in super().forward(image)]

        with pytest.raises(UserError, match="the loss of hm is nan, wh is nan, reg is nan; images: file 0_a"):
            fit(tiny_model(kind=Both), loader())

    def test_only_the_sum_is_too_large(self):
        heads = {"hm": 3, "wh": {"weight": 1e30}}
        data = loader(0, head="wh", value=1e20)
        with pytest.raises(UserError, match=r"batch 0\): the loss of tot is inf \(hm [\d.]+, wh [\d.e+]+\)"):
            fit(tiny_model(heads), data)

    @pytest.mark.parametrize(("interval", "stops"), [(1, 4), (2, 4), (5, 5), (50, 6)])
    def test_it_is_found_at_the_next_reading(self, interval, stops):
        model = tiny_model()
        trainer = quiet_trainer(log_every_n_steps=interval)
        with pytest.raises(UserError, match="batch 3"):
            trainer.fit(model, loader(3))
        assert trainer.global_step == stops

    def test_images_without_names(self):
        batch = fake_batch(DETECTION)
        batch["wh"][0, 0] = NAN
        with pytest.raises(UserError, match="images: not named by the batch"):
            fit(tiny_model(), DataLoader([batch], batch_size=None))

    def test_training_step_of_ones_own(self):
        class Mine(CenterNet):
            def training_step(self, batch, batch_idx):
                tot, _ = self.criterion(self(batch["image"]), batch=batch)
                return 2 * tot

        with pytest.raises(UserError, match="the loss of wh is nan"):
            fit(tiny_model(kind=Mine), loader(2))

    def test_an_epoch_cut_short(self):
        with pytest.raises(UserError, match="batch 1"):
            fit(tiny_model(), loader(1), max_steps=3, max_epochs=-1)

    def test_validation_is_not_reached(self):
        model = tiny_model()
        with pytest.raises(UserError, match="batch 0"):
            quiet_trainer(val_check_interval=2, log_every_n_steps=50).fit(model, loader(0), loader())
        assert not [name for name in model.trainer.callback_metrics if name.startswith("val/")]

    def test_a_second_training_begins_anew(self):
        model = tiny_model(optimizer=partial(SGD, lr=0.0))
        with pytest.raises(UserError):
            fit(model, loader(3))
        assert not model.criterion._forward_hooks
        assert fit(model, loader()).global_step == 6
        assert not model.criterion._forward_hooks

    def test_unknown_choice(self):
        with pytest.raises(
            UserError, match=r"^model.on_anomaly=skp: must be one of raise, skip\. Did you mean `skip`\?"
        ):
            tiny_model(on_anomaly="skp")

    def test_file_of_several_data_sets(self):
        good, bad = fake_batch(DETECTION), fake_batch(DETECTION) | {"file": ["of the second.jpg"]}
        bad["reg"][0, 0, 0] = NAN
        batches = {name: DataLoader([batch], batch_size=None) for name, batch in (("a", good), ("b", bad))}
        with pytest.raises(UserError, match=r"the loss of reg is nan .*images: file of the second.jpg"):
            fit(tiny_model(), batches)


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "lightning_centernet.anomalies"]


class TestEvaluation:
    """Losses of a validation or a test stop nothing, and are not passed over."""

    def test_validation(self, caplog):
        quiet_trainer(max_epochs=2).fit(tiny_model(), loader(), loader(1, 4, value=INF))
        first, second = warnings_of(caplog)
        start = "2 of 6 batches of the validation of epoch {} have a loss that is NaN or infinite, do not rely on its "
        assert first.startswith(f"{start.format(0)}scores: batch 1: the loss of wh is inf (hm ")
        assert second.startswith(start.format(1))
        for file in ("1_a.jpg, 1_b.jpg; image_id 11, 21", "\nbatch 4: ", "4_a.jpg"):
            assert file in first
        assert "0_a.jpg" not in first

    @pytest.mark.parametrize("stage", ["validate", "test"])
    def test_alone(self, stage, caplog):
        model = tiny_model()
        getattr(quiet_trainer(), stage)(model, loader(3), verbose=False)
        (message,) = warnings_of(caplog)
        name = {"validate": "validation of epoch 0", "test": "test"}[stage]
        assert message.startswith(f"1 of 6 batches of the {name} have a loss")
        assert "3_a.jpg" in message
        assert not model.criterion._forward_hooks

    def test_nothing_to_say(self, caplog):
        quiet_trainer().fit(tiny_model(), loader(), loader())
        assert not warnings_of(caplog)

    def test_of_the_training_alone(self):
        """A loss measured beside the training stops it no more than one of the validation."""

        class Measuring(CenterNet):
            def on_train_batch_start(self, batch, batch_idx):
                self.criterion.eval()
                self.criterion(self(batch["image"]), batch | {"wh": batch["wh"] * NAN})
                self.criterion.train()

        quiet_trainer(log_every_n_steps=1).fit(tiny_model(kind=Measuring), loader())


class TestCheckpoints:
    """No spoiled file replaces a good one, whoever wants to write it and when."""

    @pytest.mark.parametrize(
        "options",
        [
            {"every_n_epochs": 1},
            {"every_n_epochs": 1, "save_on_train_epoch_end": True},
            {"every_n_train_steps": 1},
            {"every_n_train_steps": 1, "save_weights_only": True},
            {"every_n_epochs": 1, "save_on_exception": True},
            {"every_n_epochs": 1, "save_last": True},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("validates", [True, False])
    def test_all_that_is_written_is_sound(self, options, validates, tmp_path):
        class Late(CenterNet):
            """Its second epoch goes wrong."""

            def training_step(self, batch, batch_idx):
                if (self.current_epoch, batch_idx) == (1, 2):
                    batch["image"][0, 0, 0] = NAN  # it spoils all weights, a target would not
                return super().training_step(batch, batch_idx)

        model = tiny_model(kind=Late, optimizer=partial(SGD, lr=0.01))
        keeper = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, **options)
        trainer = quiet_trainer(max_epochs=3, enable_checkpointing=True, callbacks=[keeper], log_every_n_steps=50)
        with pytest.raises(UserError, match=r"epoch 1, batch 2"):
            trainer.fit(model, loader(), loader() if validates else None)
        files = sorted(tmp_path.glob("*.ckpt"))
        assert files
        for file in files:
            weights = torch.load(file, weights_only=True)["state_dict"]
            assert all(value.isfinite().all() for value in weights.values()), file.name

    def test_by_hand(self, tmp_path):
        class Saving(CenterNet):
            def on_train_batch_end(self, outputs, batch, batch_idx):
                self.trainer.save_checkpoint(tmp_path / f"{batch_idx}.ckpt")

        with pytest.raises(UserError, match="batch 2"):
            fit(tiny_model(kind=Saving), loader(2), log_every_n_steps=50)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["0.ckpt", "1.ckpt"]


OPTIMIZERS = {
    "sgd": partial(SGD, lr=0.1, momentum=0.9),
    "fused sgd": partial(SGD, lr=0.1, momentum=0.9, fused=True),
    "adam": partial(Adam, lr=0.01),
    "fused adam": partial(Adam, lr=0.01, fused=True),
    "fused adamw": partial(AdamW, lr=0.01, weight_decay=0.1, fused=True),
}


def weights_after(optimizer, *bad, head="image", good_only=False, **options):
    """Train on six batches; the weights after that, and the trainer."""
    model = tiny_model(optimizer=OPTIMIZERS[optimizer], on_anomaly="skip")
    data = loader(*bad, head=head)
    if good_only:
        data = DataLoader([batch for number, batch in enumerate(data.dataset) if number not in bad], batch_size=None)
    trainer = fit(model, data, **options)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]), trainer


class TestSkipping:
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    @pytest.mark.parametrize(
        ("bad", "head", "clip"), [((0,), "wh", None), ((0, 3), "image", None), ((2, 3, 5), "image", 0.5)], ids=str
    )
    def test_as_if_the_batches_had_not_been(self, optimizer, bad, head, clip):
        with_bad, trainer = weights_after(optimizer, *bad, head=head, gradient_clip_val=clip)
        without, _ = weights_after(optimizer, *bad, good_only=True, gradient_clip_val=clip)
        assert trainer.global_step == 6
        assert torch.equal(with_bad, without)
        assert trainer.callback_metrics["train/skipped_steps"] == len(bad)

    @pytest.mark.parametrize("optimizer", ["adam", "fused adam"])
    def test_with_accumulated_gradients_the_whole_step_is_left_out(self, optimizer):
        with_bad, trainer = weights_after(optimizer, 2, accumulate_grad_batches=2)
        model = tiny_model(optimizer=OPTIMIZERS[optimizer])
        good = [batch for number, batch in enumerate(loader().dataset) if number not in (2, 3)]
        fit(model, DataLoader(good, batch_size=None), accumulate_grad_batches=2)
        without = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        assert torch.equal(with_bad, without)
        assert trainer.callback_metrics["train/skipped_steps"] == 1

    def test_report(self, caplog):
        with caplog.at_level(logging.WARNING, "lightning_centernet"):
            weights_after("sgd", 2, 4, head="wh")
        (record,) = (record for record in caplog.records if record.name == "lightning_centernet.anomalies")
        message = record.getMessage()
        assert message.startswith("skipped 2 of 6 optimiser steps: step 2 (epoch 0, batch 2): the loss of wh is nan")
        assert "file 2_a.jpg" in message
        assert "4_b.jpg" not in message.partition("\n")[0]
        assert "4_b.jpg" in message

    def test_nothing_to_report(self, caplog):
        _, trainer = weights_after("sgd")
        assert trainer.callback_metrics["train/skipped_steps"] == 0
        assert not [record for record in caplog.records if record.name == "lightning_centernet.anomalies"]

    def test_counted_in_each_epoch(self):
        model = tiny_model(on_anomaly="skip")
        counts = []
        model.on_train_epoch_end = lambda: counts.append(model.trainer.callback_metrics["train/skipped_steps"].item())
        fit(model, loader(1), max_epochs=3)
        assert counts == [1, 1, 1]

    def test_nothing_but_bad_steps(self):
        with pytest.raises(UserError, match="all 6 optimiser steps of the epoch were skipped: step 0"):
            weights_after("sgd", *range(6))

    def test_running_statistics_that_are_spoiled(self):
        data = loader()
        data.dataset[2]["image"][0, 0, 0, 0] = NAN
        backbone = {"name": "test_resnet", "neck_channels": 8}
        message = r"running statistics network.*running_mean are no longer finite[^\n]*: the loss of hm.*file 2_a.jpg"
        with pytest.raises(UserError, match=message):
            fit(tiny_model(backbone=backbone, on_anomaly="skip"), data)


class TestHalfPrecision:
    """The steps that a GradScaler leaves out because its scale is too large are no anomalies."""

    def trained(self, data, on_anomaly, optimizer="sgd", scale=2.0**8):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        model = tiny_model(optimizer=OPTIMIZERS[optimizer], on_anomaly=on_anomaly)
        trainer = fit(model, data, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
        return model, trainer, scaler

    def test_too_large_a_scale(self):
        model, _, scaler = self.trained(loader(), "raise", scale=2.0**40)
        assert scaler.get_scale() < 2.0**40
        assert all(parameter.isfinite().all() for parameter in model.parameters())

    def test_raising(self):
        with pytest.raises(UserError, match="the loss of wh is nan"):
            self.trained(loader(2), "raise")

    @pytest.mark.parametrize("optimizer", ["sgd", "fused sgd", "adam", "fused adam"])
    def test_skipping(self, optimizer):
        """Also where the gradient of an infinite loss is finite, which no scaler would notice."""
        model, trainer, _ = self.trained(loader(2, value=INF), "skip", optimizer)
        good = [batch for number, batch in enumerate(loader().dataset) if number != 2]
        expected, _, _ = self.trained(DataLoader(good, batch_size=None), "skip", optimizer)
        assert trainer.callback_metrics["train/skipped_steps"] == 1
        for value, other in zip(model.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(value, other, rtol=1e-2, atol=1e-3)  # the scale is another, and so the rounding
