"""The weighting of the heads in training: what learns, what is logged, and what a checkpoint brings back."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.optim import SGD, Adam

from lightning_centernet import CenterNet, UserError
from lightning_centernet.head_weights import FixedWeights
from lightning_centernet.testing import FakeData, fake_batch
from tests.tiny import DETECTION, logged, quiet_trainer, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:The '.*' does not have many workers", "ignore:The number of training")
SPEC = {"name": "test_resnet", "neck_channels": 8}
SCHEDULE = {"name": "scheduled", "epochs": {"wh": {0: 0.0, 2: 4.0}}, "interpolation": "linear"}
DATA = partial(FakeData, DETECTION, grid=(16, 16))


def train(weighting, epochs=1, resumed=None, **options):
    model = tiny_model(backbone=SPEC, weighting=weighting, optimizer=partial(Adam, lr=0.01), input_size=(64, 64))
    trainer = quiet_trainer(max_epochs=epochs, **options)
    trainer.fit(model, DATA(), ckpt_path=resumed, weights_only=True)
    return model, trainer


def variances(model):
    return model.criterion.weighting.log_variances.detach()


class Epochs(ModelCheckpoint):
    """Remembers the weight of `wh` in each step."""

    def __init__(self, **options):
        super().__init__(**options)
        self.weights = []

    def on_train_batch_start(self, trainer, model, *_):
        self.weights.append(model.criterion.weighting.weights[1].item())


class TestLearned:
    @pytest.mark.parametrize("form", ["kendall", "fairmot"])
    def test_variances_are_trained_and_logged(self, form):
        model, trainer = train(form, epochs=2)
        assert (variances(model) != 0).all()
        assert any(p is model.criterion.weighting.log_variances for g in trainer.optimizers[0].param_groups
                   for p in g["params"])  # fmt: skip
        names = {f"log_variance/{name}" for name in DETECTION}
        assert logged(trainer, "train") == {"tot", *DETECTION} | names
        assert logged(trainer, "val") == {"tot", *DETECTION}
        # logged after the step before the last one
        assert all(trainer.callback_metrics[f"train/{name}"] != 0 for name in names)

    def test_total_is_that_of_the_formula(self):
        model, batch = tiny_model(weighting="fairmot"), fake_batch(DETECTION)
        model.criterion.weighting.log_variances.data.copy_(torch.tensor([0.5, -1.0, 2.0]))
        tot, stats = model.criterion(model(batch["image"]), batch)
        expected = sum(
            (torch.exp(-s) * model.heads[name].weight * stats[name] + s) / 2
            for name, s in zip(DETECTION, [torch.tensor(each) for each in (0.5, -1.0, 2.0)], strict=True)
        )
        torch.testing.assert_close(tot, expected)

    def test_checkpoint_alone_brings_them_back(self, tmp_path):
        model, trainer = train("kendall")
        trainer.save_checkpoint(tmp_path / "model.ckpt")
        other = CenterNet.load_from_checkpoint(tmp_path / "model.ckpt")
        assert torch.equal(variances(other), variances(model))

    def test_resuming_continues_exactly(self, tmp_path):
        whole, _ = train("kendall", epochs=4)
        _, trainer = train("kendall", epochs=2)
        trainer.save_checkpoint(tmp_path / "half.ckpt")
        resumed, _ = train("kendall", epochs=4, resumed=tmp_path / "half.ckpt")
        for name, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], value), name

    @pytest.mark.parametrize(("first", "second"), [("kendall", "fixed"), ("fixed", "fairmot"), ("kendall", "fairmot")])
    def test_another_weighting_is_refused(self, first, second, tmp_path):
        _, trainer = train(first)
        trainer.save_checkpoint(tmp_path / "model.ckpt")
        message = f"the checkpoint has the weighting {first}, but the model has {second}: take the checkpoint's, "
        message += f"weighting={first}, or start"
        with pytest.raises(UserError, match=message):
            train(second, epochs=2, resumed=tmp_path / "model.ckpt")

    def test_absent_head_does_not_move(self):
        class Sometimes(FakeData):
            """No batch has `wh`, but one in the first epoch's middle."""

            def __init__(self):
                super().__init__(DETECTION, batches=3)
                for batch in (self.batches[0], self.batches[2]):
                    del batch["wh"]

        seen = []

        class Watching(CenterNet):
            def on_train_batch_end(self, *arguments):
                super().on_train_batch_end(*arguments)
                seen.append(variances(self)[1].item())

        model = tiny_model(kind=Watching, weighting="kendall", optimizer=partial(SGD, lr=0.1))
        quiet_trainer(limit_val_batches=0).fit(model, Sometimes())
        assert seen[0] == 0
        assert seen[1] == seen[2] != 0


class TestScheduled:
    EXPECTED = (0.0, 2.0, 4.0, 4.0)

    def test_weights_follow_the_epochs(self):
        steps = Epochs(save_top_k=0)
        train(SCHEDULE, epochs=4, callbacks=[steps], enable_checkpointing=True)
        assert steps.weights == [weight for weight in self.EXPECTED for _ in range(2)]

    def test_hook_of_a_users_own_runs_once_an_epoch(self):
        class Counting(CenterNet):
            epochs = ()

            def on_train_epoch_start(self):
                super().on_train_epoch_start()
                self.epochs += (self.current_epoch,)

        model = tiny_model(kind=Counting)
        quiet_trainer(max_epochs=2).fit(model, FakeData(DETECTION, batches=1))
        assert model.epochs == (0, 1)

    @pytest.mark.parametrize("steps", [2, 3])
    def test_resumed_run_has_the_weight_of_its_epoch(self, steps, tmp_path):
        """At the end of an epoch, or in the middle of it."""
        keeper = Epochs(dirpath=tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=1)
        train(SCHEDULE, epochs=4, callbacks=[keeper], enable_checkpointing=True)
        resumed = Epochs(save_top_k=0)
        options = {"callbacks": [resumed], "enable_checkpointing": True}
        train(SCHEDULE, epochs=4, resumed=tmp_path / f"step={steps}.ckpt", **options)
        assert resumed.weights == keeper.weights[steps:]

    def test_checkpoint_measures_with_the_weights_of_its_epoch(self, tmp_path):
        _, trainer = train(SCHEDULE, epochs=2)
        trainer.save_checkpoint(tmp_path / "model.ckpt")
        model = CenterNet.load_from_checkpoint(tmp_path / "model.ckpt")
        assert model.criterion.weighting.weights.tolist() == [1.0, pytest.approx(4.0), 1.0]

    def test_head_is_free_of_a_head_of_weight_zero(self):
        model = tiny_model(weighting=SCHEDULE, optimizer=partial(SGD, lr=0.1), input_size=(64, 64))
        before = [parameter.clone() for parameter in model.network.stacks[0].wh.parameters()]
        quiet_trainer(max_epochs=1).fit(model, DATA())
        assert all(map(torch.equal, before, model.network.stacks[0].wh.parameters()))


class Halves(FixedWeights):
    """A weighting of a user's own."""

    def __init__(self, weights):
        super().__init__(weights)
        self.factor = nn.Parameter(torch.tensor(0.5))

    def forward(self, losses, present):
        return self.factor * super().forward(losses, present)

    def stats(self):
        return {"factor": self.factor.detach()}


class TestOfOnesOwn:
    @pytest.mark.parametrize("form", ["module", "class"])
    def test_it_trains(self, form):
        spec = Halves if form == "class" else Halves({"hm": 1.0, "wh": 0.1, "reg": 1.0})
        model, trainer = train(spec)
        assert model.criterion.weighting.factor != 0.5
        assert "train/factor" in trainer.callback_metrics

    def test_it_is_passed_to_the_checkpoint_again(self, tmp_path):
        _, trainer = train(Halves)
        trainer.save_checkpoint(tmp_path / "model.ckpt")
        with pytest.raises(UserError, match="its weighting was made by hand: pass weighting= to load_from_checkpoint"):
            CenterNet.load_from_checkpoint(tmp_path / "model.ckpt")
        other = CenterNet.load_from_checkpoint(tmp_path / "model.ckpt", weighting=Halves)
        assert other.criterion.weighting.factor != 0.5


def test_checkpoint_of_before_weightings(tmp_path):
    model, trainer = train("fixed")
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    content = torch.load(tmp_path / "model.ckpt", weights_only=True)
    del content["hyper_parameters"]["weighting"]
    torch.save(content, tmp_path / "old.ckpt")
    other = CenterNet.load_from_checkpoint(tmp_path / "old.ckpt")
    assert torch.equal(other.criterion.weighting.weights, model.criterion.weighting.weights)
    train("fixed", epochs=2, resumed=tmp_path / "old.ckpt")
