"""What users get wrong is said in one line that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lightning_centernet import GenericLoss, standard_heads
from lightning_centernet.errors import UserError
from lightning_centernet.head_weights import UncertaintyWeights
from lightning_centernet.losses import (
    IoULoss,
    L1Loss,
    LaplaceLoss,
    OKSLoss,
    QualityFocalLoss,
    balanced_l1_loss,
    l1_loss,
    quality_focal_loss,
    regression_loss,
    rotation_loss,
)
from lightning_centernet.losses.named import Elementwise, named_loss
from lightning_centernet.testing import fake_batch, fake_outputs

ONE, TWO = torch.ones(4, 1), torch.ones(4, 2)
HEADS = {"hm": 3, "wh": 2, "reg": 2}


def of_other_images() -> object:
    heads = standard_heads({"wh": 2, "reg": 2})
    return GenericLoss(heads)(fake_outputs(heads, batch_size=2), fake_batch(heads, batch_size=1))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: l1_loss(TWO, TWO, weight=2.0), "weight=2.0 must be a tensor"),  # type: ignore[arg-type]
        (lambda: l1_loss(TWO, TWO, avg_factor="a"), "avg_factor='a' must be a number"),  # type: ignore[arg-type]
        (lambda: l1_loss(TWO, TWO, avg_factor=float("inf")), "avg_factor=inf must be a number"),
        (lambda: l1_loss(TWO, TWO, avg_factor=ONE), r"one number, not a tensor of the shape \(4, 1\)"),
        (lambda: L1Loss(loss_weight=float("nan")), "L1Loss: loss_weight=nan must be a finite number"),
        (lambda: L1Loss(reduction="average"), "reduction='average' is not one of 'none', 'mean', 'sum'"),  # type: ignore[arg-type]
        (lambda: OKSLoss(sigmas=()), "sigmas=\\(\\) must be a list of numbers above 0"),
        (
            lambda: OKSLoss()(torch.ones(2, 17, 3), torch.ones(2, 17, 3), area=torch.ones(2)),
            r"shape \(..., J, 2\), not",
        ),
        (lambda: LaplaceLoss()(torch.ones(4, 3), TWO), r"twice as many values as the target.*\(4, 3\) and \(4, 2\)"),
        (lambda: QualityFocalLoss(beta=0.5)(ONE, ONE), "beta=0.5 must be a number of at least 1"),
        (lambda: quality_focal_loss(ONE, ONE, beta=float("nan")), "beta=nan must be a number of at least 1"),
        (lambda: balanced_l1_loss(ONE, ONE, alpha=0.001), "alpha=0.001 must be at most 80: choose a larger alpha"),
        (lambda: IoULoss(mode="cubic"), "mode='cubic' must be one of linear, log"),  # type: ignore[arg-type]
        (lambda: regression_loss(TWO[None], TWO[None], ONE[None], average="objs"), "average='objs' is not one of"),  # type: ignore[arg-type]
        (
            lambda: rotation_loss(torch.ones(1, 4, 8), TWO[None], TWO[None], torch.ones(1, 4), average="objs"),  # type: ignore[arg-type]
            "average='objs' is not one of 'labelled', 'slots'",
        ),
        (
            lambda: named_loss("giou", Elementwise),
            "unknown loss `giou`: it can be l1,.*; `giou` is for other kinds of heads",
        ),
        (
            lambda: standard_heads({**HEADS, "wh": {"weight": -1.0}}),
            "head `wh`: weight=-1.0 must be a number of at least 0",
        ),
        (
            lambda: standard_heads({**HEADS, "wh": {"weight": float("nan")}}),
            "weight=nan must be a finite number",
        ),
        (
            lambda: standard_heads({"hm": 3, "rot": {"channels": 8, "loss": "sin_cos"}}),
            "2 channels, not 8: leave the number out, or set heads.rot.channels=2, as loss=sin_cos needs",
        ),
        (lambda: UncertaintyWeights({"hm": 1.0}, classifying="hm"), r"must be a list of heads: .*classifying=\[hm\]"),
        (lambda: GenericLoss(HEADS, weighting="kendall"), "weighting='kendall' must be a module"),  # type: ignore[arg-type]
        (lambda: GenericLoss(HEADS)([], {}), "the outputs are an empty list"),
        (of_other_images, "the batch's `ind` has a first axis of 1, but the outputs of 2"),
    ],
)
def test_it_is_said(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()
