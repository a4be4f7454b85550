"""Networks: a backbone, and a small convolutional head for each entry of the task."""

from lightning_centernet.models.network import Network
from lightning_centernet.models.pyramid import PyramidBackbone

__all__ = ["Network", "PyramidBackbone"]
