"""What to call each loss module with: found by listing, so that a new one is tested without anyone's remembering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

import lightning_centernet.losses.modules as modules
from lightning_centernet.losses import (
    BinaryCrossEntropyLoss,
    CIoULoss,
    DIoULoss,
    GIoULoss,
    IoULoss,
    LaplaceLoss,
    OKSLoss,
    QualityFocalLoss,
    SinCosLoss,
    WeightedLoss,
)

LOSSES = [
    each
    for each in vars(modules).values()
    if isinstance(each, type) and issubclass(each, WeightedLoss) and each is not WeightedLoss
]


@dataclass
class Case:
    """A prediction and a target whose loss has a given shape, in float64; and what else the loss needs."""

    prediction: Tensor
    target: Tensor
    inputs: dict[str, Tensor] = field(default_factory=dict)

    def map(self, change: Callable[[Tensor], Tensor]) -> Case:
        inputs = {name: change(value) for name, value in self.inputs.items()}
        return Case(change(self.prediction), change(self.target), inputs)


def make_case(loss: type[WeightedLoss], *shape: int, seed: int = 0) -> Case:
    generator = torch.Generator().manual_seed(seed)

    def uniform(*sides: int) -> Tensor:
        return torch.rand(sides, generator=generator, dtype=torch.float64)

    def noise(*sides: int) -> Tensor:
        return torch.randn(sides, generator=generator, dtype=torch.float64)

    if loss in (IoULoss, GIoULoss, DIoULoss, CIoULoss):
        return Case(boxes(uniform(*shape, 4)), boxes(uniform(*shape, 4)))
    if loss is OKSLoss:
        target, visible = 20 * uniform(*shape, 17, 2), (uniform(*shape, 17) > 0.4).double()
        return Case(target + noise(*shape, 17, 2), target, {"area": 50 + 50 * uniform(*shape), "visible": visible})
    if loss is LaplaceLoss:  # which looks along an axis
        return Case(noise(*(shape or (1,))[:-1], 2 * (shape or (1,))[-1]), noise(*(shape or (1,))))
    if loss is SinCosLoss:
        return Case(noise(*shape, 2), 3 * noise(*shape))
    if loss in (BinaryCrossEntropyLoss, QualityFocalLoss):
        return Case(3 * noise(*shape), uniform(*shape))
    return Case(0.5 + uniform(*shape) + noise(*shape), 0.5 + uniform(*shape))


def boxes(numbers: Tensor) -> Tensor:
    """Turn (..., 4) numbers between 0 and 1 into boxes."""
    corner, size = 10 * numbers[..., :2], 1 + 9 * numbers[..., 2:]
    return torch.cat([corner, corner + size], dim=-1)
