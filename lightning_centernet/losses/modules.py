"""The losses as modules, as mmdetection has them: built from a config, called with a prediction and a target."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

from torch import Tensor, nn

from lightning_centernet.errors import UserError
from lightning_centernet.losses.boxes import IoUMode, ciou_loss, diou_loss, giou_loss, iou_loss
from lightning_centernet.losses.classification import binary_cross_entropy_loss, quality_focal_loss
from lightning_centernet.losses.elementwise import (
    balanced_l1_loss,
    huber_loss,
    l1_loss,
    l2_loss,
    normalized_l1_loss,
    smooth_l1_loss,
    wing_loss,
)
from lightning_centernet.losses.keypoints import COCO_SIGMAS, oks_loss
from lightning_centernet.losses.options import complete_options, require_choice
from lightning_centernet.losses.rotation import sin_cos_loss
from lightning_centernet.losses.uncertainty import laplace_loss
from lightning_centernet.losses.weighting import Reduction


class WeightedLoss(nn.Module):
    """Give a function that `weighted` made the form of a module.

    For a function of your own, name it in a subclass: `function = staticmethod(my_loss)`.

    Args:
        reduction: `none`, `mean` or `sum`, see `reduce_loss`.
        loss_weight: factor of the result.
        **options: of the function.

    Raises:
        UserError: the reduction, the weight or an option is unknown, or does not allow the value.
    """

    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, *, reduction: Reduction = "mean", loss_weight: float | Tensor = 1.0, **options: Any) -> None:
        super().__init__()
        require_choice("reduction", reduction, Reduction)
        if not isinstance(loss_weight, Tensor) and not (isinstance(loss_weight, Real) and math.isfinite(loss_weight)):
            raise UserError(f"{type(self).__name__}: loss_weight={loss_weight!r} must be a finite number")
        self.reduction, self.loss_weight = reduction, loss_weight
        self.options = complete_options(type(self).__name__, self.function, options)

    def forward(
        self,
        prediction: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: Reduction | None = None,
        **inputs: Tensor,
    ) -> Tensor:
        """Compute the loss.

        Args:
            prediction: as the function wants it.
            target: likewise.
            weight: factors of the elements, of a shape that broadcasts to that of the loss.
            avg_factor: what to divide the sum by, where the reduction is `mean`.
            reduction_override: for this call, in place of `reduction`.
            **inputs: further tensors that the function needs.

        Raises:
            UserError: see `reduce_loss`.
        """
        reduction = self.reduction if reduction_override is None else reduction_override
        return self.loss_weight * self.function(
            prediction, target, weight, avg_factor=avg_factor, reduction=reduction, **self.options, **inputs
        )

    def extra_repr(self) -> str:
        """Show the options."""
        shown = {"reduction": self.reduction, "loss_weight": self.loss_weight, **self.options}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


class L1Loss(WeightedLoss):
    """See `l1_loss`.

    Example:
        >>> import torch
        >>> prediction, target = torch.tensor([0.0, 2.0, 3.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 1.0])
        >>> L1Loss()(prediction, target), L1Loss()(prediction, target, avg_factor=2)
        (tensor(1.2500), tensor(2.5000))
    """

    function = staticmethod(l1_loss)


class SmoothL1Loss(WeightedLoss):
    """See `smooth_l1_loss`."""

    function = staticmethod(smooth_l1_loss)

    def __init__(self, *, beta: float = 1.0, reduction: Reduction = "mean", loss_weight: float = 1.0) -> None:
        super().__init__(beta=beta, reduction=reduction, loss_weight=loss_weight)


class L2Loss(WeightedLoss):
    """See `l2_loss`."""

    function = staticmethod(l2_loss)


class HuberLoss(WeightedLoss):
    """See `huber_loss`."""

    function = staticmethod(huber_loss)

    def __init__(self, *, delta: float = 1.0, reduction: Reduction = "mean", loss_weight: float = 1.0) -> None:
        super().__init__(delta=delta, reduction=reduction, loss_weight=loss_weight)


class BalancedL1Loss(WeightedLoss):
    """See `balanced_l1_loss`."""

    function = staticmethod(balanced_l1_loss)

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        gamma: float = 1.5,
        beta: float = 1.0,
        reduction: Reduction = "mean",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(alpha=alpha, gamma=gamma, beta=beta, reduction=reduction, loss_weight=loss_weight)


class WingLoss(WeightedLoss):
    """See `wing_loss`."""

    function = staticmethod(wing_loss)

    def __init__(
        self, *, width: float = 10.0, curvature: float = 2.0, reduction: Reduction = "mean", loss_weight: float = 1.0
    ) -> None:
        super().__init__(width=width, curvature=curvature, reduction=reduction, loss_weight=loss_weight)


class NormalizedL1Loss(WeightedLoss):
    """See `normalized_l1_loss`."""

    function = staticmethod(normalized_l1_loss)

    def __init__(self, *, epsilon: float = 1e-4, reduction: Reduction = "mean", loss_weight: float = 1.0) -> None:
        super().__init__(epsilon=epsilon, reduction=reduction, loss_weight=loss_weight)


class IoULoss(WeightedLoss):
    """See `iou_loss`."""

    function = staticmethod(iou_loss)

    def __init__(self, *, mode: IoUMode = "linear", reduction: Reduction = "mean", loss_weight: float = 1.0) -> None:
        super().__init__(mode=mode, reduction=reduction, loss_weight=loss_weight)


class GIoULoss(WeightedLoss):
    """See `giou_loss`."""

    function = staticmethod(giou_loss)


class DIoULoss(WeightedLoss):
    """See `diou_loss`."""

    function = staticmethod(diou_loss)


class CIoULoss(WeightedLoss):
    """See `ciou_loss`."""

    function = staticmethod(ciou_loss)


class OKSLoss(WeightedLoss):
    """See `oks_loss`; it is called with `area`, and with `visible` where joints are missing."""

    function = staticmethod(oks_loss)

    def __init__(
        self,
        *,
        sigmas: tuple[float, ...] = COCO_SIGMAS,
        reduction: Reduction = "mean",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(sigmas=sigmas, reduction=reduction, loss_weight=loss_weight)


class LaplaceLoss(WeightedLoss):
    """See `laplace_loss`."""

    function = staticmethod(laplace_loss)


class SinCosLoss(WeightedLoss):
    """See `sin_cos_loss`."""

    function = staticmethod(sin_cos_loss)


class BinaryCrossEntropyLoss(WeightedLoss):
    """See `binary_cross_entropy_loss`."""

    function = staticmethod(binary_cross_entropy_loss)


class QualityFocalLoss(WeightedLoss):
    """See `quality_focal_loss`."""

    function = staticmethod(quality_focal_loss)

    def __init__(self, *, beta: float = 2.0, reduction: Reduction = "mean", loss_weight: float = 1.0) -> None:
        super().__init__(beta=beta, reduction=reduction, loss_weight=loss_weight)
