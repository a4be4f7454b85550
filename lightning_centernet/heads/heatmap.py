"""The heat map of the objects' centres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.geometry.gaussian import draw_gaussians, gaussian_radius
from lightning_centernet.geometry.regions import fill_boxes
from lightning_centernet.heads.objects import Objects
from lightning_centernet.heads.spec import Head, Location, mean_probability, require_images, target
from lightning_centernet.losses import Contribution, FocalLoss, Listed, l2_loss, quality_focal_ratio
from lightning_centernet.losses.in_blocks import sum_over_map
from lightning_centernet.types import Batch, Tensors

Focal = Literal["sparse", "dense", "quality"]


@dataclass(frozen=True, kw_only=True)
class Heatmap(Head):
    """`hm`: where the centres of the objects of each class are (CenterNet, section 3).

    Attributes:
        bias: -2.19, a probability of 0.1 everywhere (CenterNet); CenterTrack starts at -4.6.
        focal: positives from `ind`, `cat` and `mask` (`sparse`: CenterTrack, CenterFusion), or the cells equal to 1
            (`dense`: CenterNet, TensorFlow CenterNet); or every cell learns its value (`quality`: Li et al. 2020).
        alpha: exponent of the mistake.
        beta: exponent that spares the cells near an object; not for `quality`.
        clamp: stop the gradient where a probability leaves [1e-4, 1 - 1e-4], as in the originals; not for `quality`.
        mse: plain squared error of the raw outputs instead of the focal loss and its options, against Gaussians of 2
            cells (an experiment of CenterNet).
        whole_cells: a box's sides are rounded up, for the peak's radius, and even outside the grid a region has an edge
            of one cell; not so in CenterNet's 3D task.
        ignored: keep the loss away from the whole `region` of an ignored box, or only from a `peak` in its middle
            (CenterNet's 3D task).
    """

    bias: float = -2.19
    focal: Focal = "sparse"
    alpha: float = 2.0
    beta: float = 4.0
    clamp: bool = False
    mse: bool = False
    whole_cells: bool = True
    ignored: Literal["region", "peak"] = "region"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: an option has a value that it does not allow, or that does nothing.
        """
        super().__post_init__()
        self._refuse_idle_options()
        lowest = 1 if self.focal == "quality" else 0  # below, its gradient is infinite where a cell is right
        for option, value, least in (("alpha", self.alpha, lowest), ("beta", self.beta, 0)):
            if not least <= value < math.inf:
                raise UserError(f"head `{self.name}`: {option}={value} must be a number of at least {least}")

    def _refuse_idle_options(self) -> None:
        by, idle = "focal=quality", ["beta", "clamp"] if self.focal == "quality" else []
        if self.mse:
            by, idle = "mse=true", ["alpha", "beta", "clamp"]  # `focal` says how ignored regions are marked
        for option in idle:
            value = getattr(self, option)
            if value != getattr(type(self), option):
                given = str(value).lower() if isinstance(value, bool) else value
                raise UserError(f"head `{self.name}`: {option}={given} does nothing with {by}: leave one of them out")

    @property
    def at(self) -> Location:
        """The whole map."""
        return "map"

    @property
    def channels_per_class(self) -> int:
        """One map for each class."""
        return 1

    @property
    def positives(self) -> tuple[str, str, str]:
        """Keys of the listed objects' cells, channels and mask."""
        return "ind", "cat", "mask"

    @property
    def target_keys(self) -> tuple[str, ...]:
        """Key of the target."""
        return (self.name,)

    def criterion(self, prediction: Tensor, batch: Batch) -> Tensor | Sequence[Contribution]:
        """Compute the focal loss, or the squared error.

        Raises:
            UserError: the target has another shape.
        """
        heatmap = target(batch, self, *self.target_keys)
        if heatmap.shape != prediction.shape:
            raise UserError(
                f"head `{self.name}`: its output has shape {tuple(prediction.shape)}, but the batch's "
                f"`{self.name}` has {tuple(heatmap.shape)}: check the number of classes, the input size and the stride"
            )
        if self.mse:
            total = sum_over_map(partial(l2_loss, reduction="sum"), prediction, heatmap)
            return total / max(heatmap.numel(), 1)
        loss = FocalLoss(self.alpha, self.beta, self.clamp)
        if self.focal == "dense":
            return [loss.dense(prediction, heatmap)]
        listed = Listed(*(target(batch, self, key) for key in self.positives))
        require_images(prediction, self.positives[0], listed.cells)
        if self.focal == "quality":
            return [quality_focal_ratio(prediction, heatmap, *listed, beta=self.alpha)]
        return [loss.sparse(prediction, heatmap, listed)]

    def encode(self, objects: Objects) -> Tensors:
        """Draw a peak for each object, and keep the loss away from ignored regions.

        There the map is 1, which does not count without an object (CenterTrack), or for the dense loss 0.9999, which is
        next to nothing (CenterNet).
        """
        heatmap = objects.blank(self.channels)
        width, height = (objects.boxes[..., 2:] - objects.boxes[..., :2]).unbind(-1)
        radii = objects.radii if self.whole_cells else gaussian_radius(height, width).long()
        self.draw(heatmap, objects.cells, objects.labels, radii, objects.mask)
        ignored = objects.ignored & (self.whole_cells | (width > 0) & (height > 0))
        level, labels = 0.9999 if self.focal == "dense" else 1.0, objects.annotations["labels"]
        if self.ignored == "region":
            fill_boxes(heatmap, objects.boxes.long(), labels, ignored, level)
        else:
            radii = torch.where(ignored, gaussian_radius(height, width).long(), -1)
            torch.maximum(heatmap, self._peaks_of_any(objects, labels, radii).clamp(max=level), out=heatmap)
        return {self.name: heatmap}

    def _peaks_of_any(self, objects: Objects, labels: Tensor, radii: Tensor) -> Tensor:
        # A label below 0 stands for all classes, so every object is drawn once for each class.
        peaks, kinds = objects.blank(self.channels), torch.arange(self.channels, device=labels.device)
        concerned = ((labels.unsqueeze(-1) == kinds) | (labels.unsqueeze(-1) < 0)).flatten(1)
        cells, radii = (each.repeat_interleave(self.channels, dim=1) for each in (objects.cells, radii))
        self.draw(peaks, cells, kinds.repeat(labels.shape[1]).expand_as(radii), radii, concerned & (radii >= 0))
        return peaks

    def draw(self, heatmap: Tensor, cells: Tensor, channels: Tensor, radii: Tensor, mask: Tensor) -> None:
        """Draw peaks in place, at the cells (B, N, 2) whose mask (B, N) is true."""
        radii = torch.where(mask, 6 if self.mse else radii, -1)  # three deviations of 2
        draw_gaussians(heatmap, cells, channels, radii, sigma=2.0 if self.mse else None)

    def combine(self, outputs: Tensor) -> Tensor:
        """Average the probabilities."""
        return mean_probability(outputs)
