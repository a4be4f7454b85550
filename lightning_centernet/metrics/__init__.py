"""Metrics, as torchmetrics classes round the official evaluators or their rules."""

from lightning_centernet.metrics.detection import DetectionMetrics
from lightning_centernet.metrics.kitti import KittiMetrics
from lightning_centernet.metrics.pose import PoseMetrics, coco_metrics

__all__ = ["DetectionMetrics", "KittiMetrics", "PoseMetrics", "coco_metrics"]
