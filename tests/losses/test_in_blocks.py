"""A sum over a map block by block equals the formula over the whole map in float64, however the map lies."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from lightning_centernet.losses import Listed, kernel, l2_loss, quality_focal_loss
from lightning_centernet.losses.in_blocks import sum_over_map
from tests.losses.test_focal import LAYOUTS, Case, case, laid_out

LOSSES = {"quality": partial(quality_focal_loss, reduction="sum"), "mse": partial(l2_loss, reduction="sum")}

losses = pytest.mark.parametrize("name", LOSSES)


@pytest.fixture(autouse=True)
def blocks(monkeypatch):
    """Divide small maps too."""
    monkeypatch.setattr(kernel, "BLOCK", 13)


def cost(name: str, logits: Tensor, target: Tensor | float) -> Tensor:
    if name == "mse":
        return (logits - target) ** 2
    right, wrong = torch.sigmoid(logits), torch.sigmoid(-logits)
    return (target - right) ** 2 * -(target * right.log() + (1 - target) * wrong.log())


def by_formula(name: str, logits: Tensor, heatmap: Tensor, listed: Listed | None) -> Tensor:
    if listed is None:
        return cost(name, logits, heatmap).sum()
    total = cost(name, logits, heatmap)[heatmap != 1].sum()
    for image, (cells, channels, mask) in enumerate(zip(*listed, strict=True)):
        for cell, channel, there in zip(cells, channels, mask, strict=True):
            total = total + there * cost(name, logits[image, channel].flatten()[cell], 1.0)
    return total


def listed_for(name: str, given: Case) -> Listed | None:
    return given.listed if name == "quality" else None


@losses
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("slots", [0, 4])
def test_equals_the_formula(name, layout, dtype, slots):
    given = case(dtype=dtype, slots=slots)
    listed = listed_for(name, given)
    logits = laid_out(given.logits, layout).detach().requires_grad_()
    heatmap = given.heatmap if layout == "mixed" else laid_out(given.heatmap, layout)
    exact = given.logits.detach().double().requires_grad_()
    expected = by_formula(name, exact, given.heatmap, listed)
    total = sum_over_map(LOSSES[name], logits, heatmap, listed)
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=0)
    total.backward()
    expected.backward()
    error = max(1e-5, 2 * torch.finfo(dtype).eps)
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=error, atol=error * float(exact.grad.abs().max()))
    assert logits.grad.dtype == dtype
    assert logits.grad.stride() == torch.empty_like(logits).stride()


def test_small_gradients_of_halves():
    """Those of easy cells are no zeros if the loss scale comes first."""
    given = case(dtype=torch.float16, slots=0)
    logits = given.logits.clamp(-8, -7).requires_grad_()
    (sum_over_map(LOSSES["quality"], logits, 0 * given.heatmap, given.listed) * 65536).backward()
    assert logits.grad.all()


@losses
def test_second_derivative(name):
    given = case(dtype=torch.float64, shape=(1, 2, 3, 4))
    logits = given.logits.detach().requires_grad_()

    def total(logits: Tensor) -> Tensor:
        return sum_over_map(LOSSES[name], logits, given.heatmap, listed_for(name, given))

    assert torch.autograd.gradcheck(total, logits)
    assert torch.autograd.gradgradcheck(total, logits)


@losses
def test_over_a_kept_graph(name):
    given = case()
    logits = given.logits.detach().requires_grad_()
    total = sum_over_map(LOSSES[name], logits, given.heatmap, listed_for(name, given))
    (first,) = torch.autograd.grad(total, logits, retain_graph=True)
    (second,) = torch.autograd.grad(2 * total, logits)
    torch.testing.assert_close(second, 2 * first)


@losses
def test_without_images(name):
    given = case(shape=(0, 3, 7, 5))
    logits = given.logits.detach().requires_grad_()
    total = sum_over_map(LOSSES[name], logits, given.heatmap, listed_for(name, given))
    total.backward()
    assert total == 0
    assert logits.grad.shape == logits.shape
