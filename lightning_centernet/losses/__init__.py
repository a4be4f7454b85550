"""Losses: pure functions that compute in full precision and stay attached to the graph, and modules of them."""

from lightning_centernet.losses.attribute import attribute_loss, attribute_terms
from lightning_centernet.losses.boxes import ciou_loss, diou_loss, giou_loss, iou_loss, widen
from lightning_centernet.losses.classification import (
    binary_cross_entropy_loss,
    quality_focal_loss,
    quality_focal_ratio,
)
from lightning_centernet.losses.depth import depth_from_logits
from lightning_centernet.losses.elementwise import (
    balanced_l1_loss,
    huber_loss,
    l1_loss,
    l2_loss,
    normalized_l1_loss,
    smooth_l1_loss,
    wing_loss,
)
from lightning_centernet.losses.focal import FocalLoss, dense_focal_loss, sparse_focal_loss
from lightning_centernet.losses.focal_pass import Listed
from lightning_centernet.losses.keypoints import COCO_SIGMAS, oks_loss
from lightning_centernet.losses.modules import (
    BalancedL1Loss,
    BinaryCrossEntropyLoss,
    CIoULoss,
    DIoULoss,
    GIoULoss,
    HuberLoss,
    IoULoss,
    L1Loss,
    L2Loss,
    LaplaceLoss,
    NormalizedL1Loss,
    OKSLoss,
    QualityFocalLoss,
    SinCosLoss,
    SmoothL1Loss,
    WeightedLoss,
    WingLoss,
)
from lightning_centernet.losses.named import (
    BoxLoss,
    Elementwise,
    KeypointLoss,
    Named,
    UncertainLoss,
    elementwise,
    named_loss,
)
from lightning_centernet.losses.precision import full_precision
from lightning_centernet.losses.regression import object_average, regression_loss, regression_terms
from lightning_centernet.losses.rotation import RotationAverage, rotation_loss, rotation_terms, sin_cos_loss
from lightning_centernet.losses.terms import Average, Contribution, Ratio, SumOverRanks, Term, average
from lightning_centernet.losses.uncertainty import laplace_loss
from lightning_centernet.losses.weighting import Reduction, reduce_loss, weighted

__all__ = [
    "COCO_SIGMAS",
    "Average",
    "BalancedL1Loss",
    "BinaryCrossEntropyLoss",
    "BoxLoss",
    "CIoULoss",
    "Contribution",
    "DIoULoss",
    "Elementwise",
    "FocalLoss",
    "GIoULoss",
    "HuberLoss",
    "IoULoss",
    "KeypointLoss",
    "L1Loss",
    "L2Loss",
    "LaplaceLoss",
    "Listed",
    "Named",
    "NormalizedL1Loss",
    "OKSLoss",
    "QualityFocalLoss",
    "Ratio",
    "Reduction",
    "RotationAverage",
    "SinCosLoss",
    "SmoothL1Loss",
    "SumOverRanks",
    "Term",
    "UncertainLoss",
    "WeightedLoss",
    "WingLoss",
    "attribute_loss",
    "attribute_terms",
    "average",
    "balanced_l1_loss",
    "binary_cross_entropy_loss",
    "ciou_loss",
    "dense_focal_loss",
    "depth_from_logits",
    "diou_loss",
    "elementwise",
    "full_precision",
    "giou_loss",
    "huber_loss",
    "iou_loss",
    "l1_loss",
    "l2_loss",
    "laplace_loss",
    "named_loss",
    "normalized_l1_loss",
    "object_average",
    "oks_loss",
    "quality_focal_loss",
    "quality_focal_ratio",
    "reduce_loss",
    "regression_loss",
    "regression_terms",
    "rotation_loss",
    "rotation_terms",
    "sin_cos_loss",
    "smooth_l1_loss",
    "sparse_focal_loss",
    "weighted",
    "widen",
    "wing_loss",
]
