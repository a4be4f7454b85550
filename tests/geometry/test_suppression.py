"""Suppression equals the paper's loop over boxes, and torchvision's where it is hard."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms, box_iou

from lightning_centernet.geometry.suppression import gaussian_decay, hard_decay, suppress
from tests.waiting import as_on_a_device

SOFT, HARD = partial(gaussian_decay, sigma=0.5), partial(hard_decay, threshold=0.5)


def crowd(seed, images=2, count=30, classes=3):
    """Boxes in a few heaps, some without an area, and slots that nothing fills."""
    generator = torch.Generator().manual_seed(seed)
    heap = 100 * torch.randint(3, (images, count, 1), generator=generator)
    corner = heap + 12 * torch.rand(images, count, 2, generator=generator)
    size = 20 + 30 * torch.rand(images, count, 2, generator=generator)
    size[:, 3::11] = 0
    scores = torch.rand(images, count, generator=generator)
    scores[:, 5::9] = 0
    labels = torch.randint(classes, (images, count), generator=generator)
    return torch.cat([corner, corner + size], -1), scores, labels


def soft_nms(boxes, scores, labels, sigma):
    """Bodla et al. 2017, figure 2, for the boxes of one image class by class: numbers and scores, best first."""
    found = []
    for label in labels.unique().tolist():
        left = [(float(scores[n]), n) for n in range(len(boxes)) if labels[n] == label]
        while left:
            best = max(left, key=lambda entry: (entry[0], -entry[1]))
            left.remove(best)
            found.append(best)
            overlap = box_iou(boxes[best[1]][None], boxes)[0].nan_to_num()
            left = [(score * math.exp(-(float(overlap[n]) ** 2) / sigma), n) for score, n in left]
    return sorted(found, key=lambda entry: (-entry[0], entry[1]))


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), sigma=st.sampled_from([0.1, 0.5, 2.0]), k=st.sampled_from([1, 12, 30, 50]))
def test_soft_as_in_the_paper(seed, sigma, k):
    boxes, scores, labels = crowd(seed)
    index, values = suppress(boxes, scores, labels, k, partial(gaussian_decay, sigma=sigma))
    for image in range(2):
        expected = soft_nms(boxes[image], scores[image], labels[image], sigma)[:k]
        torch.testing.assert_close(values[image], torch.tensor([score for score, _ in expected]), rtol=1e-5, atol=1e-7)
        certain = values[image] > 0  # of slots with the score 0 any may come first
        assert index[image][certain].tolist() == [n for score, n in expected if score > 0]
        assert len(set(index[image].tolist())) == min(k, 30)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([0.2, 0.5, 0.8, 1.0]))
def test_hard_as_in_torchvision(seed, threshold):
    boxes, scores, labels = crowd(seed)
    scores = scores + 0.01  # none is 0, which says here that a box is suppressed
    index, values = suppress(boxes, scores, labels, 30, partial(hard_decay, threshold=threshold))
    for image in range(2):
        expected = batched_nms(boxes[image], scores[image], labels[image], threshold)
        kept = values[image] > 0
        assert index[image][kept].tolist() == expected.tolist()
        torch.testing.assert_close(values[image][kept], scores[image][expected])
        assert index[image].sort().values.tolist() == list(range(30))


@pytest.mark.parametrize("decay", [SOFT, HARD])
def test_batch_of_many_is_many_of_one_and_nothing_waits(decay, monkeypatch):
    crowds = crowd(7, images=3)
    with as_on_a_device(monkeypatch):
        together = suppress(*crowds, 20, decay)
    for image in range(3):
        alone = suppress(*(values[image : image + 1] for values in crowds), 20, decay)
        for ours, theirs in zip(alone, together, strict=True):
            assert torch.equal(ours[0], theirs[image])


def test_two_classes_in_one_place_do_not_know_each_other():
    boxes = torch.tensor([[[0.0, 0, 10, 10]] * 3])
    index, scores = suppress(boxes, torch.tensor([[0.9, 0.8, 0.7]]), torch.tensor([[0, 1, 0]]), 3, SOFT)
    assert index.tolist() == [[0, 1, 2]]
    torch.testing.assert_close(scores, torch.tensor([[0.9, 0.8, 0.7 * math.exp(-2)]]))


@pytest.mark.parametrize(("count", "k"), [(0, 5), (4, 0)])
def test_nothing_to_take(count, k):
    index, scores = suppress(*crowd(0, count=count), k, SOFT)
    assert (index.shape, index.dtype, scores.shape) == ((2, 0), torch.int64, (2, 0))
