"""Losses against the formulas of the papers, written out with loops over float64 numbers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from lightning_centernet.losses import (
    attribute_loss,
    dense_focal_loss,
    depth_from_logits,
    quality_focal_ratio,
    regression_loss,
    rotation_loss,
    sparse_focal_loss,
)
from lightning_centernet.losses.named import ELEMENTWISE
from tests.losses.slow import positions, slow_focal

SEEDS, SIDES = st.integers(0, 2**32 - 1), st.integers(1, 6)
EXPONENTS = st.sampled_from([0.0, 0.5, 1.0, 1.7, 2.0, 4.0])
FOCAL = st.fixed_dictionaries({"alpha": EXPONENTS, "beta": EXPONENTS, "clamp": st.booleans()})
quickly = settings(max_examples=20)


def noise(seed, *shape, scale=3.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_same(loss, slow, *inputs, rtol=1e-5):
    """Compare values and gradients; `slow` takes float64 copies of the inputs, which need gradients."""
    fast_inputs = [value.clone().requires_grad_() for value in inputs]
    slow_inputs = [value.double().requires_grad_() for value in inputs]
    actual, expected = loss(*fast_inputs), slow(*slow_inputs)
    torch.testing.assert_close(actual.double(), expected, rtol=rtol, atol=1e-6)
    actual.backward()
    expected.backward()
    for fast, exact in zip(fast_inputs, slow_inputs, strict=True):
        torch.testing.assert_close(fast.grad.double(), exact.grad, rtol=rtol, atol=1e-6)


def cross_entropy_of(probability):
    return -torch.log(probability)


@quickly
@given(seed=SEEDS, classes=st.integers(1, 3), height=SIDES, width=SIDES, slots=st.integers(0, 5), options=FOCAL)
def test_sparse_focal(seed, classes, height, width, slots, options):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, classes, height, width)
    heatmap = torch.rand(shape, generator=generator) * 0.99
    index = torch.randint(height * width, (2, slots), generator=generator)  # often several in one cell
    channel = torch.randint(classes, (2, slots), generator=generator)
    mask = torch.randint(2, (2, slots), generator=generator)
    listed = positions(index, channel, mask, width)
    for position in listed:
        heatmap[position] = 1
    heatmap[0, 0, 0, 0] = 1  # an ignored cell, unless it is listed

    def loss(logits):
        return sparse_focal_loss(logits, heatmap, index, channel, mask, **options)

    assert_same(loss, lambda logits: slow_focal(logits, heatmap, listed, **options), noise(seed, *shape, scale=5.0))


@quickly
@given(seed=SEEDS, height=SIDES, width=SIDES, positives=st.integers(0, 4), options=FOCAL)
def test_dense_focal(seed, height, width, positives, options):
    generator = torch.Generator().manual_seed(seed)
    heatmap = torch.rand(2, 2, height, width, generator=generator) * 0.99
    heatmap.view(-1)[torch.randint(heatmap.numel(), (positives,), generator=generator)] = 1
    listed = [tuple(place) for place in (heatmap == 1).nonzero().tolist()]

    def loss(logits):
        return dense_focal_loss(logits, heatmap, **options)

    assert_same(
        loss, lambda logits: slow_focal(logits, heatmap, listed, **options), noise(seed, *heatmap.shape, scale=5.0)
    )


@pytest.mark.parametrize("target", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("logit", [-50.0, -9.3, 9.3, 50.0])
def test_focal_of_confident_outputs(logit, target):
    heatmap = torch.tensor([[[[target]]]])
    listed = [(0, 0, 0, 0)] if target == 1 else []
    loss = dense_focal_loss(torch.tensor([[[[logit]]]]), heatmap)
    expected = slow_focal(torch.tensor([[[[logit]]]], dtype=torch.float64), heatmap, listed)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_quality_focal(layout):
    """Li et al. 2020, eq. 2, cell by cell; the fourth object is masked, one cell is ignored."""
    heatmap = noise(1, 2, 3, 4, 5).sigmoid()
    index, channel, mask = (
        torch.tensor([[7, 7], [0, 19]]),
        torch.tensor([[2, 0], [1, 2]]),
        torch.tensor([[1, 1], [1, 0]]),
    )
    listed = positions(index, channel, mask, 5)
    for position in [*listed, (0, 1, 3, 3)]:
        heatmap[position] = 1

    def slow(logits):
        p = torch.sigmoid(logits)
        wanted = [(place, float(heatmap[tuple(place)])) for place in (heatmap < 1).nonzero().tolist()]
        total = 0
        for place, y in [*wanted, *((place, 1.0) for place in listed)]:
            score = p[tuple(place)]
            total = total + (y - score).abs() ** 1.5 * (
                y * cross_entropy_of(score) + (1 - y) * cross_entropy_of(1 - score)
            )
        return total / 3

    def fast(logits):
        return quality_focal_ratio(logits, heatmap, index, channel, mask, beta=1.5).mean()

    assert_same(fast, slow, noise(2, 2, 3, 4, 5).contiguous(memory_format=layout))


def slow_regression(prediction, target, mask, loss, average):
    """Sum over the labelled numbers; divide by them, by the objects that have any, or by all."""
    total, count, objects = prediction.sum() * 0, 0.0, 0
    for b, row in enumerate(prediction):
        for m, values in enumerate(row):
            for d, value in enumerate(values):
                wanted, labelled = float(target[b, m, d]), float(mask[b, m, d])
                count += labelled
                if labelled:
                    difference = (value / (wanted + 1e-4) - 1 if loss == "normalized_l1" else value - wanted).abs()
                    small = loss == "mse" or (loss == "smooth_l1" and difference < 1)
                    square = difference**2 * (1 if loss == "mse" else 0.5)
                    total = total + (square if small else difference - 0.5 * (loss == "smooth_l1"))
            objects += float(mask[b, m].max()) if len(values) else 0
    slots = max(prediction.numel(), 1)
    return total / {"elements": count + 1e-4, "objects": objects + 1e-4, "slots": slots}[average]


@pytest.mark.parametrize("average", ["elements", "objects", "slots"])
@pytest.mark.parametrize("loss", ["l1", "smooth_l1", "normalized_l1", "mse"])
@quickly
@given(seed=SEEDS, slots=st.integers(0, 5), size=st.integers(1, 4), whole=st.booleans())
def test_regression(seed, slots, size, whole, loss, average):
    shape = (2, slots, size)
    mask = (noise(seed + 1, 2, slots, 1 if whole else size) > 0).float()
    target = noise(seed + 2, *shape).abs() + 0.5
    given_mask = mask[..., 0] if whole else mask

    def fast(prediction):
        return regression_loss(prediction, target, given_mask, loss=loss, average=average)

    full = mask.expand(shape)
    assert_same(fast, lambda prediction: slow_regression(prediction, target, full, loss, average), noise(seed, *shape))


@quickly
@given(seed=SEEDS)
def test_dense_regression_is_that_of_its_cells(seed):
    prediction, target = noise(seed, 2, 2, 3, 4), noise(seed + 1, 2, 2, 3, 4)
    mask = torch.rand(2, 1, 3, 4, generator=torch.Generator().manual_seed(seed)).expand(-1, 2, -1, -1)
    dense = regression_loss(prediction, target, mask)
    cells = [value.flatten(2).mT for value in (prediction, target, mask)]
    torch.testing.assert_close(dense, regression_loss(*cells), rtol=1e-5, atol=1e-6)


def slow_rotation(prediction, bins, residuals, mask, average):
    """CenterNet's 8 channels: of each bin a two-way classification, and the sine and cosine inside it."""
    total = prediction.sum() * 0
    for k in range(2):
        entropy, counted, distance, inside = prediction.sum() * 0, 0, prediction.sum() * 0, 0
        for b in range(prediction.shape[0]):
            for m in range(prediction.shape[1]):
                outside_logit, inside_logit, sine, cosine = prediction[b, m, 4 * k : 4 * k + 4]
                if mask[b, m]:
                    probabilities = torch.softmax(torch.stack([outside_logit, inside_logit]), 0)
                    entropy = entropy + cross_entropy_of(probabilities[int(bins[b, m, k])])
                elif average == "slots":
                    entropy = entropy + math.log(2)
                counted += bool(mask[b, m]) or average == "slots"
                if bins[b, m, k]:
                    angle = float(residuals[b, m, k])
                    for value, wanted in ((sine, math.sin(angle)), (cosine, math.cos(angle))):
                        difference = (value - wanted).abs()
                        distance = distance + (0.5 * difference**2 if difference < 1 else difference - 0.5)
                    inside += 1
        total = total + entropy / max(counted, 1) + distance / max(inside, 1)
    return total


@pytest.mark.parametrize("average", ["labelled", "slots"])
@quickly
@given(seed=SEEDS, slots=st.integers(1, 5))
def test_rotation(seed, slots, average):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(2, (2, slots), generator=generator)
    bins = torch.randint(2, (2, slots, 2), generator=generator) * mask[..., None]
    residuals = (torch.rand(2, slots, 2, generator=generator) - 0.5) * math.pi

    def fast(prediction):
        return rotation_loss(prediction, bins, residuals, mask, average=average)

    assert_same(fast, lambda p: slow_rotation(p, bins, residuals, mask, average), noise(seed, 2, slots, 8))


@pytest.mark.parametrize("average", ["labelled", "slots"])
def test_rotation_without_a_label(average):
    zeros = torch.zeros(2, 4, 2)
    loss = rotation_loss(noise(0, 2, 4, 8), zeros.long(), zeros, zeros[..., 0], average=average)
    torch.testing.assert_close(loss, torch.tensor(2 * math.log(2) if average == "slots" else 0.0))


@quickly
@given(seed=SEEDS, slots=st.integers(0, 4))
def test_attributes(seed, slots):
    target, mask = (noise(seed + number, 2, slots, 8) > 0 for number in (1, 2))

    def slow(logits):
        entropies = F.softplus(torch.where(target, -logits, logits))[mask]
        return entropies.sum() / (mask.sum() + 1e-4)

    assert_same(lambda logits: attribute_loss(logits, target, mask), slow, noise(seed, 2, slots, 8))


@quickly
@given(logit=st.floats(-13, 13))
def test_depth(logit):
    """Ends at a million metres, where the originals' 1e-6 keeps it from infinity."""
    expected = 1 / (1 / (1 + math.exp(-logit)) + 1e-6) - 1
    actual = float(depth_from_logits(torch.tensor(logit)))
    assert actual == pytest.approx(expected, rel=1e-5, abs=3e-7)


def test_depth_stays_finite():
    logits = torch.tensor([-50.0, 50.0], dtype=torch.float16).requires_grad_()
    depth = depth_from_logits(logits)
    assert depth.isfinite().all()
    depth.sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("exponents", [(2.0, 4.0), (2.0, 0.0), (1.5, 3.0), (3.0, 1.0), (0.0, 4.0)])
@pytest.mark.parametrize("clamp", [False, True])
def test_gradients_of_heat_maps_are_those_of_the_values(exponents, clamp):
    heatmap = torch.tensor([[[[0.2, 1.0], [0.6, 0.0]]]], dtype=torch.float64)
    index, channel, mask = torch.tensor([[1, 1, 2]]), torch.tensor([[0, 0, 0]]), torch.tensor([[1.0, 1.0, 0.0]])
    options = {"alpha": exponents[0], "beta": exponents[1], "clamp": clamp}
    logits = noise(0, 1, 1, 2, 2).double().requires_grad_()
    assert gradcheck(lambda x: sparse_focal_loss(x, heatmap, index, channel, mask, **options), logits)
    assert gradcheck(lambda x: dense_focal_loss(x, heatmap, **options), logits)


@pytest.mark.parametrize("average", ["labelled", "slots"])
def test_gradients_of_rotations_are_those_of_the_values(average):
    prediction, mask = noise(0, 1, 3, 8).double().requires_grad_(), torch.tensor([[1.0, 1.0, 0.0]])
    bins, angle = torch.tensor([[[1, 1], [0, 1], [1, 0]]]), noise(1, 1, 3, 2).double()
    assert gradcheck(lambda x: rotation_loss(x, bins, angle, mask, average=average), prediction)


@pytest.mark.parametrize("loss", sorted(ELEMENTWISE))
def test_one_graph_of_a_loss_by_its_name(loss):
    torch.compiler.reset()
    given = noise(0, 2, 5, 3), noise(1, 2, 5, 3), (noise(2, 2, 5) > 0).float()
    compiled = torch.compile(regression_loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*given, loss=loss), regression_loss(*given, loss=loss))
