"""Metrics, as torchmetrics classes round the official evaluators."""

from lightning_centernet.metrics.detection import DetectionMetrics
from lightning_centernet.metrics.pose import PoseMetrics, coco_metrics

__all__ = ["DetectionMetrics", "PoseMetrics", "coco_metrics"]
