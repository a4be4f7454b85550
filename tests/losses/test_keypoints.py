"""The OKS loss against COCO's evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval

from lightning_centernet.errors import UserError
from lightning_centernet.losses import COCO_SIGMAS, oks_loss


def coco_oks(prediction, target, visible, area):
    """Ask the evaluation itself for the similarity of one detection and one person."""
    evaluation = COCOeval(iouType="keypoints")
    assert np.allclose(evaluation.params.kpt_oks_sigmas, COCO_SIGMAS)
    truth = torch.cat([target, visible.unsqueeze(-1)], dim=-1).flatten().tolist()
    found = torch.cat([prediction, torch.ones(17, 1)], dim=-1).flatten().tolist()
    evaluation._gts[0, 0] = [{"keypoints": truth, "area": float(area), "bbox": [0, 0, 1, 1], "num_keypoints": 17}]
    evaluation._dts[0, 0] = [{"keypoints": found, "score": 1.0}]
    return float(evaluation.computeOks(0, 0)[0, 0])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), error=st.floats(0, 30), area=st.floats(10, 10000))
def test_coco(seed, error, area):
    generator = torch.Generator().manual_seed(seed)
    target = 100 * torch.rand(17, 2, generator=generator)
    prediction = target + error * torch.randn(17, 2, generator=generator)
    visible = (torch.rand(17, generator=generator) > 0.4).float()
    visible[0] = 1  # the evaluation compares with the box where nothing is labelled
    area = torch.tensor(area)
    loss = oks_loss(prediction, target, area=area, visible=visible)
    assert 1 - float(loss) == pytest.approx(coco_oks(prediction, target, visible, area), abs=1e-5)


def test_joints_without_a_label_do_not_matter():
    target, visible = torch.rand(2, 3, 17, 2), torch.zeros(2, 3, 17)
    visible[..., :5] = 1
    prediction = target.clone()
    prediction[..., 5:, :] += 100
    loss = oks_loss(prediction, target, area=torch.ones(2, 3), visible=visible, reduction="none")
    assert loss.shape == (2, 3)
    assert not loss.any()


def test_objects_without_a_label_cost_nothing():
    prediction = torch.rand(2, 17, 2, requires_grad=True)
    loss = oks_loss(prediction, torch.rand(2, 17, 2), area=torch.zeros(2), visible=torch.zeros(2, 17))
    loss.backward()
    assert loss == 0
    assert not prediction.grad.any()


@pytest.mark.parametrize("area", [0.0, 1e-8, 1e8])
@pytest.mark.parametrize("distance", [0.0, 1e-4, 1e4])
def test_extremes_stay_finite(area, distance):
    prediction = torch.full((17, 2), distance, requires_grad=True)
    loss = oks_loss(prediction, torch.zeros(17, 2), area=torch.tensor(area))
    loss.backward()
    assert 0 <= float(loss.detach()) <= 1
    assert prediction.grad.isfinite().all()


def test_other_joints():
    prediction, target = torch.rand(4, 3, 2), torch.rand(4, 3, 2)
    with pytest.raises(UserError, match="3 joints need as many sigmas, not 17"):
        oks_loss(prediction, target, area=torch.ones(4))
    loss = oks_loss(prediction, target, area=torch.ones(4), sigmas=(0.1, 0.1, 0.1), reduction="none")
    distance = (prediction - target).square().sum(-1)
    torch.testing.assert_close(loss, 1 - torch.exp(-distance / (2 * 0.2**2)).mean(-1))
    with pytest.raises(UserError, match=r"`area` must have the shape \(4,\), not \(4, 1\)"):
        oks_loss(prediction, target, area=torch.ones(4, 1), sigmas=(0.1, 0.1, 0.1))
    with pytest.raises(UserError, match=r"`visible` must have the shape \(4, 3\), not \(4,\)"):
        oks_loss(prediction, target, area=torch.ones(4), visible=torch.ones(4), sigmas=(0.1, 0.1, 0.1))


def test_validation_before_training():
    """What validation leaves behind must not hinder the gradient."""
    sigmas = (0.123, 0.456)
    with torch.inference_mode():
        oks_loss(torch.rand(4, 2, 2), torch.rand(4, 2, 2), area=torch.ones(4), sigmas=sigmas)
    prediction, area = torch.rand(4, 2, 2, requires_grad=True), torch.ones(4, requires_grad=True)
    oks_loss(prediction, torch.rand(4, 2, 2), area=area, sigmas=sigmas).backward()
    assert prediction.grad.any()
    assert area.grad.any()
