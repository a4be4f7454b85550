"""Heads of motion: in the image, and in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lightning_centernet.geometry.mirror import negate
from lightning_centernet.heads.regression import Field, Points
from lightning_centernet.types import Detections, Tensors


@dataclass(frozen=True, kw_only=True)
class Displacement(Points):
    """`tracking`: the object's previous centre minus its integer centre, in output cells (CenterTrack, section 4.2)."""

    @property
    def provides(self) -> tuple[str, ...]:
        """The displacement."""
        return ("tracking",)

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Hand the displacement on."""
        return {"tracking": values}


@dataclass(frozen=True, kw_only=True)
class Velocity(Field):
    """`velocity`: metres per second along x, y and z of the camera (CenterTrack, CenterFusion)."""

    def mirror(self, output: Tensor, joints: Sequence[int]) -> Tensor:
        """Turn the motion to the right into one to the left."""
        return negate(output, 0)
