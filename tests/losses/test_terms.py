"""Averages of terms, against loops over heads."""

from __future__ import annotations

import pytest
import torch

from lightning_centernet.losses import Elementwise, Ratio, Term, average
from lightning_centernet.losses.terms import _one_by_one

L1, SMOOTH = Elementwise("l1"), Elementwise("smooth_l1")


def term(seed=0, slots=5, channels=2, loss=L1, **options):
    random = torch.Generator().manual_seed(seed)
    prediction, target = (torch.randn(2, slots, channels, generator=random) for _ in range(2))
    weight = (torch.rand(2, slots, channels, generator=random) > 0.4).float()
    return Term(loss, prediction.requires_grad_(), target, weight, **options)


def slow(term):
    losses, weight = term.loss(term.prediction, term.target) * term.weight, term.weight.expand_as(term.prediction)
    if term.average == "objects":
        counts = weight.amax(-1).sum().expand(weight.shape[-1])
    else:
        counts = (torch.ones_like(weight) if term.average == "slots" else weight).sum((0, 1))
    if term.apart:
        return (losses.sum((0, 1)) / (counts.clamp(min=term.at_least) + term.epsilon)).sum()
    count = counts[0] if term.average == "objects" else counts.sum()
    return losses.sum() / (count.clamp(min=term.at_least) + term.epsilon)


def merged(terms):
    """Return one term over the slots of all."""
    tensors = (torch.cat([getattr(each, name) for each in terms], dim=1) for name in ("prediction", "target", "weight"))
    return Term(L1, *tensors, epsilon=terms[0].epsilon, at_least=terms[0].at_least)


def contributions():
    ratio = Ratio(torch.tensor(6.0, requires_grad=True), torch.tensor(0.0), at_least=1.0)
    return [
        [term(0)],
        [term(1, channels=3, epsilon=1e-4)],
        [ratio],
        [Ratio(torch.tensor(6.0, requires_grad=True), torch.tensor(4.0), at_least=1.0)],
        [term(2, loss=SMOOTH, apart=True, at_least=1.0), term(3, channels=1), term(4, loss=SMOOTH)],
        [term(5, channels=4, average="objects")],
        [term(6, slots=9)],
        [term(7, average="slots")],
        [],
    ]


BOTH = pytest.mark.parametrize("average", [average, _one_by_one])


@BOTH
def test_each_head_gets_its_own_mean(average):
    heads = contributions()
    expected = [sum(each.mean() if isinstance(each, Ratio) else slow(each) for each in own) for own in heads]
    torch.testing.assert_close(average(heads), torch.stack([torch.as_tensor(value) for value in expected]).float())


@BOTH
def test_gradients(average):
    heads = contributions()
    mine = [each.prediction for own in heads for each in own if isinstance(each, Term)]
    expected = torch.autograd.grad(sum(slow(t) for own in heads for t in own if isinstance(t, Term)), mine)
    actual = torch.autograd.grad(average(heads).sum(), mine)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_nan_stays_in_its_head(value):
    heads = contributions()
    spoiled = term(1, channels=3, epsilon=1e-4)
    spoiled.prediction.data[0, 0, 0], spoiled.weight[0, 0, 0] = value, 1
    fine = average(heads)
    losses = average([heads[0], [spoiled], *heads[2:]])
    assert not losses[1].isfinite()
    others = [number for number in range(len(heads)) if number != 1]
    torch.testing.assert_close(losses[others], fine[others])
    losses[0].backward()
    assert heads[0][0].prediction.grad.isfinite().all()


@pytest.mark.parametrize("slots", [0, 5])
def test_nothing_labelled(slots):
    empty = term(slots=slots, epsilon=1e-4)
    empty = Term(empty.loss, empty.prediction, empty.target, 0 * empty.weight, epsilon=1e-4)
    loss = average([[empty]])
    assert loss.tolist() == [0.0]
    loss.sum().backward()
    assert (empty.prediction.grad == 0).all()


def test_counts_of_several_processes():
    """The mean over the processes is the loss of one process with all images, however many objects each has."""
    parts = [[[term(seed, slots=seed + 1, epsilon=1e-4), term(seed + 9, at_least=1.0)]] for seed in range(3)]
    together = [merged([own[0][number] for own in parts]) for number in range(2)]
    counts = []
    for own in parts:
        average(own, lambda own_counts: (counts.append(own_counts) or own_counts, 1))
    total = torch.stack(counts).sum(0)
    losses = torch.stack([average(own, lambda _: (total, 3)) for own in parts])
    torch.testing.assert_close(losses.mean(0), average([together]))


def test_may_follow_a_validation_in_inference_mode():
    with torch.inference_mode():
        average(contributions())
    average(contributions()).sum().backward()
