"""Heads of the 2D box: size, sub-cell offset, and the distances to its edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.geometry.gaussian import gaussian_rows
from lightning_centernet.geometry.mirror import mirror_points, reorder
from lightning_centernet.heads.objects import Objects
from lightning_centernet.heads.regression import Points, Regression
from lightning_centernet.heads.spec import target
from lightning_centernet.losses import BoxLoss, Elementwise, Named, widen
from lightning_centernet.types import Batch, Detections, Tensors


@dataclass(frozen=True, kw_only=True)
class Size(Regression):
    """`wh`: width and height of the box in output cells (CenterNet, section 3).

    A loss of boxes lays the size round the centre that `reg` predicts, if the task has it, else round the true one.

    Attributes:
        class_specific: a size for each class, 2 C channels; targets `cat_spec_wh` and `cat_spec_mask` (B, M, 2 C).
    """

    kinds: ClassVar[tuple[type[Named], ...]] = (Elementwise, BoxLoss)

    weight: float = 0.1
    class_specific: bool = False

    def __post_init__(self) -> None:
        """Check the values, and refuse options that exclude each other.

        Raises:
            UserError: both `dense` and `class_specific` are asked for, or the channels do not fit.
        """
        super().__post_init__()
        if self.channels != 2 and not self.class_specific:
            raise UserError(
                f"head `{self.name}` has 2 channels, not {self.channels}: set heads.{self.name}.class_specific=true "
                f"for a size of each class"
            )
        if self.dense and self.class_specific:
            raise UserError(f"head `{self.name}`: dense=true and class_specific=true exclude each other: drop one")
        if self.class_specific and isinstance(self.compare, BoxLoss):
            raise UserError(f"head `{self.name}`: loss={self.compare.name} compares boxes: drop class_specific=true")

    @property
    def reads(self) -> tuple[str, ...]:
        """The centre, for a loss of boxes."""
        return ("reg",) if isinstance(self.compare, BoxLoss) else ()

    @property
    def channels_per_class(self) -> int:
        """A size for each class, or one for all."""
        return 2 if self.class_specific else 0

    @property
    def prefix(self) -> str:
        """What the keys of target and mask begin with."""
        # Not by super(), whose properties torch.compile does not know.
        return "cat_spec_" if self.class_specific else "dense_" if self.dense else ""

    @property
    def needs(self) -> tuple[str, ...]:
        """The box is laid round the centre."""
        return ("centers",)

    @property
    def provides(self) -> tuple[str, ...]:
        """The box."""
        return ("boxes",)

    def object_losses(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Compare the boxes, relative to the centre's cell."""
        size, center = prediction[..., :2], prediction[..., 2:]
        wanted_size = target(batch, self, *self.target_keys, like=size)
        if center.shape[-1] and "reg" in batch:
            boxes, wanted = _box(center, size), _box(target(batch, self, "reg", like=center), wanted_size)
        else:
            boxes, wanted = _box(torch.zeros_like(size), size), _box(torch.zeros_like(size), wanted_size)
        return self.compare(widen(boxes, wanted), wanted)

    def encode(self, objects: Objects) -> Tensors:
        """Encode the clipped box's size, spread over the classes or over the object's peak where that is asked for."""
        if self.class_specific:
            return self._encode_per_class(objects)
        if self.dense:
            return self._encode_dense(objects)
        return super().encode(objects)

    def values(self, objects: Objects) -> tuple[Tensor, Tensor]:
        """Return the clipped boxes' sizes."""
        return objects.boxes[..., 2:] - objects.boxes[..., :2], objects.mask

    def _encode_per_class(self, objects: Objects) -> Tensors:
        size, _ = self.values(objects)
        one_hot = torch.arange(self.channels // 2, device=size.device) == objects.labels.unsqueeze(-1)
        mask = (one_hot & objects.mask.unsqueeze(-1)).repeat_interleave(2, dim=-1).float()
        return {f"cat_spec_{self.name}": size.repeat(1, 1, self.channels // 2) * mask, "cat_spec_mask": mask}

    def _encode_dense(self, objects: Objects) -> Tensors:
        size = F.pad(self.values(objects)[0], (0, 0, 1, 0))  # nobody first, to whom the cells of no peak belong
        deviation, shape = (2 * objects.radii.double() + 1) / 6, (objects.grid.height, objects.grid.width)
        rows = F.pad(gaussian_rows(objects.cells, objects.radii, deviation, shape).flatten(2), (0, 0, 1, 0))
        # Drawn one after another: a cell takes an object's size where its peak, in float64, reaches the highest one so
        # far, in float32. This leaves out cells whose peak was rounded up, as CenterNet does.
        height = rows.float().cummax(dim=1).values
        taken = (rows > 0) & (rows >= height)
        owner = (taken * torch.arange(rows.shape[1], device=rows.device)[:, None]).amax(1).unsqueeze(-1)
        dense = torch.unflatten(size.gather(1, owner.expand(-1, -1, 2)).mT, 2, shape)
        mask = torch.unflatten(height[:, -1:], 2, shape).expand_as(dense)
        return {f"dense_{self.name}": dense, f"dense_{self.name}_mask": mask}

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Lay the box round the centre; a negative size counts as zero."""
        if self.class_specific:
            index = (2 * detections["labels"]).unsqueeze(-1) + torch.arange(2, device=values.device)
            values = values.gather(-1, index)
        return {"boxes": _box(detections["centers"], values.clamp(min=0))}


@dataclass(frozen=True, kw_only=True)
class Offset(Points):
    """`reg`: the part of the centre that the integer cell loses (CenterNet, section 3)."""

    @property
    def provides(self) -> tuple[str, ...]:
        """The refined centre."""
        return ("centers",)

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

    kinds: ClassVar[tuple[type[Named], ...]] = (Elementwise, BoxLoss)

    weight: float = 0.1
    amodal: bool = False

    @property
    def provides(self) -> tuple[str, ...]:
        """The box."""
        return ("boxes",)

    def values(self, objects: Objects) -> tuple[Tensor, Tensor]:
        """Return the edges."""
        return (objects.amodal if self.amodal else objects.boxes) - objects.cells.repeat(1, 1, 2), objects.mask

    def object_losses(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Compare the boxes, relative to the centre's cell."""
        wanted = target(batch, self, *self.target_keys, like=prediction)
        return self.compare(widen(prediction, wanted), wanted)

    def decode(self, values: Tensor, detections: Detections) -> Tensors:
        """Place the box; it replaces one that was laid round the centre."""
        return {"boxes": detections["cells"].repeat(1, 1, 2) + values}

    def mirror(self, output: Tensor, joints: Sequence[int]) -> Tensor:
        """Exchange left and right."""
        return reorder(mirror_points(output), (2, 1, 0, 3))


def _box(center: Tensor, size: Tensor) -> Tensor:
    return torch.cat([center - size / 2, center + size / 2], dim=-1)
