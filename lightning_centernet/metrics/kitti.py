"""KITTI's object benchmark: average precision in the image, from above and in space, and of orientations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor

from lightning_centernet.metrics.kitti_precision import evaluate
from lightning_centernet.metrics.kitti_rules import HEIGHTS, Detections, Floats, Targets, labels_of_types, make_rules
from lightning_centernet.metrics.states import (
    ImageStates,
    each_image_once,
    on_host,
    refuse_repeated,
    without_empty_slots,
)
from lightning_centernet.types import Tensors

OBJECT = {"labels": 1, "boxes": 4, "alpha": 1, "location": 3, "dimensions": 3, "rotation_y": 1}  # field -> its columns
DETECTION = OBJECT | {"scores": 1}  # the last column
TARGET = OBJECT | {"ignore": 1, "truncation": 1, "occlusion": 1}
UNKNOWN = dict.fromkeys(("alpha", "location", "dimensions", "rotation_y"), float("nan")) | dict.fromkeys(
    ("ignore", "truncation", "occlusion"), 0.0
)  # stands for fields that may be missing


class KittiMetrics(ImageStates):
    """Measure KITTI's average precisions, as its own evaluation program does.

    An image counts once, by its `image_id`, however often it is seen. Processes may hold any number of images, or none.

    Args:
        classes: the names of the labels 0, 1, ... Car, Pedestrian and Cyclist have the benchmark's rules, in upper or
            lower case; any other class has those of Cyclist.
        rules: classes of other names, and the one of these three whose rules they have instead: {"vehicle": "Car"}.
        heights: pixels that an object must be high to count as easy, moderate and hard. KITTI's are for pictures 375
            pixels high.

    Raises:
        UserError: a class name is given twice, or rules or heights are impossible.
    """

    full_state_update = False
    higher_is_better = True

    detections: list[Tensor]  # for each image (k, 14), the columns of DETECTION
    targets: list[Tensor]  # for each image (n, 16), the columns of TARGET
    image_ids: list[Tensor]  # for each image (1,)

    def __init__(
        self, classes: Sequence[str], rules: Mapping[str, str] | None = None, heights: Sequence[float] = HEIGHTS
    ) -> None:
        super().__init__()
        refuse_repeated(classes)
        self.rules = make_rules(classes, rules, heights)
        for name in ("detections", "targets", "image_ids"):
            self.add_state(name, default=[], dist_reduce_fx=None)

    def update(self, predictions: list[Tensors], targets: list[Tensors]) -> None:
        """Take in images. The tensors stay on their device and nothing waits for it.

        Args:
            predictions: for each image `boxes` (k, 4) xyxy in pixels, `scores` (k,), 0 in a slot without a detection,
                `labels` (k,) and, where they are predicted, `alpha` (k,), and `dimensions` (k, 3), `location` (k, 3)
                and `rotation_y` (k,).
            targets: in the same order `image_id` (), the same fields without scores, and `truncation` and `occlusion`
                (n,) as KITTI's labels have them. A label of -1 is a DontCare region; with `ignore` (n,) bool, an object
                is of a class similar to its label's (a Van with the label of Car). If there is `types` (n,), indices
                into `kitti_rules.TYPES`, it replaces both.

        What comes in float32 is rounded to three decimals, except for scores; KITTI's files have two.
        """
        for prediction, target in zip(predictions, targets, strict=True):
            self.detections.append(_rows(prediction, DETECTION))
            self.targets.append(_rows(_with_labels(target, self.rules.classes), TARGET))
            self.image_ids.append(target["image_id"].reshape(1))

    def compute(self) -> dict[str, float]:
        """Evaluate all images seen.

        Returns:
            Percentages under names like `Car/3d_ap40_moderate_iou0.7`: `bbox` in the image, `aos` the same weighted by
            orientation, `bev` from above, `3d` by volume; `ap11` or `ap40`, the average over 11 or 40 recalls; `easy`,
            `moderate` or `hard`; the overlap that a match must exceed, of which bev and 3d also have a relaxed one.
            Where no object counts it is -1; the benchmark's program prints 0 or nothing. `aos` is left out if an object
            lacks its orientation, `bev` and `3d` if none has a box in space. Beside these the mean error of depths, of
            the objects found in the image: `Car/depth_error_metres_moderate_iou0.5`, and `..._relative_...`, a share
            of the true depth; see `kitti_precision.depth_errors`.
        """
        states = each_image_once(on_host(self._held()))
        states = without_empty_slots(states, [rows[:, -1] for rows in states["detections"]], ["detections"])
        found, meant = _fields(states["detections"], DETECTION), _fields(states["targets"], TARGET)
        return evaluate(
            Detections(**_objects(found), scores=found["scores"][:, 0]),
            Targets(
                **_objects(meant),
                ignore=meant["ignore"][:, 0] > 0,
                truncation=meant["truncation"][:, 0],
                occlusion=meant["occlusion"][:, 0],
            ),
            self.rules,
        )


def _with_labels(target: Tensors, classes: Sequence[str]) -> Tensors:
    if "types" not in target:
        return target
    labels, neighbours = (torch.tensor(values, device=target["types"].device) for values in labels_of_types(classes))
    return target | {"labels": labels[target["types"]], "ignore": neighbours[target["types"]]}


def _rows(item: Tensors, fields: dict[str, int]) -> Tensor:
    """Put the fields of an image's objects into one table, in float64 if one of them is."""
    count = len(item["labels"])
    known = {name: item[name] for name in fields if name in item or name not in UNKNOWN}
    absent = {
        name: item["labels"].new_full((count, fields[name]), UNKNOWN[name], dtype=torch.float32)
        for name in fields.keys() - known.keys()
    }
    columns = [(known | absent)[name].reshape(count, width) for name, width in fields.items()]
    return torch.cat([column.to(torch.promote_types(column.dtype, torch.float32)) for column in columns], dim=1)


def _fields(images: list[Tensor], fields: dict[str, int]) -> dict[str, Any]:
    """Join the images' tables, and split them into fields; `images` says where each object comes from."""
    rows = torch.cat([torch.zeros(0, sum(fields.values())), *images]).numpy()
    parts = np.split(rows, list(accumulate(fields.values()))[:-1], axis=1)
    values = {name: _exact(part) if name != "scores" else part for name, part in zip(fields, parts, strict=True)}
    return values | {"images": np.repeat(np.arange(len(images)), [len(image) for image in images])}


def _exact(values: Floats) -> Floats:
    """Find the decimals that float32 stands for: a height of 25 must not become 24.99999."""
    return values if values.dtype == np.float64 else values.astype(np.float64).round(3)


def _objects(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": fields["images"],
        "labels": fields["labels"][:, 0].astype(np.int64),
        "boxes": fields["boxes"],
        "alphas": fields["alpha"][:, 0],
        "solids": np.concatenate([fields[name] for name in ("location", "dimensions", "rotation_y")], axis=1),
    }
