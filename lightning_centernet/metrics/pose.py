"""COCO's average precision of poses, by the object keypoint similarity (OKS)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from faster_coco_eval import COCO as FasterCOCO  # noqa: N811 - its own name
from faster_coco_eval import COCOeval_faster
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from lightning_centernet.errors import UserError
from lightning_centernet.metrics.detection import DetectionMetrics
from lightning_centernet.metrics.states import States
from lightning_centernet.types import Tensors

# Places in the evaluator's summary; the first three are logged even when undefined.
_ALWAYS = {"oks_map": 0, "oks_map_50": 1, "oks_map_75": 2}
_OTHERS = {"oks_map_medium": 3, "oks_map_large": 4, "oks_mar_20": 5}


class PoseMetrics(DetectionMetrics):
    """Measure COCO's average precision of boxes, and of poses by the object keypoint similarity.

    Args:
        classes: the names of the labels 0, 1, ...
        sigmas: the tolerance of each joint relative to the object's size.
        backend: the evaluator; both give the same numbers.

    Raises:
        UserError: a class name is given twice, or there are no sigmas.
    """

    predicted_keypoints: list[Tensor]
    true_keypoints: list[Tensor]
    detected = (*DetectionMetrics.detected, "predicted_keypoints")

    def __init__(
        self,
        classes: Sequence[str],
        sigmas: Sequence[float],
        backend: Literal["faster_coco_eval", "pycocotools"] = "faster_coco_eval",
    ) -> None:
        super().__init__(classes, backend)
        if not len(sigmas) or min(sigmas) <= 0:
            raise UserError(f"sigmas={sigmas}: must be positive numbers, one for each joint")
        self.sigmas, self.evaluator = tuple(sigmas), backend
        self.add_state("predicted_keypoints", default=[], dist_reduce_fx=None)
        self.add_state("true_keypoints", default=[], dist_reduce_fx=None)

    def update(self, predictions: list[Tensors], targets: list[Tensors]) -> None:
        """Take in images. The tensors stay on their device and nothing waits for it.

        Args:
            predictions: as of `DetectionMetrics`, and `keypoints` (k, J, 2).
            targets: as of `DetectionMetrics`, and `keypoints` (n, J, 3): x, y and visibility. Objects without labelled
                joints count neither way.

        Raises:
            UserError: there are no keypoints, or of another number of joints than of sigmas.
        """
        for name, items, width in (("predictions", predictions, 2), ("targets", targets, 3)):
            for item in items:
                wanted = (len(item["labels"]), len(self.sigmas), width)
                given = tuple(item["keypoints"].shape) if "keypoints" in item else "none"
                if given != wanted:
                    raise UserError(f"the {name} of a pose need keypoints of the shape {wanted}, not {given}")
        super().update(predictions, targets)
        self.predicted_keypoints.extend(item["keypoints"].float() for item in predictions)
        self.true_keypoints.extend(item["keypoints"].float() for item in targets)

    def compute(self) -> dict[str, Tensor]:
        """Evaluate all images seen.

        Returns:
            The scalars of `DetectionMetrics`, and oks_map, oks_map_50 and oks_map_75, which are -1 while there is no
            object with joints; oks_map_medium, oks_map_large and oks_mar_20 where there is something of that size.
        """
        stats = self._evaluate(self._images())
        scores = {key: stats[place] for key, place in (_ALWAYS | _OTHERS).items()}
        kept = {key: torch.tensor(score, device=self.device) for key, score in scores.items() if score >= 0}
        undefined = torch.tensor(-1.0, device=self.device)
        return super().compute() | dict.fromkeys(_ALWAYS, undefined) | kept

    def _evaluate(self, states: States) -> list[float]:
        """Run the official evaluation, and return its summary."""
        truth, found = list(_true_objects(states, len(self.class_keys))), list(_found_objects(states))
        if not any(entry["num_keypoints"] for entry in truth):
            return [-1.0] * (len(_ALWAYS) + len(_OTHERS))
        if not found:
            return [0.0] * len(_ALWAYS) + [-1.0] * len(_OTHERS)
        images = [{"id": int(image_id)} for image_id in states["image_ids"]]
        categories = [{"id": label, "name": name} for label, name in enumerate(self.class_keys)]
        content = {"info": {}, "images": images, "categories": categories, "annotations": truth}
        make, evaluator = (FasterCOCO, COCOeval_faster) if self.evaluator == "faster_coco_eval" else (COCO, COCOeval)
        with contextlib.redirect_stdout(io.StringIO()):
            official = make()
            official.dataset = content
            official.createIndex()
            evaluation = evaluator(official, official.loadRes(found), "keypoints")
            evaluation.params.kpt_oks_sigmas = np.array(self.sigmas)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return [float(value) for value in evaluation.stats[:6]]


def coco_metrics(
    classes: Sequence[str],
    sigmas: Sequence[float] | None = None,
    backend: Literal["faster_coco_eval", "pycocotools"] = "faster_coco_eval",
) -> DetectionMetrics:
    """Make the metric of a task: of boxes, and where there are sigmas of poses."""
    return DetectionMetrics(classes, backend) if sigmas is None else PoseMetrics(classes, sigmas, backend)


def _true_objects(states: States, classes: int) -> Iterator[dict[str, Any]]:
    """List the annotated objects, whose boxes are held as x, y, width, height; regions of all classes once for each."""
    names = ("groundtruth_box", "groundtruth_labels", "groundtruth_crowds", "groundtruth_area", "true_keypoints")
    number = 0
    for image_id, *columns in zip(states["image_ids"], *(states[name] for name in names), strict=True):
        for box, label, crowd, area, keypoints in zip(*(column.tolist() for column in columns), strict=True):
            flat = [value if joint[2] > 0 else 0.0 for joint in keypoints for value in joint]
            for category in [label] if label >= 0 else range(classes):
                number += 1
                yield {
                    "id": number,
                    "image_id": int(image_id),
                    "category_id": category,
                    "bbox": box,
                    "area": area or box[2] * box[3],
                    "iscrowd": crowd,
                    "keypoints": flat,
                    "num_keypoints": sum(joint[2] > 0 for joint in keypoints),
                }


def _found_objects(states: States) -> Iterator[dict[str, Any]]:
    names = ("detection_scores", "detection_labels", "predicted_keypoints")
    for image_id, *columns in zip(states["image_ids"], *(states[name] for name in names), strict=True):
        for score, label, keypoints in zip(*(column.tolist() for column in columns), strict=True):
            flat = [value for x, y in keypoints for value in (x, y, 1.0)]
            yield {"image_id": int(image_id), "category_id": label, "score": score, "keypoints": flat}
