"""Pictures of objects: boxes, skeletons, 3D boxes, views from above, heat maps.

Every function returns a new picture, (H, W, 3) uint8 RGB. Numbers may be arrays, or tensors on the host.
"""

from lightning_centernet.draw.above import draw_above
from lightning_centernet.draw.boxes import draw_boxes
from lightning_centernet.draw.boxes3d import draw_boxes3d
from lightning_centernet.draw.canvas import GRAY, Picture, class_color, side_by_side
from lightning_centernet.draw.heatmap import draw_heatmap
from lightning_centernet.draw.scene import Scene
from lightning_centernet.draw.skeletons import draw_skeletons

__all__ = [
    "GRAY",
    "Picture",
    "Scene",
    "class_color",
    "draw_above",
    "draw_boxes",
    "draw_boxes3d",
    "draw_heatmap",
    "draw_skeletons",
    "side_by_side",
]
