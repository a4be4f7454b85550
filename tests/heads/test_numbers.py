"""What the loss of each head computes with: float64 as it is, halves as float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from lightning_centernet import GenericLoss
from lightning_centernet.heads import Head
from lightning_centernet.testing import fake_outputs
from tests.heads.test_heads import EACH_HEAD, HEADS, batch_of


def loss_of(head: Head, output: Tensor, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
    heads = {name: HEADS[name] for name in head.reads if name in HEADS} | {head.name: head}
    return GenericLoss(heads)(outputs | {head.name: output}, batch)[1][head.name]


@EACH_HEAD
def test_gradients_are_those_of_the_values(head: Head) -> None:
    sizes = {"batch_size": 1, "grid": (3, 4)}
    batch, outputs = batch_of(head, objects=2, slots=3, **sizes), fake_outputs(HEADS | {head.name: head}, **sizes)
    batch = {key: each.double() if each.is_floating_point() else each for key, each in batch.items()}
    outputs = {key: each.double() for key, each in outputs.items()}
    assert gradcheck(lambda output: loss_of(head, output, outputs, batch), outputs[head.name].requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@EACH_HEAD
def test_halves_from_one_end_to_the_other(head: Head, dtype: torch.dtype) -> None:
    """Logits from -50 to 50 give what float32 gives for the same numbers, and finite gradients."""
    sizes = {"batch_size": 2, "grid": (16, 24)}
    batch, outputs = batch_of(head, objects=9, slots=12, **sizes), fake_outputs(HEADS | {head.name: head}, **sizes)
    count = outputs[head.name].numel()
    logits = torch.linspace(-50, 50, count)[torch.randperm(count, generator=torch.Generator().manual_seed(0))]
    losses, gradients = [], []
    for kind in (dtype, torch.float32):
        leaf = logits.view_as(outputs[head.name]).to(dtype).to(kind).requires_grad_()
        losses.append(loss_of(head, leaf, outputs, batch))
        gradients += torch.autograd.grad(losses[-1], leaf)
    assert losses[0].isfinite()
    torch.testing.assert_close(losses[0], losses[1])
    assert gradients[0].isfinite().all()
    assert gradients[0].any()
    torch.testing.assert_close(gradients[0], gradients[1].to(dtype))
