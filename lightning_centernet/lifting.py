"""From the image into the world: where detected objects are, and how they are turned."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_centernet.geometry.affine import invert
from lightning_centernet.geometry.camera import (
    focal_length,
    mirror_angle,
    rotation_from_alpha,
    transform_calibration,
    unproject,
)
from lightning_centernet.types import Detections


@torch.no_grad()
def lift(
    detections: Detections, calibration: Tensor, transform: Tensor | None = None, *, shared_camera: bool = False
) -> Detections:
    """Find the 3D boxes of detections (CenterNet, section 4.1; CenterTrack, section 4.3).

    An object lies at its depth behind its projected centre; without `amodal_centers` that is taken to be the middle of
    its 2D box, or else its centre.

    Args:
        detections: in the pixels of the original images; `depth`, `dimensions` and `alpha` as far as there are heads.
        calibration: (B, 3, 4), the camera of each input image.
        transform: (B, 2, 3), original pixels to input pixels; None if the input is the original.
        shared_camera: take the camera of the first original image for all, as CenterNet does.

    Returns:
        The detections with `location` (B, K, 3), the middle of the bottom, if they have a depth and dimensions; with
        `rotation_y` (B, K), if they have `alpha`; and with the depth for the image's own camera, if it was meant for
        one with the focal length `focal`.
    """
    lifted = {name: values for name, values in detections.items() if name != "focal"}
    if "depth" in lifted and "focal" in detections:
        factor = focal_length(calibration).unsqueeze(-1) / detections["focal"]
        lifted |= {name: lifted[name] * factor for name in ("depth", "depth_scale") if name in lifted}
    if transform is not None:
        back = invert(transform.cpu().double()).float().to(calibration.device)
        calibration = transform_calibration(calibration, back)
        if "alpha" in lifted:
            mirrored = torch.linalg.det(transform[..., :2].cpu().double()) < 0
            mirrored = mirrored.unsqueeze(-1).to(calibration.device)
            lifted["alpha"] = torch.where(mirrored, mirror_angle(lifted["alpha"]), lifted["alpha"])
    if shared_camera:
        calibration = calibration[:1].expand_as(calibration)
    pixels = _projected_centers(lifted)
    if "depth" in lifted and "dimensions" in lifted:
        middle = unproject(pixels, lifted["depth"], calibration)
        x, y, z = middle.unbind(-1)
        lifted["location"] = torch.stack([x, y + lifted["dimensions"][..., 0] / 2, z], dim=-1)
    if "alpha" in lifted:
        lifted["rotation_y"] = rotation_from_alpha(lifted["alpha"], pixels, calibration)
    return lifted


def _projected_centers(detections: Detections) -> Tensor:
    if "amodal_centers" in detections:
        return detections["amodal_centers"]
    if "boxes" in detections:
        return (detections["boxes"][..., :2] + detections["boxes"][..., 2:]) / 2
    return detections["centers"]
