"""Detections in COCO's results format, which every COCO evaluator and server reads."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from lightning_centernet.errors import UserError


def image_number(prediction: Mapping[str, Any]) -> int:
    """Return the number of the image that a prediction is for.

    Raises:
        UserError: its batch gave none.
    """
    if "image_id" not in prediction:
        raise UserError("result files need the numbers of the images: give every batch `image_id` (B,), whole numbers")
    return int(prediction["image_id"])


def coco_results(predictions: Iterable[Mapping[str, Any]], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """List all detections as plain numbers, unrounded; what has the score 0 is none.

    Args:
        predictions: for each image `scores` (k,), `labels` (k,), `image_id` (), and as far as they are predicted
            `boxes` (k, 4) xyxy in original pixels and `keypoints` (k, J, 2).
        category_ids: the data set's own id of each label.

    Returns:
        One `image_id`, `category_id`, `bbox` (x, y, width, height) and `score` for each detection; and of poses
        `keypoints`, x, y and 1 of each joint, for COCO knows no confidence of a joint.

    Raises:
        UserError: an image has no number.
    """
    return [result for image in predictions for result in _image_results(image, category_ids)]


def write_coco_results(
    path: str | Path,
    predictions: Iterable[Mapping[str, Any]],
    category_ids: Sequence[int],
    only: Literal["bbox", "keypoints"] | None = None,
) -> None:
    """Write `coco_results` as a JSON file: all of it, or in case of failure nothing.

    Args:
        path: its folder is made if missing.
        predictions: as of `coco_results`.
        category_ids: as of `coco_results`.
        only: keep what this evaluation reads. Given boxes too, that of poses tells by these, instead of by the joints,
            which detections are medium and which are large.

    Raises:
        UserError: the file cannot be written there, a number is not finite, or an image has no number.
    """
    path = Path(path)
    text = _json([_only(result, only) for result in coco_results(predictions, category_ids)])
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot write the results: {error.strerror}; choose another path") from error


def _image_results(image: Mapping[str, Any], category_ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    scores, labels = image["scores"].detach().cpu().double().tolist(), image["labels"].tolist()
    for score, label, box, pose in zip(scores, labels, _boxes(image), _poses(image), strict=True):
        if score == 0:  # a slot without a detection, or what a suppression left out
            continue
        yield {
            "image_id": image_number(image),
            "category_id": category_ids[label],
            **box,
            "score": score,
            **pose,
        }


def _boxes(image: Mapping[str, Any]) -> list[dict[str, list[float]]]:
    if "boxes" not in image:
        return [{}] * len(image["labels"])
    corners = image["boxes"].detach().cpu().double().tolist()
    return [{"bbox": [x1, y1, x2 - x1, y2 - y1]} for x1, y1, x2, y2 in corners]


def _poses(image: Mapping[str, Any]) -> list[dict[str, list[float]]]:
    if "keypoints" not in image:
        return [{}] * len(image["labels"])
    joints = F.pad(image["keypoints"].detach().cpu().double(), (0, 1), value=1.0)
    return [{"keypoints": joint} for joint in joints.flatten(1).tolist()]


def _only(result: dict[str, Any], kind: str | None) -> dict[str, Any]:
    kept = ("image_id", "category_id", kind, "score")
    return {key: value for key, value in result.items() if kind is None or key in kept}


def _finite(result: Mapping[str, Any]) -> bool:
    return all(map(math.isfinite, [result["score"], *result.get("bbox", ()), *result.get("keypoints", ())]))


def _json(results: list[dict[str, Any]]) -> str:
    try:
        return json.dumps(results, allow_nan=False)
    except ValueError as error:
        broken = next(result for result in results if not _finite(result))
        raise UserError(f"image {broken['image_id']}: a detection is not finite: {broken}; train anew") from error
