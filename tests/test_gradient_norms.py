"""The gradient that each head sends into the shared features, against autograd's own."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch.optim import SGD

from lightning_centernet import CenterNet
from lightning_centernet.gradient_norms import GradientNorms
from lightning_centernet.testing import FakeData, fake_batch
from tests.test_module import BACKBONES, OwnHeads
from tests.tiny import DETECTION, quiet_trainer, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:The '.*' does not have many workers", "ignore:The number of training")


def logged_norms(model, batches=1, **options):
    trainer = quiet_trainer(callbacks=[GradientNorms()], limit_val_batches=0, **options)
    trainer.fit(model, FakeData(DETECTION, batches=batches))
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    prefix = "train/gradient/"
    return {name.removeprefix(prefix): value for name, value in logged.items() if name.startswith(prefix)}


def expected_norms(model):
    """Each head alone, on a copy of the features."""
    batch, network = fake_batch(DETECTION), model.network
    features = network.backbone(batch["image"])
    stacks = features if isinstance(features, list) else [features]
    if not network.stacks:
        shared = {name: [stack[name].detach().requires_grad_() for stack in stacks] for name in DETECTION}
        outputs = [{name: shared[name][i] for name in DETECTION} for i in range(len(stacks))]
    else:
        shared = {name: [stack.detach().requires_grad_() for stack in stacks] for name in DETECTION}
        outputs = [{name: own[name](shared[name][i]) for name in DETECTION} for i, own in enumerate(network.stacks)]
    model.criterion(outputs, batch)[0].backward()
    return {name: torch.cat([each.grad.flatten() for each in leaves]).norm().item() for name, leaves in shared.items()}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_norms(backbone):
    model = tiny_model(backbone=BACKBONES[backbone](), optimizer=partial(SGD, lr=0.0))
    model.train()
    expected = expected_norms(model)
    assert all(expected.values())
    assert logged_norms(model) == pytest.approx(expected, rel=1e-4)


def test_weights_count():
    once, twice = (
        logged_norms(tiny_model(DETECTION | {"wh": {"weight": weight}}, optimizer=partial(SGD, lr=0.0)))
        for weight in (0.1, 0.2)
    )
    assert twice == pytest.approx(once | {"wh": 2 * once["wh"]}, rel=1e-4)


@pytest.mark.parametrize(("options", "batches"), [({}, [3, 7, 9]), ({"accumulate_grad_batches": 2}, [6, 7, 9])])
def test_computed_where_logged(options, batches, monkeypatch):
    """Where a logged step accumulates batches, in all of them."""
    seen, keep = [], GradientNorms._keep
    model = tiny_model()

    def counting(callback, name, gradient):
        keep(callback, name, gradient)
        if callback._squares and model.trainer.fit_loop.batch_idx not in seen:
            seen.append(model.trainer.fit_loop.batch_idx)

    monkeypatch.setattr(GradientNorms, "_keep", counting)
    assert set(logged_norms(model, batches=10, log_every_n_steps=4, **options)) == set(DETECTION)
    assert seen == batches


def test_scale_of_half_precision_is_taken_out():
    plain = logged_norms(tiny_model(optimizer=partial(SGD, lr=0.0)))
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**9))
    half = logged_norms(tiny_model(optimizer=partial(SGD, lr=0.0)), plugins=[plugin])
    assert half == pytest.approx(plain, rel=0.02)


@pytest.mark.parametrize("backbone", ["by hand", "own heads"])
def test_nothing_is_left_behind(backbone):
    model = tiny_model(backbone=BACKBONES[backbone]())
    logged_norms(model)
    assert not any(module._backward_hooks or module._forward_hooks for module in model.modules())


def test_only_the_last_batch_counts():
    model = tiny_model(backbone=OwnHeads(), optimizer=partial(SGD, lr=0.0))
    several = logged_norms(model, batches=3)
    batch = fake_batch(DETECTION, seed=2)
    stacks = [
        {name: value.detach().requires_grad_() for name, value in stack.items()} for stack in model(batch["image"])
    ]
    model.criterion(stacks, batch)[0].backward()
    for name, norm in several.items():
        expected = torch.cat([stack[name].grad.flatten() for stack in stacks]).norm()
        assert norm == pytest.approx(expected.item(), rel=1e-4)


def test_nothing_is_left_behind_by_a_training_that_fails():
    class Failing(CenterNet):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            raise RuntimeError("over")

    model = tiny_model(kind=Failing)
    with pytest.raises(RuntimeError, match="over"):
        logged_norms(model)
    assert not any(module._backward_hooks or module._forward_hooks for module in model.modules())
