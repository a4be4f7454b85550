"""What users override and add: steps, optimisers, metrics, and heads of their own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.optim import SGD

from lightning_centernet import CenterNet, GenericLoss, Head, UserError
from lightning_centernet.data import coco_data
from lightning_centernet.heads.spec import target
from lightning_centernet.testing import FakeData, fake_batch
from tests.fakes import CLASSES
from tests.tiny import DETECTION, logged, quiet_trainer, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:The '.*' does not have many workers", "ignore:The number of training")


@dataclass(frozen=True, kw_only=True)
class Counted(Head):
    """A head of a user: the number of objects near each object, with a learned temperature."""

    def criterion(self, prediction, batch):
        mask = target(batch, self, "mask")
        wanted = mask.sum(1, keepdim=True).expand_as(mask)
        return ((prediction[..., 0] * self.module.weight - wanted).abs() * mask).sum() / (mask.sum() + 1e-4)

    @property
    def provides(self):
        return ("count",)

    def encode(self, objects):
        return {}

    def decode(self, values, detections):
        return {"count": values[..., 0] * self.module.weight}


class TestExtending:
    def test_training_step_of_ones_own(self):
        class Doubled(CenterNet):
            def training_step(self, batch, batch_idx):
                loss = 2 * super().training_step(batch, batch_idx)
                self.log("train/doubled", loss.detach())
                return loss

        trainer = quiet_trainer()
        trainer.fit(tiny_model(kind=Doubled), FakeData(DETECTION))
        metrics = trainer.callback_metrics
        torch.testing.assert_close(metrics["train/doubled"], 2 * metrics["train/tot"])

    def test_optimizer_of_ones_own(self):
        class Slow(CenterNet):
            def configure_optimizers(self):
                return SGD(self.network.stacks.parameters(), lr=0.5)

        trainer = quiet_trainer()
        model = tiny_model(kind=Slow)
        kept = model.network.backbone[0].weight.clone()
        trainer.fit(model, FakeData(DETECTION))
        assert trainer.optimizers[0].param_groups[0]["lr"] == 0.5
        assert torch.equal(model.network.backbone[0].weight, kept)

    def test_head_with_a_loss_and_parameters_of_its_own(self, coco):
        weight = nn.Module()
        weight.weight = nn.Parameter(torch.tensor(0.5))
        heads = DETECTION | {"count": Counted(name="count", channels=1, module=weight, weight=0.1)}
        data = coco_data(**coco)
        model = tiny_model(heads, classes=data.classes, input_size=(64, 96))
        assert any(parameter is weight.weight for parameter in model.parameters())
        assert "criterion.parameters_of.count.weight" in model.state_dict()
        trainer = quiet_trainer()
        trainer.fit(model, data)
        assert logged(trainer, "train") == {"tot", *DETECTION, "count"}
        assert weight.weight.item() != 0.5
        (first, _), *_ = trainer.predict(model, data.val_dataloader())
        assert first["count"].shape == (20,)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_loss_of_ones_own_computes_in_float32(self, dtype):
        class Linear(Counted):
            def criterion(self, prediction, batch):
                product = self.module(prediction)
                assert product.dtype == torch.float32
                return product.mean()

        head = Linear(name="count", channels=2, module=nn.Linear(2, 2))
        with torch.autocast("cpu", dtype=dtype):
            loss, _ = GenericLoss({"count": head})(
                {"count": torch.randn(2, 2, 24, 32).to(dtype)}, fake_batch(DETECTION)
            )
        assert loss.dtype == torch.float32

    def test_head_from_words_alone(self, coco):
        """An L1 head for a field of the annotations."""
        heads = DETECTION | {"speed": {"kind": "regression", "channels": 1, "weight": 0.5}}
        data = coco_data(**coco, fields=["speed"])
        model, trainer = tiny_model(heads, classes=data.classes, input_size=(64, 96)), quiet_trainer()
        trainer.fit(model, data)
        assert "train/speed" in trainer.callback_metrics
        assert trainer.callback_metrics["val/speed"] > 0
        (first, _), *_ = trainer.predict(model, data.val_dataloader())
        assert first["speed"].shape == (20, 1)

    def test_field_that_the_data_lacks(self, coco):
        heads = DETECTION | {"speed": {"kind": "regression", "channels": 1}}
        data = coco_data(**coco)
        with pytest.raises(UserError, match=r"head `speed` needs the annotation field `speed`.*data.fields=\[speed\]"):
            quiet_trainer().fit(tiny_model(heads, classes=data.classes, input_size=(64, 96)), data)

    def test_metric_of_ones_own(self, coco):
        calls = []

        def make(classes):
            calls.append(classes)
            return nn.Identity()

        data = coco_data(**coco)
        model = tiny_model(metrics=make, classes=data.classes, input_size=(64, 96))
        assert calls == [CLASSES, CLASSES]
        assert isinstance(model.metrics["val"], nn.Identity)
