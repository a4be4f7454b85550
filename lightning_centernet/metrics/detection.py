"""COCO's average precision, in every setting a training run meets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from lightning_centernet.metrics.states import (
    ImageStates,
    States,
    each_image_once,
    on_host,
    refuse_repeated,
    without_empty_slots,
)
from lightning_centernet.types import Tensors

ALWAYS = ("map", "map_50", "map_75")  # logged even when undefined, because checkpoints are chosen by them
OTHERS = ("map_small", "map_medium", "map_large", "mar_100")


class DetectionMetrics(ImageStates, MeanAveragePrecision):
    """Measure COCO's average precision over all images, and for each class by name.

    An image counts once, by its `image_id`, however often it is seen: distributed samplers repeat some to give every
    process equally many. Processes may hold any number of images, or none.

    Args:
        classes: the names of the labels 0, 1, ...
        backend: the evaluator; both give the same numbers, `faster_coco_eval` several times sooner.

    Raises:
        UserError: a class name is given twice.
    """

    image_ids: list[Tensor]
    detected: ClassVar[tuple[str, ...]] = ("detection_box", "detection_scores", "detection_labels")  # of each detection

    def __init__(
        self,
        classes: Sequence[str],
        backend: Literal["faster_coco_eval", "pycocotools"] = "faster_coco_eval",
    ) -> None:
        super().__init__(
            # In float32, as torchmetrics has them, these move what lies on a threshold: recall 0.1, an IoU of 0.6.
            iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
            rec_thresholds=np.linspace(0.0, 1.0, 101).tolist(),
            extended_summary=True,  # holds the classes' precision; class_metrics would evaluate every class once more
            backend=backend,
        )
        self.warn_on_many_detections = False  # COCO's limit of 100 is for one class, the warning counts all of them
        self.class_keys = _class_keys(classes)
        self.add_state("image_ids", default=[], dist_reduce_fx=None)

    def update(self, predictions: list[Tensors], targets: list[Tensors]) -> None:
        """Take in images. The tensors stay on their device and nothing waits for it.

        Args:
            predictions: for each image `boxes` (k, 4) xyxy in pixels, `scores` (k,), 0 in a slot without a detection,
                `labels` (k,).
            targets: in the same order `boxes` (n, 4), `labels` (n,), `image_id` () and, where known, `ignore` (n,)
                bool and `area` (n,), which stands in for the box's own in telling small from large. Detections in an
                ignored box count neither way; with label -1 this holds for all classes.
        """
        super().update([_prediction(item) for item in predictions], [_target(item) for item in targets])
        self.image_ids.extend(target["image_id"].reshape(1) for target in targets)

    def compute(self) -> dict[str, Tensor]:
        """Evaluate all images seen.

        Returns:
            Scalars: map, map_50 and map_75, which are -1 while there is no ground truth; map_small, map_medium,
            map_large, mar_100 and map_<class name> where there is something of that size or class. A class whose name
            would repeat one of the former keys is found under map_class_<class name>.
        """
        held = self._held()
        self._hold(_spread_regions(self._images(), len(self.class_keys)))
        stats = super().compute()
        self._hold(held)
        scores = {key: float(stats[key]) for key in ALWAYS + OTHERS} | self._class_scores(stats)
        return {
            key: torch.tensor(score, device=self.device)
            for key, score in scores.items()
            if key in ALWAYS or score >= 0  # COCO's -1: there is nothing of that kind
        }

    def _images(self) -> States:
        states = each_image_once(on_host(self._held()))
        return without_empty_slots(states, states["detection_scores"], self.detected)

    def _class_scores(self, stats: Tensors) -> dict[str, float]:
        """Average the precision (thresholds, recalls, classes, sizes, limits) over thresholds and recalls."""
        if "precision" not in stats:
            return {}
        scores = stats["precision"][:, :, :, 0, -1].mean((0, 1)).tolist()
        return {self.class_keys[label]: score for label, score in zip(stats["classes"].tolist(), scores, strict=True)}


def _class_keys(classes: Sequence[str]) -> list[str]:
    """Name each class's score, apart from COCO's own: a traffic sign may well be called "50"."""
    refuse_repeated(classes)
    return [f"map_class_{name}" if f"map_{name}" in ALWAYS + OTHERS else f"map_{name}" for name in classes]


def _prediction(item: Tensors) -> Tensors:
    return {"boxes": _boxes(item), "scores": item["scores"].float(), "labels": item["labels"]}


def _target(item: Tensors) -> Tensors:
    labels = item["labels"]
    crowd = item["ignore"].long() if "ignore" in item else torch.zeros_like(labels)
    area = item["area"].float() if "area" in item else torch.zeros_like(labels, dtype=torch.float32)  # 0: the box's own
    return {"boxes": _boxes(item), "labels": labels, "iscrowd": crowd, "area": area}


def _boxes(item: Tensors) -> Tensor:
    return item["boxes"].float().reshape(-1, 4)


def _spread_regions(states: States, classes: int) -> States:
    """Repeat every region of label -1 once for each class, because a region of the evaluator has one class."""
    spread = {name: list(values) for name, values in states.items()}
    for image, labels in enumerate(states["groundtruth_labels"]):
        regions = torch.where(labels < 0)[0]
        if len(regions):
            order = torch.cat([torch.where(labels >= 0)[0], regions.repeat_interleave(classes)])
            for name in ("groundtruth_box", "groundtruth_crowds", "groundtruth_area"):
                spread[name][image] = states[name][image][order]
            every_class = torch.arange(classes).repeat(len(regions))
            spread["groundtruth_labels"][image] = torch.cat([labels[labels >= 0], every_class])
    return spread
