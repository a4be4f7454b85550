"""Heat maps over their pictures."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_centernet.draw.canvas import Picture, class_color


def draw_heatmap(image: Picture, heatmap: ArrayLike) -> Picture:
    """Lay a heat map over the dimmed, gray image; each class glows in its own colour.

    Args:
        image: (H, W, 3) uint8 RGB.
        heatmap: (C, h, w) in [0, 1] over the same view, of any size.
    """
    heat = np.nan_to_num(np.asarray(heatmap, dtype=np.float32))
    palette = np.array([class_color(label) for label in range(len(heat))], dtype=np.float32)
    height, width = image.shape[:2]
    glow = cv2.resize(palette[heat.argmax(0)] * heat.max(0)[..., None], (width, height), interpolation=cv2.INTER_LINEAR)
    veil = cv2.resize(heat.max(0), (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] * np.float32(0.45)
    blend: NDArray[np.float32] = gray * (1 - veil) + glow
    return blend.clip(0, 255).astype(np.uint8)
