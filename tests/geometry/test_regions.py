"""Boxes in maps equal those filled cell by cell, whichever form fills them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_centernet.geometry import regions


def fill(maps, boxes, channels, chosen, level):
    for image, found in enumerate(chosen):
        for slot in found.nonzero().flatten().tolist():
            left, top, right, bottom = boxes[image, slot].tolist()
            for c in range(maps.shape[1]):
                for y in range(maps.shape[2]):
                    for x in range(maps.shape[3]):
                        inside = left <= x <= right and top <= y <= bottom
                        if inside and channels[image, slot] in (c, -1):
                            maps[image, c, y, x] = max(maps[image, c, y, x], level)


@pytest.mark.parametrize("form", [regions._fill_each, regions._fill_all])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@given(seed=st.integers(0, 2**31), slots=st.integers(0, 4), classes=st.integers(1, 3))
def test_cell_by_cell(form, layout, seed, slots, classes):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(2, classes, 5, 7, generator=generator).contiguous(memory_format=layout)
    corners = torch.randint(-3, 9, (2, slots, 2), generator=generator)
    boxes = torch.cat([corners, corners + torch.randint(-1, 6, (2, slots, 2), generator=generator)], -1)
    channels = torch.randint(-1, classes, (2, slots), generator=generator)
    chosen = torch.rand(2, slots, generator=generator) < 0.7
    expected = maps.clone()
    fill(expected, boxes, channels, chosen, 0.75)
    form(maps, boxes, channels, chosen, 0.75)
    assert torch.equal(maps, expected)
