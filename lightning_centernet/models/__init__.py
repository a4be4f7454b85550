"""Networks: a backbone, and a small convolutional head for each entry of the task."""

from lightning_centernet.models.network import Network
from lightning_centernet.models.pyramid import PyramidBackbone, make_backbone

__all__ = ["Network", "PyramidBackbone", "make_backbone"]
