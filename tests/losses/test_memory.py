"""Memory on the host is laid out as torch's own."""

from __future__ import annotations

import pytest
import torch

from lightning_centernet.losses.memory import LARGE, empty_like


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("side", [4, 1100])
def test_same_layout_as_torch(dtype, side):
    contiguous = torch.zeros(1, 4, side, side, dtype=dtype)
    last = contiguous.contiguous(memory_format=torch.channels_last)
    assert (contiguous.nbytes >= LARGE) == (side > 4)
    for values in (
        contiguous,
        last,
        contiguous.mT,
        contiguous[:, ::2],
        contiguous[..., ::2],
        last[:, :, :1].expand_as(last),
    ):
        mine, theirs = empty_like(values), torch.empty_like(values)
        assert (mine.shape, mine.dtype, mine.stride()) == (theirs.shape, theirs.dtype, theirs.stride())
        mine.copy_(values)
        assert torch.equal(mine, values)


def test_elsewhere_than_on_the_host():
    assert empty_like(torch.empty(4, 1024, 1024, device="meta")).device.type == "meta"
