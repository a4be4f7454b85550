"""Pictures of objects: boxes, skeletons, 3D boxes, views from above, heat maps.

Every function returns a new picture, (H, W, 3) uint8 RGB.
"""

from lightning_centernet.draw.boxes import draw_boxes
from lightning_centernet.draw.canvas import GRAY, Picture, class_color, side_by_side
from lightning_centernet.draw.heatmap import draw_heatmap

__all__ = ["GRAY", "Picture", "class_color", "draw_boxes", "draw_heatmap", "side_by_side"]
