"""Losses by name, as configs ask for them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from lightning_centernet.errors import UserError
from lightning_centernet.losses import BoxLoss, Elementwise, elementwise, named_loss
from lightning_centernet.losses.named import BOXES, ELEMENTWISE


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name):
    loss, prediction, target = elementwise(name), torch.randn(2, 3, 4), torch.rand(2, 3, 4)
    assert torch.equal(loss(prediction, target), ELEMENTWISE[name](prediction, target, reduction="none"))
    assert loss(prediction, target).shape == (2, 3, 4)


@pytest.mark.parametrize("name", BOXES)
def test_boxes(name):
    assert BoxLoss(name)(torch.rand(2, 3, 4), torch.rand(2, 3, 4)).shape == (2, 3)


def test_options_reach_the_loss():
    prediction, target = torch.randn(50), torch.zeros(50)
    loss = elementwise({"name": "smooth_l1", "beta": 2})
    torch.testing.assert_close(
        loss(prediction, target), torch.nn.functional.smooth_l1_loss(prediction, target, beta=2.0, reduction="none")
    )
    log = named_loss({"name": "iou", "mode": "log"}, BoxLoss)
    torch.testing.assert_close(log(torch.tensor([0.0, 0, 1, 1]), torch.tensor([0.0, 0, 2, 1])), torch.tensor(2.0).log())


def test_equal_losses_are_one():
    """Whatever their config looks like, so that they are computed together."""
    for same in (
        ["smooth_l1", {"name": "smooth_l1"}, {"name": "smooth_l1", "beta": 1}, {"name": "smooth_l1", "beta": 1.0}],
        ["l2", "mse", {"name": "mse"}],
        [{"name": "wing", "width": 5, "curvature": 1}, {"curvature": 1.0, "width": 5.0, "name": "wing"}],
    ):
        assert len({elementwise(spec) for spec in same}) == 1
    assert elementwise("l1") != elementwise("l2")
    assert elementwise("smooth_l1") != elementwise({"name": "smooth_l1", "beta": 2})
    assert BoxLoss("giou") == named_loss({"name": "giou"}, Elementwise, BoxLoss)


def test_copies_are_equal():
    loss = elementwise({"name": "huber", "delta": 3})
    assert copy.deepcopy(loss) == loss == pickle.loads(pickle.dumps(loss))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("smoth_l1", "unknown loss `smoth_l1`: it can be l1, smooth_l1, l2"),
        ("giou", "unknown loss `giou`: it can be l1"),
        ({"name": "smooth_l1", "bta": 1}, "loss `smooth_l1` has no option `bta`: it takes beta. Did you mean `beta`?"),
        ({"name": "l1", "beta": 1}, "loss `l1` has no option `beta`: it takes none"),
        ({"name": "huber", "delta": 0}, "loss `huber`: delta=0 must be a number above 0"),
        ({"name": "huber", "delta": True}, "loss `huber`: delta=True must be a number above 0"),
        ({"name": "huber", "delta": "1"}, "loss `huber`: delta='1' must be a number above 0"),
        ({"name": "huber", "delta": float("nan")}, "loss `huber`: delta=nan must be a number above 0"),
        ({"beta": 1}, "loss={'beta': 1} must be a name such as l1, or a mapping such as {name: smooth_l1, beta: 0.5}"),
        (None, "loss=None must be a name"),
    ],
)
def test_mistakes(spec, message):
    with pytest.raises(UserError) as error:
        elementwise(spec)
    assert str(error.value).startswith(message)


def test_mistakes_where_a_loss_may_be_of_several_kinds():
    with pytest.raises(UserError, match=r"unknown loss `gio`: it can be l1, .*, ciou\. Did you mean `giou`\?$"):
        named_loss("gio", Elementwise, BoxLoss)
    with pytest.raises(UserError, match=r"unknown loss `gio`: it can be iou, .*\. Did you mean `giou`\?$"):
        BoxLoss("gio")
    with pytest.raises(UserError, match="loss `iou`: mode='square' must be one of linear, log"):
        named_loss({"name": "iou", "mode": "square"}, Elementwise, BoxLoss)
