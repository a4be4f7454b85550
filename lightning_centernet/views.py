"""Test-time augmentation: what a model sees in several views of an image, mirrored and at other scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from lightning_centernet.decoding import decode, to_image
from lightning_centernet.errors import UserError
from lightning_centernet.evaluation import per_image, split_images
from lightning_centernet.geometry.suppression import gaussian_decay, hard_decay, suppress
from lightning_centernet.heads import Heads
from lightning_centernet.models import Network
from lightning_centernet.models.probe import probe
from lightning_centernet.skeleton import Skeleton
from lightning_centernet.types import Batch, Detections, Outputs, Tensors

# Fields of 3D and of motion: what is learned at one scale is not at another.
_NOT_MERGED = {"depth", "dimensions", "alpha", "velocity", "tracking"}


@dataclass(frozen=True)
class Views:
    """The views of each image in validation, test and prediction.

    Attributes:
        flip: average the outputs with those for the mirrored image.
        scales: input sizes, relative to the data's, whose detections are merged; 1 must be among them.
        nms: how they are merged: `soft` multiplies the scores of boxes that overlap a better one of their class by
            exp(-IoU^2 / overlap) (Bodla et al. 2017), `hard` makes them 0 where IoU > overlap.
        overlap: as `nms` says; 0.5 is what CenterNet takes for the soft one.

    Raises:
        UserError: a value makes no sense.
    """

    flip: bool = False
    scales: Sequence[float] = (1.0,)
    nms: Literal["soft", "hard"] = "soft"
    overlap: float = 0.5

    def __post_init__(self) -> None:
        """Check the values."""
        if not isinstance(self.flip, bool):
            raise UserError(f"test_time.flip={self.flip}: must be true or false")
        scales = list(self.scales) if isinstance(self.scales, Sequence) else [self.scales]
        if not all(_is_positive(scale) for scale in scales) or scales.count(1) != 1:
            raise UserError(
                f"test_time.scales={self.scales}: must be positive numbers, one of them 1, such as [0.75,1,1.25]; for "
                f"one other size set data.input_size"
            )
        if self.nms not in ("soft", "hard"):
            raise UserError(f"test_time.nms={self.nms}: must be soft or hard")
        if not _is_positive(self.overlap):
            raise UserError(f"test_time.overlap={self.overlap}: must be a positive number")

    def merge(self, detections: Detections, k: int) -> Detections:
        """Keep the `k` best of detections whose boxes may be of the same objects."""
        decay = partial(gaussian_decay, sigma=self.overlap)
        if self.nms == "hard":
            decay = partial(hard_decay, threshold=self.overlap)
        index, scores = suppress(detections["boxes"], detections["scores"], detections["labels"], k, decay)
        image = torch.arange(len(index), device=index.device).unsqueeze(1)
        kept = {name: values[image, index] for name, values in detections.items()}
        if "keypoint_scores" in kept:  # of a joint without a peak it is the object's
            given, before, now = kept["keypoint_scores"], kept["scores"].unsqueeze(-1), scores.unsqueeze(-1)
            kept["keypoint_scores"] = torch.where(given == before, now, given)
        return kept | {"scores": scores}


class Model(Protocol):
    """What is asked of a model here: all of it `CenterNet` has."""

    heads: Heads
    network: Network
    skeleton: Skeleton | None
    stride: int
    max_detections: int
    views: Views

    def __call__(self, image: Tensor) -> list[Outputs]:
        """Map (B, 3, H, W) normalised images to raw logits, a dict of heads for each stack."""


class Found(NamedTuple):
    """What a model finds in a batch.

    Attributes:
        outputs: raw logits of the last stack for the batch's `image`, averaged with those for its mirror image.
        detections: on their grid.
        images: of each image, in original pixels; detections of all scales.
    """

    outputs: Outputs
    detections: Detections
    images: list[Tensors]


def detect(model: Model, batch: Batch, outputs: Outputs | None = None) -> Found:
    """Find the objects of a batch, in the views that the model has.

    Args:
        model: has the head `hm`.
        batch: as it is on the device; at several scales with `views`, see `DetectionData.show_at`.
        outputs: of the last stack for the batch's `image`, if they are there already.

    Raises:
        UserError: the batch lacks the views.
    """
    views, scales = batch.get("views", ()), model.views.scales
    if len(views) != len(scales) - 1:
        raise UserError(
            f"the model looks at the scales {list(scales)}, but the batch has {len(views)} views beside the image: "
            f"data.show_at(view_sizes(model, data.input_size)) lets a DetectionData give them"
        )
    every = [see(model, batch["image"], outputs), *(see(model, view) for view in views)]
    found = [decode(each, model.heads, model.max_detections) for each in every]
    images = per_image(found[0], batch, model.stride) if len(found) == 1 else _merged(model, found, batch)
    return Found(every[0], found[0], images)


def see(model: Model, image: Tensor, outputs: Outputs | None = None) -> Outputs:
    """Give the outputs of the last stack, in float32 averaged with those for the mirrored image if there is that view.

    Args:
        model: the model.
        image: (B, 3, H, W), normalised.
        outputs: for the image itself, if they are there already.
    """
    outputs = model(image)[-1] if outputs is None else outputs
    if not model.views.flip:
        return outputs
    joints, mirrored = model.skeleton.flip if model.skeleton else (), model(image.flip(3))[-1]
    return {
        name: head.combine(torch.stack([outputs[name].float(), head.mirror(mirrored[name].float().flip(3), joints)]))
        for name, head in model.heads.items()
    }


def view_sizes(model: Model, input_size: tuple[int, int]) -> list[tuple[int, int]]:
    """Choose the input sizes, height and width, of the scales but 1: the nearest that suit the network.

    Raises:
        UserError: the model has heads whose detections at several scales cannot be merged, or runs at one size only.
    """
    scales = [scale for scale in model.views.scales if scale != 1]
    given = {field: name for name, head in model.heads.items() for field in head.provides}
    unfit = [given[field] for field in sorted(_NOT_MERGED & given.keys())]
    if scales and (unfit or "boxes" not in given):
        reason = f"this model has the head {', '.join(unfit)}" if unfit else "this model gives no boxes"
        raise UserError(f"test_time.scales: several are for 2D boxes and poses, but {reason}: leave it out")
    multiple, (height, width) = model.network.multiple, input_size
    sizes = [(_nearest(height * scale, multiple), _nearest(width * scale, multiple)) for scale in scales]
    for size in sizes:
        probe(model.network.backbone, size)
    return sizes


def _merged(model: Model, found: Sequence[Detections], batch: Batch) -> list[Tensors]:
    transforms = [batch["transform"], *batch["view_transforms"].unbind(1)]
    fields = [to_image(each, transform, model.stride) for each, transform in zip(found, transforms, strict=True)]
    every = {name: torch.cat([each[name] for each in fields], dim=1) for name in fields[0]}
    return split_images(model.views.merge(every, model.max_detections), batch)


def _nearest(side: float, multiple: int) -> int:
    return max(round(side / multiple), 1) * multiple


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
