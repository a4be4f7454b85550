"""Heads of the 2D box: size, sub-cell offset, and the distances to its edges."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.geometry.gaussian import gaussian_rows
from lightning_centernet.heads.objects import Objects
from lightning_centernet.heads.regression import Regression
from lightning_centernet.types import Detections, Tensors


@dataclass(frozen=True, kw_only=True)
class Size(Regression):
    """`wh`: width and height of the box in output cells (CenterNet, section 3).

    Attributes:
        class_specific: a size for each class, 2 C channels; targets `cat_spec_wh` and `cat_spec_mask` (B, M, 2 C).
    """

    weight: float = 0.1
    class_specific: bool = False

    def __post_init__(self) -> None:
        """Refuse options that exclude each other.

        Raises:
            UserError: both `dense` and `class_specific` are asked for.
        """
        if self.dense and self.class_specific:
            raise UserError(f"head `{self.name}`: dense=true and class_specific=true exclude each other: drop one")

    @property
    def target_keys(self) -> tuple[str, ...]:
        """Keys of the target."""
        return (f"cat_spec_{self.name}",) if self.class_specific else super().target_keys

    @property
    def mask_keys(self) -> tuple[str, ...]:
        """Keys of the mask."""
        return ("cat_spec_mask",) if self.class_specific and not self.mask else super().mask_keys

    @property
    def needs(self) -> tuple[str, ...]:
        """The box is laid round the centre."""
        return ("centers",)

    def encode(self, objects: Objects) -> Tensors:
        """Encode the clipped box's size, spread over the classes or over the object's peak where that is asked for."""
        size = objects.boxes[..., 2:] - objects.boxes[..., :2]
        if self.class_specific:
            return self._encode_per_class(size, objects)
        if self.dense:
            return self._encode_dense(size, objects)
        mask = objects.mask.unsqueeze(-1).expand_as(size).float()
        return {self.name: size * mask, f"{self.name}_mask": mask}

    def _encode_per_class(self, size: Tensor, objects: Objects) -> Tensors:
        one_hot = torch.arange(self.channels // 2, device=size.device) == objects.labels.unsqueeze(-1)
        mask = (one_hot & objects.mask.unsqueeze(-1)).repeat_interleave(2, dim=-1).float()
        return {f"cat_spec_{self.name}": size.repeat(1, 1, self.channels // 2) * mask, "cat_spec_mask": mask}

    def _encode_dense(self, size: Tensor, objects: Objects) -> Tensors:
        deviation, shape = (2 * objects.radii + 1) / 6, (objects.grid.height, objects.grid.width)
        rows = gaussian_rows(objects.cells, objects.radii, deviation, objects.mask, shape)
        # Each cell learns the object whose peak is highest there, of equals the last, as if drawn one after another.
        height, last = rows.flip(1).max(dim=1)
        owner = rows.shape[1] - 1 - last.flatten(1)
        values = size.gather(1, owner.unsqueeze(-1).expand(-1, -1, 2)).mT
        dense = torch.unflatten(values, 2, shape) * (height > 0).unsqueeze(1)
        return {f"dense_{self.name}": dense, f"dense_{self.name}_mask": height.unsqueeze(1).expand_as(dense)}

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Lay the box round the centre; a negative size counts as zero."""
        if self.class_specific:
            index = (2 * detections["labels"]).unsqueeze(-1) + torch.arange(2, device=values.device)
            values = values.gather(-1, index)
        half = values.clamp(min=0) / 2
        return {"boxes": torch.cat([detections["centers"] - half, detections["centers"] + half], dim=-1)}


@dataclass(frozen=True, kw_only=True)
class Offset(Regression):
    """`reg`: the part of the centre that the integer cell loses (CenterNet, section 3)."""

    def values(self, objects: Objects) -> tuple[Tensor, Tensor]:
        """Return the centres' fractions."""
        return objects.centers - objects.cells, objects.mask

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Place the centre inside its cell."""
        return {"centers": detections["cells"] + values}


@dataclass(frozen=True, kw_only=True)
class Edges(Regression):
    """`ltrb`: the box's left, top, right and bottom edge minus the integer centre, in output cells (CenterTrack).

    Attributes:
        amodal: `ltrb_amodal`, the box as it goes on outside the image.
    """

    weight: float = 0.1
    amodal: bool = False

    def values(self, objects: Objects) -> tuple[Tensor, Tensor]:
        """Return the edges."""
        return (objects.amodal if self.amodal else objects.boxes) - objects.cells.repeat(1, 1, 2), objects.mask

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Place the box; it replaces one that was laid round the centre."""
        return {"boxes": detections["cells"].repeat(1, 1, 2) + values}
