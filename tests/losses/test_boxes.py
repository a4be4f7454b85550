"""Box losses against torchvision, and against counting cells."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from lightning_centernet.errors import UserError
from lightning_centernet.losses import ciou_loss, diou_loss, giou_loss, iou_loss, widen
from tests.losses.cases import boxes

SEEDS = st.integers(0, 2**32 - 1)
THEIRS = [(giou_loss, generalized_box_iou_loss), (diou_loss, distance_box_iou_loss), (ciou_loss, complete_box_iou_loss)]
OURS = [iou_loss, giou_loss, diou_loss, ciou_loss]
quickly = settings(max_examples=25, deadline=None)


def random_boxes(seed, *shape, dtype=torch.float64):
    return boxes(torch.rand(*shape, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype))


@pytest.mark.parametrize(("ours", "theirs"), THEIRS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 1e-5)])
@quickly
@given(seed=SEEDS, shape=st.sampled_from([(40,), (2, 20), (1, 1), (2, 3, 5), ()]))
def test_torchvision(seed, shape, dtype, tolerance, ours, theirs):
    prediction = random_boxes(seed, *shape, dtype=dtype).requires_grad_()
    target = random_boxes(seed + 1, *shape, dtype=dtype)
    actual, expected = ours(prediction, target, reduction="none"), theirs(prediction.view(-1, 4), target.view(-1, 4))
    torch.testing.assert_close(actual.view(-1), expected, rtol=tolerance, atol=tolerance)
    gradients = (torch.autograd.grad(loss.sum(), prediction)[0] for loss in (actual, expected))
    torch.testing.assert_close(*gradients, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("loss", OURS)
@pytest.mark.parametrize("shape", [(3, 2), (3, 5), (6,), ()])
def test_boxes_without_four_numbers(loss, shape):
    with pytest.raises(UserError, match="boxes have four numbers, x1 y1 x2 y2, but these have shape"):
        loss(torch.rand(shape), torch.rand(shape))


def cells(box):
    x1, y1, x2, y2 = box
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


whole_boxes = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 6)] * 2).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@settings(max_examples=60, deadline=None)
@given(first=whole_boxes, second=whole_boxes)
def test_counted_cells(first, second):
    iou = len(cells(first) & cells(second)) / len(cells(first) | cells(second))
    hull = (*map(min, first[:2], second[:2]), *map(max, first[2:], second[2:]))
    giou = iou - len(cells(hull) - cells(first) - cells(second)) / len(cells(hull))
    centers = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (first, second)]
    diou = iou - math.dist(*centers) ** 2 / math.dist(hull[:2], hull[2:]) ** 2
    ratios = [math.atan((box[2] - box[0]) / (box[3] - box[1])) for box in (first, second)]
    v = 4 / math.pi**2 * (ratios[0] - ratios[1]) ** 2
    ciou = diou - (v * v / (1 - iou + v) if v else 0)
    pair = [torch.tensor(box, dtype=torch.float64) for box in (first, second)]
    for loss, expected in zip(OURS, (iou, giou, diou, ciou), strict=True):
        assert 1 - float(loss(*pair)) == pytest.approx(expected, abs=1e-6)
    assert float(iou_loss(*pair, mode="log")) == pytest.approx(-math.log(max(iou, 1e-7)), abs=1e-5)


@pytest.mark.parametrize("loss", OURS)
def test_equal_boxes(loss):
    pair = random_boxes(0, 30)
    torch.testing.assert_close(loss(pair, pair, reduction="none"), torch.zeros(30).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("loss", OURS)
@quickly
@given(seed=SEEDS)
def test_neither_place_nor_size_matters(loss, seed):
    """Losses of boxes do not change when the image is moved, scaled or flipped."""
    prediction, target = random_boxes(seed, 20), random_boxes(seed + 1, 20)
    expected = loss(prediction, target, reduction="none")
    for change in (lambda box: 7 * box, lambda box: box - 11, flipped):
        actual = loss(change(prediction), change(target), reduction="none")
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def flipped(box):
    x1, y1, x2, y2 = box.unbind(-1)
    return torch.stack([20 - x2, y1, 20 - x1, y2], dim=-1)


def test_gradient_of_ciou():
    """Finite differences of its formula, with the factor of v held."""
    prediction, target = random_boxes(3, 8).requires_grad_(), random_boxes(4, 8)

    def v(box):
        return 4 / math.pi**2 * (slope(target) - slope(box)) ** 2

    def slope(box):
        return torch.atan((box[:, 2] - box[:, 0]) / (box[:, 3] - box[:, 1]))

    with torch.no_grad():
        factor = v(prediction) / (iou_loss(prediction, target, reduction="none") + v(prediction))

    class Held(torch.autograd.Function):
        """The formula forward, the gradient of our loss backward."""

        @staticmethod
        def forward(ctx, box):
            ctx.save_for_backward(box)
            return diou_loss(box, target, reduction="none") + factor * v(box)

        @staticmethod
        def backward(ctx, grad):
            with torch.enable_grad():
                box = ctx.saved_tensors[0].detach().requires_grad_()
                return torch.autograd.grad(ciou_loss(box, target, reduction="none"), box, grad)[0]

    assert torch.autograd.gradcheck(Held.apply, prediction, nondet_tol=0)


DEGENERATE = {
    "point": [3.0, 3.0, 3.0, 3.0],
    "line": [3.0, 3.0, 8.0, 3.0],
    "turned round": [8.0, 9.0, 3.0, 4.0],
    "far away": [1e4, 1e4, 1e4 + 5, 1e4 + 5],
    "huge": [-1e6, -1e6, 1e6, 1e6],
    "tiny": [5.0, 5.0, 5.0 + 1e-5, 5.0 + 1e-5],
    "zeros": [0.0, 0.0, 0.0, 0.0],
}


@pytest.mark.parametrize("loss", [*OURS, lambda *pair: iou_loss(*pair, mode="log")])
@pytest.mark.parametrize("prediction", DEGENERATE.values(), ids=DEGENERATE)
@pytest.mark.parametrize("target", [[2.0, 2.0, 9.0, 8.0], [0.0, 0.0, 0.0, 0.0]], ids=["box", "zeros"])
def test_degenerate_boxes_stay_finite(loss, prediction, target):
    """Padded slots have boxes of zeros, and an untrained head predicts anything."""
    prediction = torch.tensor(prediction, requires_grad=True)
    value = loss(prediction, torch.tensor(target))
    value.backward()
    assert 0 <= float(value.detach()) < 20
    assert prediction.grad.isfinite().all()


@pytest.mark.parametrize("loss", [giou_loss, diou_loss, ciou_loss])
def test_boxes_that_do_not_overlap_are_drawn_together(loss):
    prediction = torch.tensor([0.0, 0.0, 2.0, 2.0], requires_grad=True)
    loss(prediction, torch.tensor([5.0, 5.0, 8.0, 8.0])).backward()
    assert (prediction.grad[2:] < 0).all()


def test_widening():
    target = torch.tensor([0.0, 0.0, 10.0, 20.0])
    predictions = torch.tensor([[4.0, 5, 6, 9], [4.75, 5, 5.25, 9], [6.0, 6, 4, 4], [3.0, 3, 3, 3]], requires_grad=True)
    widened = widen(predictions, target)
    expected = torch.tensor([[4.0, 5, 6, 9], [4.5, 5, 5.5, 9], [4.5, 4, 5.5, 6], [2.5, 2, 3.5, 4]])
    torch.testing.assert_close(widened, expected)
    assert (torch.autograd.grad(widened.sum(), predictions)[0] == 1).all()
    assert torch.equal(widen(predictions, torch.zeros(4))[[0, 1, 3]], predictions[[0, 1, 3]])
