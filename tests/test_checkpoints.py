"""Checkpoints: what is rebuilt, what is refused, and that a hostile one calls nothing."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, StepLR

from lightning_centernet import CenterNet, UserError
from lightning_centernet.heads import Field
from lightning_centernet.testing import FakeData, fake_batch
from tests.tiny import DETECTION, TinyBackbone, quiet_trainer, tiny_model

SPEC = {"name": "test_resnet", "neck_channels": 8}
pytestmark = pytest.mark.filterwarnings("ignore:The '.*' does not have many workers", "ignore:The number of training")


def save(model, path, trainer=None):
    trainer = trainer or quiet_trainer()
    trainer.fit(model, FakeData(DETECTION))
    trainer.save_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def of_spec(tmp_path_factory):
    model = tiny_model(backbone=SPEC, classes=["a", "b", "c"], category_ids=[4, 9, 2], mean=(0.1, 0.2, 0.3))
    return model.eval(), save(model, tmp_path_factory.mktemp("spec") / "model.ckpt")


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    model = tiny_model()
    return model.eval(), save(model, tmp_path_factory.mktemp("hand") / "model.ckpt")


def assert_same_model(model, other):
    image = fake_batch(DETECTION)["image"]
    with torch.no_grad():
        for stack, other_stack in zip(model.eval()(image), other.eval()(image), strict=True):
            for name, output in stack.items():
                torch.testing.assert_close(other_stack[name], output, rtol=0, atol=0)


class TestRebuilding:
    def test_plain_data(self, of_spec):
        _, path = of_spec
        content = torch.load(path, weights_only=True)
        assert content["hyper_parameters"] == {
            "backbone": SPEC, "heads": content["hyper_parameters"]["heads"], "classes": ["a", "b", "c"],
            "category_ids": [4, 9, 2], "input_size": [96, 128], "mean": [0.1, 0.2, 0.3],
            "std": [0.229, 0.224, 0.225], "head_width": 8, "max_detections": 20,
            "weighting": {"name": "fixed"},
        }  # fmt: skip

    def test_of_a_spec(self, of_spec):
        model, path = of_spec
        other = CenterNet.load_from_checkpoint(path)
        assert_same_model(model, other)
        for name in ("classes", "category_ids", "input_size", "mean", "std", "max_detections", "heads", "stride"):
            assert getattr(other, name) == getattr(model, name)

    def test_through_a_second_checkpoint(self, of_spec, tmp_path):
        model, path = of_spec
        again = tmp_path / "again.ckpt"
        torch.save(torch.load(path, weights_only=True), again)
        assert_same_model(model, CenterNet.load_from_checkpoint(str(again), map_location="cpu"))

    def test_pretrained_weights_are_not_fetched_again(self, of_spec, tmp_path, monkeypatch):
        model, path = of_spec
        content = torch.load(path, weights_only=True)
        content["hyper_parameters"]["backbone"]["pretrained"] = True
        torch.save(content, tmp_path / "model.ckpt")
        create = timm.create_model

        def create_without_weights(name, pretrained, **options):
            assert pretrained is False
            return create(name, pretrained=False, **options)

        monkeypatch.setattr(timm, "create_model", create_without_weights)
        assert_same_model(model, CenterNet.load_from_checkpoint(tmp_path / "model.ckpt"))

    def test_by_hand(self, by_hand):
        model, path = by_hand
        assert_same_model(model, CenterNet.load_from_checkpoint(path, backbone=TinyBackbone()))

    def test_by_hand_but_not_passed(self, by_hand):
        with pytest.raises(UserError, match=r"its backbone was made by hand: pass backbone= to load_from_checkpoint"):
            CenterNet.load_from_checkpoint(by_hand[1])

    def test_heads_by_hand(self, tmp_path):
        class Mine(Field):
            pass

        heads = DETECTION | {"velocity": Mine(name="velocity", channels=3)}
        model, trainer = tiny_model(heads, backbone=SPEC), quiet_trainer()
        trainer.fit(model, FakeData(heads))
        trainer.save_checkpoint(tmp_path / "model.ckpt")
        with pytest.raises(UserError, match="its heads was made by hand: pass heads="):
            CenterNet.load_from_checkpoint(tmp_path / "model.ckpt")
        assert_same_model(model, CenterNet.load_from_checkpoint(tmp_path / "model.ckpt", heads=heads))

    def test_arguments_in_place_of_the_stored_ones(self, of_spec):
        other = CenterNet.load_from_checkpoint(of_spec[1], max_detections=7, optimizer=partial(SGD, lr=0.5))
        assert other.max_detections == 7
        assert other.configure_optimizers().param_groups[0]["lr"] == 0.5

    def test_subclass_with_arguments_of_its_own(self, tmp_path):
        class Named(CenterNet):
            def __init__(self, nickname, **options):
                super().__init__(**options)
                self.nickname = nickname
                self.save_hyperparameters("nickname")

        model = Named("rex", backbone=SPEC, heads=DETECTION, input_size=(64, 64), head_width=8)
        other = Named.load_from_checkpoint(save(model, tmp_path / "model.ckpt"))
        assert other.nickname == "rex"
        assert_same_model(model, other)
        assert_same_model(model, CenterNet.load_from_checkpoint(tmp_path / "model.ckpt"))

    def test_subclass_that_brings_its_backbone(self, tmp_path):
        class Complete(CenterNet):
            def __init__(self, classes=("a", "b", "c")):
                super().__init__(TinyBackbone(), DETECTION, classes=classes, input_size=(64, 64), head_width=8)

        model = Complete()
        assert_same_model(model, Complete.load_from_checkpoint(save(model, tmp_path / "model.ckpt")))


class TestRefusals:
    def test_other_heads(self, of_spec):
        with pytest.raises(UserError, match=r"has the heads \{'hm': 3, 'wh': 2, .*\}, but the model has.*'ltrb': 4"):
            CenterNet.load_from_checkpoint(of_spec[1], heads={"hm": 3, "ltrb": 4})

    def test_other_classes(self, of_spec):
        with pytest.raises(UserError, match=r"has the classes \['a', 'b', 'c'\], but the model has \['x', 'y', 'z'\]"):
            CenterNet.load_from_checkpoint(of_spec[1], classes=["x", "y", "z"])

    def test_when_resuming(self, of_spec):
        model = tiny_model({"hm": 3, "wh": 2}, backbone=SPEC)
        with pytest.raises(UserError, match="the checkpoint has the heads"):
            quiet_trainer().fit(model, FakeData(DETECTION), ckpt_path=of_spec[1])

    @pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
    def test_no_checkpoint(self, content, tmp_path):
        file = tmp_path / "model.ckpt"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UserError, match=r"model.ckpt: cannot be read as a checkpoint"):
            CenterNet.load_from_checkpoint(file)

    @pytest.mark.parametrize("content", [[1, 2], {"weights": {}}, torch.zeros(3), {"state_dict": "all"}])
    def test_other_data(self, content, tmp_path):
        torch.save(content, tmp_path / "model.ckpt")
        with pytest.raises(UserError, match=r"model.ckpt: holds no checkpoint"):
            CenterNet.load_from_checkpoint(tmp_path / "model.ckpt")


CANARY = "LIGHTNING_CENTERNET_CANARY"


def sing(*_, **__):
    os.environ[CANARY] = "dead"


class Bomb:
    def __reduce__(self):
        return sing, ()


NAME, TARGET = f"{__name__}.sing", {"_target_": f"{__name__}.sing"}
HOSTILE = {
    "backbone is a target": {"backbone": TARGET},
    "backbone with a target": {"backbone": SPEC | TARGET},
    "backbone is a name": {"backbone": NAME},
    "backbone is a list": {"backbone": [NAME]},
    "name is a target": {"backbone": {"name": TARGET}},
    "name is a list": {"backbone": {"name": [NAME]}},
    "name is dotted": {"backbone": {"name": NAME}},
    "name leads to a hub": {"backbone": {"name": "hf-hub:someone/something"}},
    "name leads to a folder": {"backbone": {"name": "local-dir:/tmp/model"}},
    "name with a hub as tag": {"backbone": {"name": "resnet18.hf-hub:someone/something"}},
    "heads is a name": {"heads": NAME},
    "heads is a list": {"heads": ["hm", NAME]},
    "head is a target": {"heads": {"hm": TARGET}},
    "head is a name": {"heads": {"hm": NAME}},
    "head of a kind": {"heads": {"hm": 3, "mine": {"kind": NAME, "channels": 1}}},
    "head with a module": {"heads": {"hm": {"channels": 3, "module": TARGET}}},
    "head's option": {"heads": {"hm": {"channels": 3, "focal": NAME}}},
    "metrics": {"metrics": NAME},
    "optimizer": {"optimizer": TARGET},
    "scheduler": {"scheduler": NAME},
    "a function's bytes": {"classes": [b"a", b"b", b"c"]},
    "tensors": {"classes": torch.zeros(3)},
    "size": {"input_size": NAME},
}
INSTANTIATOR = {
    "_instantiator": "lightning.pytorch.cli.instantiate_module",
    "_class_path": NAME,
    "optimizer": {"class_path": NAME},
}


@pytest.fixture
def canary(monkeypatch):
    monkeypatch.delenv(CANARY, raising=False)
    monkeypatch.setattr(os, "system", lambda *_: sing())
    yield
    assert CANARY not in os.environ


def poison(path, folder, **changes):
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"] |= changes.pop("hyper_parameters", {})
    torch.save(content | changes, folder / "hostile.ckpt")
    return folder / "hostile.ckpt"


@pytest.mark.usefixtures("canary")
class TestHostile:
    @pytest.mark.parametrize("case", HOSTILE)
    def test_arguments(self, case, of_spec, tmp_path):
        file = poison(of_spec[1], tmp_path, hyper_parameters=HOSTILE[case])
        with pytest.raises(UserError):
            CenterNet.load_from_checkpoint(file)

    def test_instantiator_of_lightning(self, of_spec, tmp_path):
        with pytest.raises(UserError, match="names functions for optimizer"):
            CenterNet.load_from_checkpoint(poison(of_spec[1], tmp_path, hyper_parameters=INSTANTIATOR))
        del (alone := dict(INSTANTIATOR))["optimizer"]
        file = poison(of_spec[1], tmp_path, hyper_parameters=alone, hparams_name=NAME, hparams_type=NAME)
        assert_same_model(of_spec[0], CenterNet.load_from_checkpoint(file))  # what is no argument is nothing

    @pytest.mark.parametrize("place", ["hyper_parameters", "state_dict", "callbacks", "hparams_type", "loops"])
    def test_pickled_object(self, place, of_spec, tmp_path):
        file = poison(of_spec[1], tmp_path, **{place: {"backbone": Bomb()}})
        with pytest.raises(UserError, match="cannot be read as a checkpoint"):
            CenterNet.load_from_checkpoint(file)
        with pytest.raises(Exception, match="Weights only load failed"):
            quiet_trainer().fit(tiny_model(backbone=SPEC), FakeData(DETECTION), ckpt_path=file, weights_only=True)

    @pytest.mark.parametrize("case", ["heads is a name", "heads is a list", "head is a target", "metrics", "tensors"])
    def test_when_resuming(self, case, of_spec, tmp_path):
        file = poison(of_spec[1], tmp_path, hyper_parameters=HOSTILE[case])
        with pytest.raises(UserError):
            quiet_trainer().fit(tiny_model(backbone=SPEC), FakeData(DETECTION), ckpt_path=file)

    def test_the_canary_would_sing(self, tmp_path):
        torch.save(Bomb(), tmp_path / "bomb.ckpt")
        torch.load(tmp_path / "bomb.ckpt", weights_only=False)
        assert os.environ.pop(CANARY) == "dead"


class Recorder(CenterNet):
    """Keeps every loss."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.losses = [*getattr(self, "losses", []), float(loss.detach())]
        return loss


@pytest.mark.parametrize("epochs", [2, 4])
def test_resuming_continues_exactly(epochs, tmp_path):
    def model():
        return tiny_model(
            kind=Recorder,
            backbone=SPEC,
            optimizer=partial(torch.optim.Adam, lr=0.01),
            scheduler=partial(StepLR, step_size=1, gamma=0.5),
        )

    whole, first, second = model(), model(), model()
    quiet_trainer(max_epochs=epochs).fit(whole, FakeData(DETECTION))
    half = quiet_trainer(max_epochs=epochs // 2)
    half.fit(first, FakeData(DETECTION))
    file: Path = tmp_path / "last.ckpt"
    half.save_checkpoint(file)
    trainer = quiet_trainer(max_epochs=epochs)
    trainer.fit(second, FakeData(DETECTION), ckpt_path=file, weights_only=True)
    assert first.losses + second.losses == whole.losses
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01 * 0.5**epochs)
    for name, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
def test_resuming_for_longer(schedule, tmp_path):
    scheduler = partial(OneCycleLR, max_lr=0.1) if schedule == "onecycle" else None
    data, path = FakeData(DETECTION), tmp_path / "first.ckpt"
    first = quiet_trainer(max_epochs=2)
    first.fit(tiny_model(scheduler=scheduler or partial(CosineAnnealingLR, T_max=2)), data)
    first.save_checkpoint(path)
    second = quiet_trainer(max_epochs=6)
    model = tiny_model(scheduler=scheduler or partial(CosineAnnealingLR, T_max=6))
    second.fit(model, data, ckpt_path=path, weights_only=True)
    assert second.global_step == 12
    scheduled = second.lr_scheduler_configs[0].scheduler
    assert (scheduled.total_steps if schedule == "onecycle" else scheduled.T_max) == (
        12 if schedule == "onecycle" else 6
    )


def test_resuming_another_network(of_spec):
    _, path = of_spec
    other = tiny_model(backbone={"name": "test_resnet", "neck_channels": 16}, classes=["a", "b", "c"])
    with pytest.raises(UserError, match=r"has the backbone .*neck_channels': 8.* but the model has .*16"):
        quiet_trainer().fit(other, FakeData(DETECTION), ckpt_path=path, weights_only=True)


@pytest.mark.parametrize("stored", [3, None, [1], "x"])
def test_arguments_that_are_no_mapping(stored, of_spec, tmp_path):
    content = torch.load(of_spec[1], weights_only=True) | {"hyper_parameters": stored}
    torch.save(content, tmp_path / "odd.ckpt")
    with pytest.raises(UserError, match="plain values"):
        CenterNet.load_from_checkpoint(tmp_path / "odd.ckpt")
