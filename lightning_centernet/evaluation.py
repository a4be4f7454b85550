"""Detections and ground truth image by image, as metrics and users want them."""

from __future__ import annotations

from lightning_centernet.decoding import to_image
from lightning_centernet.lifting import lift
from lightning_centernet.types import Batch, Detections, Tensors


def per_image(detections: Detections, batch: Batch, stride: int) -> list[Tensors]:
    """Map detections to the pixels of each original image, with its `image_id` if the batch has it.

    They become 3D boxes where the batch has the `calibration` of each input image.
    """
    fields = to_image(detections, batch.get("transform"), stride)
    if "calibration" in batch:
        fields = lift(fields, batch["calibration"], batch.get("transform"))
    return split_images(fields, batch)


def split_images(fields: Tensors, batch: Batch) -> list[Tensors]:
    """Take what belongs to each image, with its `image_id` if the batch has it."""
    if "image_id" in batch:
        fields = fields | {"image_id": batch["image_id"]}
    return [{name: values[i] for name, values in fields.items()} for i in range(len(batch["image"]))]


def ground_truth(batch: Batch) -> list[Tensors]:
    """Take the annotated objects of each image, in original pixels, without empty slots."""
    truth = batch["ground_truth"]
    used = truth["mask"]
    fields = {name: values for name, values in truth.items() if name != "mask"}
    return [
        {name: values[i][used[i]] for name, values in fields.items()} | {"image_id": batch["image_id"][i]}
        for i in range(len(used))
    ]
