"""What travels between the rooms: names, shapes, units and frames, said once.

Shape letters: B batch, S stacks, C classes, M object slots (padded), J joints, K peaks kept, H W input pixels,
h w output grid, stride = H / h.

Coordinates are continuous: the pixel in row i and column j covers [j, j + 1) x [i, i + 1), x before y. Boxes are
x1, y1, x2, y2.

Annotations, in input pixels:
    boxes (B, M, 4) float32; labels (B, M) int64, 0-based, -1 in a region where every class is ignored;
    mask (B, M) bool, the slot holds an annotation; ignore (B, M) bool, a crowd or a "don't care" region;
    and any further field of an object, (B, M) or (B, M, n), float32, NaN where an object lacks it. Of poses:
    keypoints (B, M, J, 3), x, y and visibility: 2, 1 where something hides the joint, 0 where it has no label.
    Of 3D boxes: dimensions (B, M, 3) height, width, length in metres; location (B, M, 3), middle of the bottom, and
    depth (B, M), its z, in the camera's frame in metres, x right, y down, z forward; rotation_y and alpha (B, M),
    radians in [-pi, pi], to the camera and to the line of sight; amodal_centers (B, M, 2), the projected middle, in
    input pixels; velocity (B, M, 3), metres per second in that frame; attributes (B, M, 8), 1 for what nuScenes says
    that the object is doing.
Batch, as the loader ships it:
    image (B, 3, H, W) uint8; color (B, 3, 4) float32, the colour augmentation of RGB in [0, 1];
    transform (B, 2, 3) float64, original pixels to input pixels; annotations; ground_truth, the annotations in
    original pixels; image_id (B,); size (B, 2), original height and width; file, a list of B names;
    scale (B,) float32, the extent of the crop relative to the whole picture; and of data with 3D boxes calibration
    (B, 3, 4) float32, the projection of the camera's frame to input pixels. For test-time augmentation: views, the
    images at further input sizes, a list of (B, 3, H', W') uint8, and view_transforms (B, V, 2, 3) float64.
    On the device `image` becomes normalised float32, and the encoded targets join: hm, ind, cat, mask, reg, ...
Outputs, a list over S stacks: head name to raw logits (B, c, h, w).
Detections, on the output grid until they are mapped back to image pixels:
    scores (B, K), labels (B, K) int64, cells (B, K, 2) the peak's column and row, centers (B, K, 2),
    boxes (B, K, 4), and each head's own fields, such as keypoints (B, K, J, 2) and keypoint_scores (B, K, J).
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

Tensors: TypeAlias = dict[str, Tensor]
Annotations: TypeAlias = Tensors
Outputs: TypeAlias = Tensors
Detections: TypeAlias = Tensors
Batch: TypeAlias = dict[str, Any]


class Grid(NamedTuple):
    """The output grid: its size in cells, and the input pixels per cell."""

    height: int
    width: int
    stride: int = 4
