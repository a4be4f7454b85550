"""The loss of keypoints that is the measure of the COCO evaluation; with the contract of `weighted`."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.losses.weighting import matched, weighted

# How far people place a joint apart, relative to the person's size: nose, eyes, ears, shoulders, elbows, wrists, hips,
# knees, ankles (COCO's keypoint evaluation).
_PAIRS = (0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089)
COCO_SIGMAS = (0.026, *(sigma for sigma in _PAIRS for _ in ("left", "right")))
SMALLEST_AREA = 1e-6


@weighted
def oks_loss(
    prediction: Tensor,
    target: Tensor,
    *,
    area: Tensor,
    visible: Tensor | None = None,
    sigmas: tuple[float, ...] = COCO_SIGMAS,
) -> Tensor:
    """Return 1 - OKS, the object keypoint similarity of COCO (YOLO-Pose, Maji et al. 2022).

    A joint at the distance d adds exp(-d^2 / (2 area (2 sigma)^2)) to the average over the visible joints.

    Args:
        prediction: (..., J, 2).
        target: (..., J, 2).
        area: (...), the objects' areas in the squared unit of the joints.
        visible: (..., J), 1 for the labelled joints; all, unless given.
        sigmas: J numbers, the tolerance of each joint relative to the object's size.

    Returns:
        (...), between 0 and 1; 0 for objects without a visible joint.

    Raises:
        UserError: the number of sigmas is not that of the joints, or the shapes do not fit.
    """
    prediction, target = matched(prediction, target)
    if prediction.ndim < 2 or prediction.shape[-1] != 2:
        raise UserError(f"keypoints must have the shape (..., J, 2), not {tuple(prediction.shape)}")
    if area.shape != prediction.shape[:-2]:
        raise UserError(f"`area` must have the shape {tuple(prediction.shape[:-2])}, not {tuple(area.shape)}")
    if visible is not None and visible.shape != prediction.shape[:-1]:
        raise UserError(f"`visible` must have the shape {tuple(prediction.shape[:-1])}, not {tuple(visible.shape)}")
    if prediction.shape[-2] != len(sigmas):
        raise UserError(f"{prediction.shape[-2]} joints need as many sigmas, not {len(sigmas)}: set `sigmas`")
    make = _variances if torch.compiler.is_compiling() else _cached_variances  # a compiled graph holds constants itself
    scale = (
        2
        * make(sigmas, prediction.device, prediction.dtype)
        * area.to(prediction.dtype).clamp(min=SMALLEST_AREA).unsqueeze(-1)
    )
    dissimilarity = -torch.expm1(-((prediction - target) ** 2).sum(-1) / scale)
    if visible is None:
        return dissimilarity.mean(-1)
    weight = visible.to(prediction.dtype)
    return (dissimilarity * weight).sum(-1) / weight.sum(-1).clamp(min=1)


def _variances(sigmas: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor([(2 * sigma) ** 2 for sigma in sigmas], device=device, dtype=dtype)


_cached_variances = cache(_variances)  # so that the host need not wait for a copy to the device in every step
