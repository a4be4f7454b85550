"""Losses as pure functions: raw logits in, a float32 scalar out, always attached to the graph."""

from lightning_centernet.losses.attribute import attribute_loss
from lightning_centernet.losses.depth import depth_from_logits
from lightning_centernet.losses.focal import dense_focal_loss, sparse_focal_loss
from lightning_centernet.losses.regression import Average, Elementwise, regression_loss
from lightning_centernet.losses.rotation import RotationAverage, rotation_loss

__all__ = [
    "Average",
    "Elementwise",
    "RotationAverage",
    "attribute_loss",
    "dense_focal_loss",
    "depth_from_logits",
    "regression_loss",
    "rotation_loss",
    "sparse_focal_loss",
]
