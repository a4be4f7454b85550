"""Peaks equal those of a slow search, whichever form finds them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_centernet.geometry import peaks
from lightning_centernet.geometry.peaks import highest_peaks

FORMS = {"host": peaks._candidates_on_host, "device": peaks._candidates_on_device}


def search(heatmap, k):
    """Look at every cell: the logits and places of the peaks of one image (C, h, w), best first, at most k."""
    channels, height, width = heatmap.shape
    found = []
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                value = heatmap[c, y, x]
                near = heatmap[c, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                if value > -torch.inf and (near <= value).all():
                    found.append((-float(value), (c * height + y) * width + x))
    return [(-negative, flat) for negative, flat in sorted(found)[:k]]


def found(logits, flat):
    """Bring the result of one image into the form of the search."""
    taken = logits > -torch.inf
    assert taken[: int(taken.sum())].all(), "empty slots come last"
    assert (flat[~taken] == 0).all()
    return list(zip(logits[taken].tolist(), flat[taken].tolist(), strict=True))


@st.composite
def heatmaps(draw):
    """Maps with many ties and plateaus, or none, in any layout and type."""
    shape = [draw(st.integers(1, top)) for top in (3, 4, 9, 11)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    levels = draw(st.sampled_from([1, 2, 4, 1000]))
    values = torch.randint(-levels, levels, shape, generator=generator) / draw(st.sampled_from([1, 3]))
    values[torch.rand(shape, generator=generator) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = -torch.inf
    values = values.to(draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64])))
    layout = draw(st.sampled_from(["contiguous", "channels_last", "every second column", "mirrored axes"]))
    if layout == "channels_last":
        return values.contiguous(memory_format=torch.channels_last)
    if layout == "every second column":
        return values.repeat_interleave(2, dim=3)[..., ::2]
    return values.mT if layout == "mirrored axes" else values


@pytest.mark.parametrize("form", FORMS)
@given(heatmap=heatmaps(), k=st.sampled_from([1, 2, 7, 40, 500]))
def test_slow_search(form, heatmap, k):
    kept = heatmap.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peaks, "_candidates_on_host", FORMS[form])
        logits, flat = highest_peaks(heatmap, k)
    assert logits.dtype == torch.float32
    assert logits.shape == flat.shape == (len(heatmap), k)
    assert ((flat >= 0) & (flat < heatmap[0].numel())).all()
    for image, values, places in zip(heatmap, logits, flat, strict=True):
        assert found(values, places) == search(image.float(), k)
    assert torch.equal(heatmap, kept)


def smooth(shape, seed=0):
    """Low hills: a row's maximum is often no peak, and peaks are far fewer than cells."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    for _ in range(3):
        noise = torch.nn.functional.avg_pool2d(noise, 3, stride=1, padding=1)
    return noise


@pytest.mark.parametrize("make", [smooth, torch.zeros, lambda shape: torch.randn(shape).round()])
@pytest.mark.parametrize("channels", [1, 7])
def test_both_forms_agree_on_large_maps(make, channels):
    heatmap = make((2, channels, 40, 56))
    for layout in (torch.contiguous_format, torch.channels_last):
        laid = heatmap.contiguous(memory_format=layout)
        on_host = highest_peaks(laid, 100)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(peaks, "_candidates_on_host", peaks._candidates_on_device)
            on_device = highest_peaks(laid, 100)
        assert torch.equal(on_host[0], on_device[0])
        assert torch.equal(on_host[1], on_device[1])


@pytest.mark.parametrize("form", FORMS)
def test_nan_hides_only_its_neighbours(form, monkeypatch):
    heatmap = torch.zeros(1, 1, 5, 9)
    heatmap[0, 0, 2, [1, 7]] = torch.tensor([torch.nan, 3.0])
    heatmap[0, 0, 2, 2] = 5
    monkeypatch.setattr(peaks, "_candidates_on_host", FORMS[form])
    logits, flat = highest_peaks(heatmap, 2)
    assert logits[0].tolist() == [3, 0]
    assert flat[0].tolist() == [2 * 9 + 7, 0]


def test_one_image_as_in_a_batch():
    heatmap = smooth((3, 4, 20, 24))
    together = highest_peaks(heatmap, 30)
    for number in range(3):
        alone = highest_peaks(heatmap[number : number + 1], 30)
        assert torch.equal(alone[0][0], together[0][number])
        assert torch.equal(alone[1][0], together[1][number])


def test_compiles_as_a_whole():
    compiled = torch.compile(highest_peaks, fullgraph=True, backend="eager")
    heatmap = smooth((2, 3, 16, 20))
    for mine, theirs in zip(highest_peaks(heatmap, 10), compiled(heatmap, 10), strict=True):
        assert torch.equal(mine, theirs)


def test_a_device_is_never_waited_for():
    """On the meta device nothing can be read back."""
    logits, flat = highest_peaks(torch.empty(2, 3, 16, 20, device="meta"), 100)
    assert logits.shape == flat.shape == (2, 100)
