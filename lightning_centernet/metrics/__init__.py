"""Metrics, as torchmetrics classes round the official evaluators."""

from lightning_centernet.metrics.detection import DetectionMetrics

__all__ = ["DetectionMetrics"]
