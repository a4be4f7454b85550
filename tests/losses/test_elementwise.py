"""Elementwise losses against the formulas of their papers, one number at a time."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Laplace
from torchvision.ops import sigmoid_focal_loss

from lightning_centernet.losses import (
    balanced_l1_loss,
    binary_cross_entropy_loss,
    huber_loss,
    l1_loss,
    l2_loss,
    laplace_loss,
    normalized_l1_loss,
    quality_focal_loss,
    sin_cos_loss,
    smooth_l1_loss,
    wing_loss,
)

quickly = settings(max_examples=40, deadline=None)
NUMBERS, POSITIVE = st.floats(-20, 20), st.floats(0.1, 5)


def only(loss, *values, **options):
    """Call a loss with numbers."""
    prediction, target = (torch.tensor([value], dtype=torch.float64) for value in values)
    return float(loss(prediction, target, reduction="none", **options))


def close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@quickly
@given(p=NUMBERS, t=NUMBERS)
def test_differences(p, t):
    assert only(l1_loss, p, t) == close(abs(p - t))
    assert only(l2_loss, p, t) == close((p - t) ** 2)


@quickly
@given(p=NUMBERS, t=NUMBERS, bend=POSITIVE)
def test_smooth_l1_and_huber(p, t, bend):
    x = abs(p - t)
    assert only(smooth_l1_loss, p, t, beta=bend) == close(x**2 / (2 * bend) if x < bend else x - bend / 2)
    assert only(huber_loss, p, t, delta=bend) == close(x**2 / 2 if x < bend else bend * (x - bend / 2))


@quickly
@given(p=NUMBERS, t=NUMBERS, alpha=st.floats(0.3, 2), gamma=POSITIVE)
def test_balanced_l1(p, t, alpha, gamma):
    """As the paper writes it, with the constant that joins the pieces."""
    x, b = abs(p - t), math.exp(gamma / alpha) - 1

    def inlier(x):
        return alpha / b * (b * x + 1) * math.log(b * x + 1) - alpha * x

    constant = inlier(1) - gamma
    expected = inlier(x) if x < 1 else gamma * x + constant
    assert only(balanced_l1_loss, p, t, alpha=alpha, gamma=gamma) == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_slope_of_balanced_l1_far_away():
    """Where the part for small differences would not fit into a float32."""
    prediction = torch.tensor([1e4, 1e6], requires_grad=True)
    balanced_l1_loss(prediction, torch.zeros(2), alpha=0.1, gamma=8.0, reduction="sum").backward()
    torch.testing.assert_close(prediction.grad, torch.full((2,), 8.0))


@pytest.mark.parametrize("beta", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.999, 1.001, 4.0])
def test_slope_of_balanced_l1(share, beta):
    """Promoted for small differences, gamma for large ones, without a jump at beta."""
    prediction = torch.tensor([share * beta], dtype=torch.float64, requires_grad=True)
    balanced_l1_loss(prediction, torch.zeros(1, dtype=torch.float64), beta=beta).backward()
    slope = 0.5 * math.log((math.exp(3) - 1) * share + 1) if share < 1 else 1.5
    assert float(prediction.grad) == pytest.approx(slope)


@quickly
@given(p=NUMBERS, t=NUMBERS, width=POSITIVE, curvature=POSITIVE)
def test_wing(p, t, width, curvature):
    x = abs(p - t)
    constant = width - width * math.log(1 + width / curvature)
    expected = width * math.log(1 + x / curvature) if x < width else x - constant
    assert only(wing_loss, p, t, width=width, curvature=curvature) == close(expected)


@quickly
@given(p=NUMBERS, t=st.floats(0.1, 20))
def test_normalized_l1(p, t):
    assert only(normalized_l1_loss, p, t) == close(abs(p / (t + 1e-4) - 1))
    assert only(normalized_l1_loss, p, t, epsilon=0.1) == close(abs(p / (t + 0.1) - 1))


@quickly
@given(p=NUMBERS, t=NUMBERS, s=st.floats(-5, 5))
def test_laplace(p, t, s):
    """The negative log likelihood, without its constant."""
    values = torch.tensor([p, s], dtype=torch.float64)
    likelihood = Laplace(torch.tensor(p, dtype=torch.float64), math.exp(s)).log_prob(
        torch.tensor(t, dtype=torch.float64)
    )
    actual = laplace_loss(values, torch.tensor([t], dtype=torch.float64))
    torch.testing.assert_close(actual, -likelihood - math.log(2))


def test_laplace_of_several_values():
    """First the values, then their scales."""
    prediction, target = torch.randn(2, 5, 6), torch.randn(2, 5, 3)
    single = [laplace_loss(prediction[..., d::3], target[..., d : d + 1], reduction="none") for d in range(3)]
    torch.testing.assert_close(laplace_loss(prediction, target, reduction="none"), torch.cat(single, dim=-1))


def test_best_scale_of_laplace():
    log_scale = torch.tensor([0.0], requires_grad=True)
    for _ in range(200):
        loss = laplace_loss(torch.cat([torch.zeros(1), log_scale]), torch.tensor([3.0]))
        log_scale = (log_scale - 0.1 * torch.autograd.grad(loss, log_scale)[0]).detach().requires_grad_()
    assert float(log_scale.detach()) == pytest.approx(math.log(3), abs=1e-3)


@quickly
@given(sine=NUMBERS, cosine=NUMBERS, angle=NUMBERS)
def test_sin_cos(sine, cosine, angle):
    prediction, target = torch.tensor([sine, cosine]).double(), torch.tensor(angle).double()
    expected = abs(sine - math.sin(angle)) + abs(cosine - math.cos(angle))
    assert float(sin_cos_loss(prediction, target)) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@quickly
@given(logit=st.floats(-30, 30), t=st.floats(0, 1), beta=st.sampled_from([1.0, 2.0, 2.5]))
def test_cross_entropies(logit, t, beta):
    p, q = 1 / (1 + math.exp(-logit)), 1 / (1 + math.exp(logit))
    entropy = -t * math.log(p) - (1 - t) * math.log(q)
    assert only(binary_cross_entropy_loss, logit, t) == close(entropy)
    expected = abs(t - p) ** beta * entropy
    assert only(quality_focal_loss, logit, t, beta=beta) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_quality_focal_is_the_focal_loss_of_hard_targets():
    logits, target = torch.linspace(-8, 8, 50).requires_grad_(), (torch.arange(50) % 3 == 0).float()
    actual, expected = quality_focal_loss(logits, target), sigmoid_focal_loss(logits, target, alpha=-1).mean()
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (actual, expected)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("loss", [binary_cross_entropy_loss, quality_focal_loss])
def test_confident_logits(loss, dtype):
    """Values and gradients are those of float64, for any logit."""
    logits = torch.linspace(-50, 50, 401).to(dtype)
    for target in (0.0, 0.3, 1.0):
        given, wanted = logits.clone().requires_grad_(), torch.full_like(logits, target)
        exact = logits.double().requires_grad_()
        actual, expected = loss(given, wanted, reduction="none"), loss(exact, wanted.double(), reduction="none")
        torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-6)
        gradient, exact_gradient = (torch.autograd.grad(x.sum(), y)[0] for x, y in ((actual, given), (expected, exact)))
        torch.testing.assert_close(gradient, exact_gradient.to(dtype))


def test_smooth_l1_is_torchs():
    prediction, target = torch.randn(100, 4), torch.randn(100, 4)
    torch.testing.assert_close(smooth_l1_loss(prediction, target), F.smooth_l1_loss(prediction, target))
