"""Upright boxes overlap as torchvision says."""

from __future__ import annotations

import torch
from torchvision.ops import box_iou

from lightning_centernet.geometry.boxes import upright_iou


def test_as_in_torchvision() -> None:
    corners = 10 * torch.rand(2, 50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, second = torch.cat([corners[..., :2], corners[..., :2] + corners[..., 2:]], -1)
    torch.testing.assert_close(upright_iou(first, second), box_iou(first, second).diagonal())
    torch.testing.assert_close(upright_iou(first[:, None], second), box_iou(first, second))


def test_without_an_area_there_is_no_overlap() -> None:
    point, box = torch.tensor([[3.0, 3, 3, 3]]), torch.tensor([[0.0, 0, 10, 10]])
    assert upright_iou(point, torch.cat([point, box])).tolist() == [0, 0]
    assert upright_iou(point * torch.nan, box).isnan().all()
